"""Rounds of RLHF: annotate the newest policy's answers, fit, optimise, compare; by a plan that was fixed before."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone


class RoundSeries(models.Model):
    """One order of rounds. `plan` is what was fixed before the first, and is never edited; `plan_hash` names it."""

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"  # by a person; runs under way end, and nothing new begins
        STOPPED = "stopped"  # by a rule of the plan: `reason`
        CANCELLED = "cancelled"

    class Reason(models.TextChoices):
        NO_GAIN = "no_gain", "no gain"
        ROUNDS = "rounds", "all rounds done"
        SECONDS = "seconds", "budget of seconds used up"
        REVIEW = "review", "a review says worse"
        DRIFT = "drift", "drift of the reward model"

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="round_series")
    name = models.CharField(max_length=60)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    reason = models.CharField(max_length=10, choices=Reason.choices, blank=True, help_text="Why a rule stopped it.")
    parent = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="+")
    prompts = models.ForeignKey(
        "annotate.Dataset", models.PROTECT, null=True, blank=True, related_name="+",
        help_text="Train prompts that each policy answers; null until they are frozen.",
    )  # fmt: skip
    questions = models.ForeignKey(
        "annotate.Dataset", models.PROTECT, null=True, blank=True, related_name="+",
        help_text="Eval prompts on which policies meet; null until they are frozen.",
    )  # fmt: skip
    plan = models.JSONField(help_text="What each round does, and when the rounds stop.")
    plan_hash = models.CharField(max_length=64, help_text="Empty until the prompts are frozen that the plan names.")
    stopped_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "round series"
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="round_series_have_names_of_their_own")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.STOPPED, self.State.CANCELLED)


class Round(models.Model):
    """One round: `policy` answers, people annotate, and `model` comes of it. Round 0 is the model that all begin with.
    What it has says where it is: there is no state beside that."""

    series = models.ForeignKey(RoundSeries, models.CASCADE, related_name="rounds")
    number = models.PositiveIntegerField()
    policy = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="+")
    answers_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    opened_at = models.DateTimeField(null=True, blank=True, help_text="Since when its answers are annotated.")
    needed = models.PositiveIntegerField(null=True, blank=True, help_text="Comparisons that end the annotating.")
    judgements = models.ForeignKey(
        "annotate.Dataset", models.PROTECT, null=True, blank=True, related_name="+", help_text="Of this round alone."
    )
    dataset = models.ForeignKey(
        "annotate.Dataset", models.PROTECT, null=True, blank=True, related_name="+", help_text="What it learns from."
    )
    accuracy_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    accuracy = models.JSONField(
        default=dict, blank=True, help_text="Of the reward model before, on this round's annotations."
    )
    reward_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    examples_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    training_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="+")
    eval_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    entered_at = models.DateTimeField(null=True, blank=True, help_text="When its model met the one before.")
    gain = models.JSONField(
        default=dict, blank=True, help_text="Of its model over the one before, by the votes that the plan asked for."
    )
    problem = models.TextField(blank=True, help_text="Why a run was refused, with the remedy.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["series", "number"], name="rounds_are_numbered")]

    def __str__(self) -> str:
        return f"{self.series}, round {self.number}"

    @property
    def runs(self) -> list[Any]:
        """Return its runs, first to last."""
        fields = ("answers_run", "accuracy_run", "reward_run", "examples_run", "training_run", "eval_run")
        return list(dict.fromkeys(run for field in fields if (run := getattr(self, field)) is not None))


class RoundReview(models.Model):
    """What a person found who looked at a round's model. One that says worse stops the rounds."""

    class Opinion(models.TextChoices):
        BETTER = "better"
        ALIKE = "alike"
        WORSE = "worse"

    round = models.ForeignKey(Round, models.CASCADE, related_name="reviews")
    by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    opinion = models.CharField(max_length=6, choices=Opinion.choices)
    note = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.round}: {self.opinion}"
