"""Serialize tasks for programs: the item without its models, an annotation, a flag, a receipt."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotate.core.api.serializer_fields import Choice, Id, Input, Turn
from annotate.labelling import flagging as flags
from annotate.labelling.scales.declared import scales_of
from annotate.models import Assignment, Scale
from common.sampling import cut_note


class Ask(Input):
    kind = Choice(Assignment.Kind.choices, required=False, allow_null=True, default=None)


class PromptSeen(serializers.Serializer):
    id = serializers.IntegerField()
    messages = Turn(many=True)
    category = serializers.CharField()
    language = serializers.CharField(help_text="Its tag, such as de or pt-BR; usually empty.")
    harm = serializers.CharField(
        help_text="Kinds of harm in it, by name, separated by spaces: hide the text until the person asks. Usually "
        "empty."
    )


class CompletionSeen(serializers.Serializer):
    """Show a completion's text, and whether it was cut: no model, no settings."""

    id = serializers.IntegerField()
    text = serializers.CharField()
    cut = serializers.CharField(
        help_text="A note that the answer was cut at the length limit; empty if it is complete."
    )


class ScaleSeen(serializers.Serializer):
    """Show a scale to answer by. Fields of the submission are called as its kind is; aspects and labels as its name."""

    kind = serializers.ChoiceField(Scale.Kind.choices)
    name = serializers.CharField()
    title = serializers.CharField()
    definition = serializers.CharField(help_text="Markdown.")
    low = serializers.CharField()
    high = serializers.CharField()
    is_required = serializers.BooleanField()


_SCALE_SEEN = tuple(ScaleSeen().fields)
_moment = serializers.DateTimeField()


class AssignmentOut(serializers.Serializer):
    id = serializers.IntegerField()
    project = serializers.CharField(source="project.slug")
    kind = serializers.ChoiceField(Assignment.Kind.choices)
    state = serializers.ChoiceField(Assignment.State.choices)
    prompt = PromptSeen()
    completions = serializers.SerializerMethodField(
        help_text="In the order shown: the first is A. Two to compare, 3-6 to rank."
    )
    scales = serializers.SerializerMethodField()
    sent_back_comment = serializers.CharField(help_text="What a reviewer wants changed; usually empty.")
    expires_at = serializers.DateTimeField()

    @extend_schema_field(CompletionSeen(many=True))
    def get_completions(self, assignment: Assignment) -> list[dict[str, Any]]:
        answers = assignment.completions
        return [{"id": answer.pk, "text": answer.text, "cut": cut_note(answer, answers)} for answer in answers]

    @extend_schema_field(ScaleSeen(many=True))
    def get_scales(self, assignment: Assignment) -> Any:
        scales = scales_of(assignment, has_own=self.context.get("has_scales", True))
        return [{name: getattr(scale, name) for name in _SCALE_SEEN} for scale in scales]

    def to_representation(self, assignment: Assignment) -> dict[str, Any]:
        """Represent the assignment as the fields say, without their machinery: it is the answer to each annotation."""
        prompt = assignment.prompt
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in prompt.messages]
        return {
            "id": assignment.pk,
            "project": assignment.project.slug,
            "kind": assignment.kind,
            "state": assignment.state,
            "prompt": {
                "id": prompt.pk,
                "messages": turns,
                "category": prompt.category,
                "language": prompt.language,
                "harm": prompt.harm,
            },
            "completions": self.get_completions(assignment),
            "scales": self.get_scales(assignment),
            "sent_back_comment": assignment.sent_back_comment,
            "expires_at": _moment.to_representation(assignment.expires_at),
        }


class SpanIn(Input):
    completion = Id()
    start = serializers.IntegerField(help_text="In code points, from 0.")
    end = serializers.IntegerField(help_text="The first code point after it.")
    label = serializers.CharField(help_text="The name of a scale of the kind span.")


class Submission(Input):
    """Read an annotation, an answer of one's own in `text`, or both."""

    winner = serializers.CharField(
        required=False, allow_null=True, help_text="model_a, model_b, tie or both_bad: for a comparison."
    )
    strength = serializers.IntegerField(required=False, allow_null=True, help_text="1 slightly, 2 clearly, 3 much.")
    thumbs = serializers.BooleanField(required=False, allow_null=True, help_text="True is up: for a rating.")
    stars = serializers.IntegerField(required=False, allow_null=True, help_text="1 to 5: for a rating.")
    aspects = serializers.DictField(required=False, allow_null=True, help_text="Names with 1 to 5: for a rating.")
    rank = serializers.ListField(
        child=serializers.ListField(child=Id()),
        required=False,
        allow_null=True,
        help_text="[[best], [next, its equal], …]: every completion of the task once.",
    )
    spans = SpanIn(many=True, required=False, allow_null=True, help_text="Marked parts of the completions.")
    text = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, trim_whitespace=False, help_text="A better answer."
    )
    edited_from = Id(required=False, allow_null=True, help_text="The completion that `text` was edited from.")
    comment = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    seconds = serializers.FloatField(
        required=False,
        allow_null=True,
        help_text="Time spent on it without idle time; at most the time since it was handed out.",
    )


class Receipt(serializers.Serializer):
    """Say what was stored, and whether it counts."""

    kind = serializers.CharField(help_text="comparison, rating, ranking, demonstration or span")
    id = serializers.IntegerField()
    assignment = serializers.IntegerField()
    status = serializers.CharField()
    status_reason = serializers.CharField()
    counted = serializers.BooleanField()


class ReceiptAndNext(Receipt):
    next = AssignmentOut(required=False, allow_null=True, help_text="With ?next=1: the next task for me, or null.")
    next_errors = serializers.DictField(required=False, help_text="Why there is no next task for me at the moment.")


class FlagIn(Input):
    reason = serializers.CharField(allow_blank=True, max_length=1000, help_text="; ".join(flags.REASONS))
    completion = Id(required=False, allow_null=True, default=None, help_text="Left out: the prompt.")
    comment = serializers.CharField(required=False, default="", allow_blank=True)


class FlagSeen(serializers.Serializer):
    id = serializers.IntegerField()
    assignment = serializers.IntegerField(source="assignment_id")
    prompt = serializers.IntegerField(source="prompt_id")
    completion = serializers.IntegerField(source="completion_id", allow_null=True)
    reason = serializers.CharField()
    comment = serializers.CharField()
    status = serializers.CharField()


class Skip(Input):
    reason = serializers.CharField(allow_blank=True)
