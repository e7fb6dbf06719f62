from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from django.core.validators import (
    MaxLengthValidator,
    MaxValueValidator,
    MinValueValidator,
    ProhibitNullCharactersValidator,
)
from django.db import models

from annotate.models.project_locks import lock_alone
from common import sampling as served_sampling

if TYPE_CHECKING:
    from annotate.models.people import User


def _seed() -> str:
    return secrets.token_hex(16)


class Project(models.Model):
    """A body of prompts, the people who judge answers to them, and the models that compete."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    members = models.ManyToManyField("annotate.User", through="annotate.Membership", related_name="projects")
    is_public = models.BooleanField(default=False, help_text="Visitors without an account may vote in its arena.")
    asks_ratings = models.BooleanField(default=True)
    asks_comparisons = models.BooleanField(default=True)
    asks_rankings = models.BooleanField(default=False)
    asks_answers = models.BooleanField(default=False, help_text="Written answers, from which a model can learn.")
    asks_attacks = models.BooleanField(default=False, help_text="Red-teaming: conversations that try to do harm.")
    overlap = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1)], help_text="How many people annotate the same item."
    )
    assignment_minutes = models.PositiveSmallIntegerField(default=30, validators=[MinValueValidator(1)])
    edit_minutes = models.PositiveSmallIntegerField(default=30, help_text="How long an annotation can be changed.")
    must_read_guidelines = models.BooleanField(default=True, help_text="Each version, before the next item.")
    gold_percent = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(50)], help_text="Share of gold items."
    )
    gold_pass_percent = models.PositiveSmallIntegerField(
        default=70, validators=[MaxValueValidator(100)], help_text="Below this an annotator is warned, then paused."
    )
    repeat_percent = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(50)], help_text="Share of comparisons repeated with swapped positions."
    )
    review_percent = models.PositiveSmallIntegerField(
        default=0,
        validators=[MaxValueValidator(100)],
        help_text="Share of items with one annotation that are reviewed.",
    )
    review_seed = models.CharField(max_length=32, default=_seed, editable=False, help_text="Draws what is reviewed.")
    open_sign_up = models.BooleanField(default=False, help_text="Whoever signs up may join as an annotator.")
    needs_second_factor = models.BooleanField(
        default=False, db_default=False, help_text="Members without a second factor are refused."
    )
    proof_of_work = models.BooleanField(default=False, help_text="Votes without an account solve a small puzzle.")
    daily_goal = models.PositiveSmallIntegerField(default=60)
    eval_percent = models.PositiveSmallIntegerField(
        default=25,
        validators=[MaxValueValidator(90)],
        help_text="Share of prompts kept for ranking; they train nothing.",
    )
    from_scratch = models.BooleanField(
        default=False, help_text="Shows what comes before finetuning: corpora, tokenizers and pretraining."
    )
    # How answers are drawn for whoever reads them; see common.sampling.
    max_new_tokens = models.PositiveIntegerField(
        default=served_sampling.MAX_NEW_TOKENS,
        validators=[MinValueValidator(1), MaxValueValidator(4096)],
        help_text="Longest answer of a model, in tokens.",
    )
    temperature = models.FloatField(
        default=served_sampling.TEMPERATURE, validators=[MinValueValidator(0), MaxValueValidator(2)]
    )
    top_p = models.FloatField(default=served_sampling.TOP_P, validators=[MinValueValidator(0.01), MaxValueValidator(1)])
    system_prompt = models.TextField(
        blank=True,
        validators=[MaxLengthValidator(served_sampling.LONGEST_SYSTEM_PROMPT), ProhibitNullCharactersValidator()],
        help_text="Sent before each conversation that brings none of its own.",
    )
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def guideline(self) -> Guideline | None:
        return self.guidelines.order_by("-version").first()

    def guideline_version_at(self, moment: datetime) -> int | None:
        """Return the version that was in force then: what somebody who began at that moment can have read."""
        by_then = self.guidelines.filter(created_at__lte=moment).order_by("-version")
        return by_then.values_list("version", flat=True).first()

    @property
    def asked_kinds(self) -> list[str]:
        """Return the kinds of items that annotators are asked for, as assignments name them."""
        asked = {"rate": self.asks_ratings, "compare": self.asks_comparisons}
        asked |= {"rank": self.asks_rankings, "write": self.asks_answers}
        return [kind for kind, is_asked in asked.items() if is_asked]

    def lock(self, *, person: User | None = None) -> None:
        """Let one transaction at a time go on here: counting places and handing out must not be torn apart.

        Name the person whose membership or open assignments are changed: `project_locks` has the order of locks. On
        SQLite every transaction is BEGIN IMMEDIATE, which is lock enough.
        """
        lock_alone(self.pk, person.pk if person else None)


class Guideline(models.Model):
    """One version of a project's guidelines. Feedback remembers the version that its judge had read."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField(help_text="Markdown.")
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "version"], name="one_guideline_per_version")]

    def __str__(self) -> str:
        return f"{self.project} guidelines v{self.version}"


class Scale(models.Model):
    """Hold what a project's judges answer by, with its definition. A project without any asks for thumbs and stars."""

    class Kind(models.TextChoices):
        THUMBS = "thumbs"
        STARS = "stars"
        ASPECT = "aspect", "aspect, 1 to 5"
        COMPARISON = "comparison"
        RANKING = "ranking"
        SPAN = "span", "label for marked spans"

    project = models.ForeignKey(Project, models.CASCADE, related_name="scales")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    name = models.SlugField(max_length=40, help_text="As data has it, such as helpful. Never changed once in use.")
    title = models.CharField(max_length=80)
    definition = models.TextField(blank=True, help_text="Markdown: when to choose which value. Shown beside the scale.")
    low = models.CharField(max_length=80, blank=True, help_text="What the lowest step means.")
    high = models.CharField(max_length=80, blank=True, help_text="What the highest step means.")
    is_required = models.BooleanField(default=False)
    position = models.PositiveSmallIntegerField(default=0)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["project", "kind", "name"], name="a_scale_has_one_definition")]

    def __str__(self) -> str:
        return self.title


class GoldItem(models.Model):
    """An item whose right answer is known. `expected` has the fields of a judgement, each a list of right values:
    {"winner": ["model_a"], "stars": [4, 5]}; winners are by `completion_a` and `completion_b` as they stand here."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="gold_items")
    kind = models.CharField(max_length=8, choices=[("rate", "rate"), ("compare", "compare")])
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="+")
    completion_a = models.ForeignKey("annotate.Completion", models.PROTECT, related_name="+")
    completion_b = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    expected = models.JSONField()
    explanation = models.TextField(blank=True, help_text="Markdown: why. Shown after a tutorial item or a warning.")
    is_tutorial = models.BooleanField(default=False, help_text="Comes before the first real item, with feedback.")
    position = models.PositiveSmallIntegerField(default=0)
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return f"gold item {self.pk} of {self.project}"
