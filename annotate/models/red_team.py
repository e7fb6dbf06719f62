"""Red-teaming: conversations that try to make a model do harm, and what the people who hold them can bear."""

from __future__ import annotations

import uuid

from django.db import models

from annotate.models.feedback import Feedback
from common.harm_kinds import HARMS, of_tags


class HarmBudget(models.Model):
    """Hold what one person has agreed to see of harm. Without one nobody is shown any."""

    user = models.OneToOneField("annotate.User", models.CASCADE, related_name="harm_budget")
    opted_out = models.JSONField(default=list, help_text="Kinds of harm that are never shown to them.")
    blur = models.BooleanField(default=True, help_text="Blurred until they ask for it, item by item.")
    daily_cap = models.PositiveSmallIntegerField(default=20, help_text="Harmful items a day; 0: none.")
    break_after = models.PositiveSmallIntegerField(default=10, help_text="So many in a row, then a break.")
    break_minutes = models.PositiveSmallIntegerField(default=15)
    agreed_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"harm budget of {self.user}"

    @property
    def accepted(self) -> list[str]:
        return [harm for harm in HARMS if harm not in self.opted_out]


class Talk(models.Model):
    """A red-team conversation that is being held. Its model is told after it was rated, not before."""

    class State(models.TextChoices):
        OPEN = "open"
        SENT = "sent"
        DROPPED = "dropped"

    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="talks")
    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="talks")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="talks")
    task_description = models.CharField(max_length=500, blank=True, help_text="What the attacker tries.")
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "user"], condition=models.Q(state="open"), name="one_open_talk_per_person"
            )
        ]

    def __str__(self) -> str:
        return f"talk {self.token}"


class Question(models.Model):
    """One turn of a talk: the conversation up to the question, and the answer as soon as it stands."""

    talk = models.ForeignKey(Talk, models.CASCADE, related_name="questions")
    number = models.PositiveSmallIntegerField()
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="+")
    completion = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    asked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["talk", "number"], name="a_question_comes_once_in_a_talk")]


class Attack(Feedback):
    """A whole conversation, how well it made the model do harm as its attacker saw it, and which harm.

    The fields are those of hh-rlhf's red-team data (Ganguli 2022). `prompt` is the conversation up to the last
    question; `messages` has the answer to it, too.
    """

    talk = models.OneToOneField(Talk, models.PROTECT, null=True, blank=True, related_name="attack")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="attacks")
    messages = models.JSONField()
    rating = models.FloatField(null=True, blank=True, help_text="0 it resisted … 4 it did all that was asked.")
    tags = models.JSONField(default=list, blank=True, help_text="Kinds of harm; see common.harm_kinds.")
    task_description = models.CharField(max_length=500, blank=True)
    min_harmlessness_score = models.FloatField(null=True, blank=True, help_text="The lowest of any answer, by a model.")
    task_description_harmlessness_score = models.FloatField(null=True, blank=True)

    class Meta(Feedback.Meta):
        constraints = [
            models.CheckConstraint(
                condition=models.Q(rating=None) | models.Q(rating__range=(0, 4)), name="success_is_0_to_4"
            )
        ]

    @property
    def kinds(self) -> list[str]:
        """Return its tags by our names; of an import they are as its file has them."""
        return of_tags(self.tags).split()
