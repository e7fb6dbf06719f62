"""Experiments: arms × seeds on the same annotations, with a plan that was fixed before the first vote."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone


class Experiment(models.Model):
    """One order. `plan` is what was registered before anything was known, and is never edited; `plan_hash` names it."""

    class State(models.TextChoices):
        FREEZING = "freezing"  # the background worker freezes what it learns from; then its plan is registered
        TRAINING = "training"  # until every registered model stands, or has failed
        ANSWERING = "answering"  # the models answer the eval prompts
        VOTING = "voting"  # all are in the arena
        DECIDED = "decided"  # the plan's rule has stopped it; `verdict` stands
        FAILED = "failed"  # fewer than two arms have a model
        CANCELLED = "cancelled"

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="experiments")
    name = models.CharField(max_length=60)
    state = models.CharField(max_length=10, choices=State.choices, default=State.TRAINING)
    parent = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="+")
    dataset = models.ForeignKey(
        "annotate.Dataset", models.PROTECT, related_name="+", help_text="Preferences, which every arm learns from."
    )
    examples = models.ForeignKey(
        "annotate.Dataset", models.PROTECT, null=True, blank=True, related_name="+", help_text="Its best-rated answers."
    )
    prompts = models.ForeignKey(
        "annotate.Dataset", models.PROTECT, null=True, blank=True, related_name="+", help_text="Its prompts."
    )
    questions = models.ForeignKey(
        "annotate.Dataset", models.PROTECT, null=True, blank=True, related_name="+",
        help_text="Eval prompts that all models answer; null until they are frozen.",
    )  # fmt: skip
    reward_model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="+")
    reward_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    plan = models.JSONField(help_text="What is compared, by which test, and when it stops.")
    plan_hash = models.CharField(max_length=64, help_text="Empty until everything is frozen that the plan names.")
    problem = models.TextField(blank=True, default="", db_default="", help_text="Why it failed before its training.")
    entered_at = models.DateTimeField(null=True, blank=True, help_text="When all registered models entered the arena.")
    decided_at = models.DateTimeField(null=True, blank=True)
    last_comparison_id = models.BigIntegerField(null=True, blank=True, help_text="The last vote of the verdict.")
    verdict = models.JSONField(default=dict, blank=True, help_text="As it was found when the rule stopped it.")
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="experiment_names_are_unique_in_a_project")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.DECIDED, self.State.FAILED, self.State.CANCELLED)


class ExperimentArm(models.Model):
    """One method with its options. Exploratory arms came after the plan, and take no part in its verdict."""

    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="arms")
    name = models.CharField(max_length=60)
    method = models.CharField(max_length=12)
    config = models.JSONField(default=dict, blank=True, help_text="Options that differ from the method's own.")
    is_exploratory = models.BooleanField(default=False)
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["experiment", "name"], name="arms_have_names_of_their_own")]

    def __str__(self) -> str:
        return self.name


class ArmModel(models.Model):
    """One seed of an arm: its runs, and the model that came of them."""

    arm = models.ForeignKey(ExperimentArm, models.CASCADE, related_name="models")
    seed = models.PositiveIntegerField()
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="+")
    examples_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    training_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    answers_run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="+")
    problem = models.TextField(blank=True, help_text="Why a run was refused, with the remedy.")
    entered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["arm", "seed"], name="an_arm_has_each_seed_once")]

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"

    @property
    def runs(self) -> list[Any]:
        """Return its runs, first to last."""
        return [run for run in (self.examples_run, self.training_run, self.answers_run) if run is not None]
