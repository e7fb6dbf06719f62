"""Retire prompts: nobody is asked about them any more, in any kind of work. What was said of them stays."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.models import Assignment, Prompt, QueueChange, User

_LONGEST_REASON = 200


def decide(*, prompt: Prompt, by: User, take_out: bool, reason: str = "") -> Prompt:
    """Take a prompt out of the work, or bring it back, as a reviewer: earlier complaints then count no more."""
    require(by, "review", prompt.project)
    reason = reason.strip()
    if take_out and not reason:
        raise Refused(reason="Enter in a few words what is wrong; the annotators who have it see this.")
    if len(reason) > _LONGEST_REASON or "\x00" in reason:
        raise Refused(reason=f"Keep the reason within {_LONGEST_REASON} characters, without null characters.")
    with transaction.atomic():
        prompt = Prompt.objects.select_for_update(no_key=True).get(pk=prompt.pk)
        was_out = bool(prompt.out_since)
        if take_out:
            retire(prompt, reason, by)
        else:
            _bring_back(prompt, by)
        audit.record(
            action="prompt.out" if take_out else "prompt.kept",
            about=f"prompt {prompt.pk}: {prompt.text[:80]}",
            by=by,
            project=prompt.project,
            changes={"out": [was_out, take_out]},
            reason=reason,
        )
    return prompt


def retire(prompt: Prompt, reason: str, by: User | None, replaced_by: Prompt | None = None) -> None:
    """Write that it is out of the work, and close what people hold of it. Call it inside a transaction."""
    now = timezone.now()
    fields = {"out_since": now, "out_reason": reason[:_LONGEST_REASON]}
    fields |= {"reviewed_at": now, "reviewed_by": by} if by else {}
    fields |= {"replaced_by": replaced_by} if replaced_by else {}
    _save(prompt, fields)
    assignments = Assignment.objects.filter(prompt=prompt).exclude(purpose=Assignment.Purpose.ADJUDICATION)
    assignments.close_free(Assignment.State.TAKEN_OUT, skip_reason=prompt.out_reason)


def _bring_back(prompt: Prompt, by: User) -> None:
    successor = prompt.replaced_by
    if successor is not None and successor.out_since is None:
        raise Refused(409, prompt=f"Prompt {successor.pk} has replaced this one; edit or retire that one first.")
    _save(
        prompt,
        {
            "out_since": None,
            "out_reason": "",
            "reviewed_at": timezone.now(),
            "reviewed_by": by,
            "replaced_by": None,
        },
    )


def _save(prompt: Prompt, fields: dict) -> None:
    for name, value in fields.items():
        setattr(prompt, name, value)
    prompt.save(update_fields=list(fields))
    QueueChange.note(prompt.project_id, [prompt.pk])
