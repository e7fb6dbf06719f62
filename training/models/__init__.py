"""Runs and what they leave behind. The database owns a run's state; the engine that carries it out never does."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from training.core.endings import LAST_WORDS

if TYPE_CHECKING:
    from annotate.models import LanguageModel


class RunQuerySet(models.QuerySet["Run"]):
    def unfinished(self) -> RunQuerySet:
        """Return runs under way, waiting for a worker or for a person: their names are promised."""
        return self.filter(state__in=[Run.State.QUEUED, Run.State.RUNNING, Run.State.PAUSED])


class Run(models.Model):
    """Hold any long work: sampling in bulk, training, evaluating. One queue, one page, one way to cancel and resume."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        PAUSED = "paused"  # by itself, at a bound or for people's opinion; resume goes on from there

    class Priority(models.TextChoices):
        HIGH = "high"
        NORMAL = "normal"
        LOW = "low"

    kind = models.CharField(max_length=24)
    name = models.CharField(max_length=120, help_text="Also the name of the model that it makes.")
    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="runs")
    parent = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, related_name="runs")
    reward_model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, related_name="rewarded_runs")
    other_reward_models = models.ManyToManyField(
        "annotate.LanguageModel",
        related_name="other_rewarded_runs",
        help_text="That parts of the reward name, beside the first.",
    )
    dataset = models.ForeignKey("annotate.Dataset", models.PROTECT, null=True, related_name="runs")
    other_dataset = models.ForeignKey("annotate.Dataset", models.PROTECT, null=True, related_name="other_runs")
    output_dataset = models.OneToOneField("annotate.Dataset", models.PROTECT, null=True, related_name="made_by")
    output_model = models.OneToOneField("annotate.LanguageModel", models.PROTECT, null=True, related_name="made_by")
    completions = models.ManyToManyField("annotate.Completion", related_name="sampled_by")
    config = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    enters_arena = models.BooleanField(
        default=True, help_text="Whether a policy that it makes competes at once; else somebody enters it later."
    )
    cloned_from = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="clones", help_text="Queued again with changes."
    )
    code_version = models.CharField(max_length=80, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    priority = models.CharField(max_length=6, choices=Priority.choices, default=Priority.NORMAL)
    queued_at = models.DateTimeField(default=timezone.now, help_text="Since when it waits, or waited last.")
    reason_code = models.CharField(max_length=60, blank=True)
    reason = models.TextField(blank=True, help_text="What happened, in words.")
    remedy = models.TextField(blank=True, help_text="What to do about it, in words.")
    remedy_changes = models.JSONField(default=dict, blank=True, help_text="The remedy as options: name to value.")
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    phase = models.CharField(max_length=80, blank=True)
    step = models.PositiveBigIntegerField(default=0)
    total_steps = models.PositiveBigIntegerField(default=0)
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Estimated.")
    result = models.JSONField(default=dict)
    pause = models.JSONField(default=dict, blank=True, help_text="While it is paused: why, and the choices.")
    amendments = models.JSONField(
        default=list, blank=True, help_text="What was chosen at each pause, by whom: the config itself never changes."
    )
    idempotency_key = models.CharField(max_length=120, null=True, blank=True, unique=True)
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="runs")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["state", "id"])]

    def __str__(self) -> str:
        return f"run {self.pk}: {self.name}"

    @property
    def path(self) -> Path:
        return settings.RUNS_DIR / f"{self.pk:06d}"

    @property
    def reward_models(self) -> list[LanguageModel]:
        """Return all that score its answers, the first one first."""
        if self.reward_model is None:
            return []
        others = self.other_reward_models.all() if self.pk and self.config.get("rewards") else ()
        return [self.reward_model, *sorted(others, key=lambda model: model.pk)]

    @property
    def reason_without_log(self) -> str:
        """Return why it ended, for whoever may read the project and not the log."""
        return self.reason.split(LAST_WORDS)[0]

    @property
    def nameless_amendments(self) -> list[dict]:
        """Return amendments without who chose them: for recipes, cards, and everybody who may read a run."""
        return [{name: value for name, value in a.items() if name != "by"} for a in self.amendments]

    @property
    def is_finished(self) -> bool:
        return self.state in (self.State.SUCCEEDED, self.State.FAILED, self.State.CANCELLED)


class KeptCheckpoint(models.Model):
    """A model of a step on a run's way, kept beside the run's result: a child of the run's parent like that."""

    run = models.ForeignKey(Run, models.PROTECT, related_name="kept_checkpoints")
    step = models.PositiveBigIntegerField()
    model = models.OneToOneField("annotate.LanguageModel", models.PROTECT, related_name="kept_checkpoint")

    class Meta:
        ordering = ["step"]
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="a_step_is_kept_once")]

    def __str__(self) -> str:
        return f"step {self.step} of {self.run}"


class Attempt(models.Model):
    """One try at a run. Whoever holds its lease may write; whoever lost it may not, however late they notice."""

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        LOST = "lost"
        CANCELLED = "cancelled"
        PAUSED = "paused"

    run = models.ForeignKey(Run, models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    lease = models.UUIDField(default=uuid.uuid4)
    lease_expires_at = models.DateTimeField()
    worker = models.CharField(max_length=120)
    launcher = models.CharField(max_length=120)
    handle = models.CharField(
        max_length=200, blank=True, help_text="What the launcher calls it: a process group, a job id."
    )
    node = models.CharField(max_length=120, blank=True, help_text="Of a cluster: where it works.")
    gpus = models.FloatField(default=0, help_text="That it holds for itself.")
    gpus_since = models.DateTimeField(null=True, blank=True, help_text="Since when it holds them.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    exit_code = models.IntegerField(null=True, blank=True)
    resumed_from_step = models.PositiveBigIntegerField(null=True, blank=True)
    reason = models.TextField(blank=True)
    cpu_seconds = models.FloatField(default=0)
    memory_bytes = models.BigIntegerField(default=0, help_text="The most that it was seen to hold.")
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="attempts_are_numbered"),
            models.UniqueConstraint(
                fields=["run"], condition=models.Q(state="running"), name="a_run_has_one_attempt_under_way"
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.run}"


class Quota(models.Model):
    """Hold what one project may use, where that is not what all may. Empty: as all others; 0: no limit."""

    project = models.OneToOneField("annotate.Project", models.CASCADE, related_name="quota")
    runs = models.PositiveIntegerField(null=True, blank=True, help_text="At work at once.")
    gpu_hours = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0)], help_text="In 30 days.")
    disk_gb = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0)], help_text="Of its runs and models."
    )

    def __str__(self) -> str:
        return f"quota of {self.project}"


class Drain(models.Model):
    """Keep a worker from new runs, for maintenance. `name` is that of workers, of a host, or of one at a host."""

    name = models.CharField(max_length=120, unique=True)
    gives_back = models.BooleanField(default=False, help_text="Its runs go back into the queue at once.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Metric(models.Model):
    """One line of a run's metrics.jsonl: all that was measured at one step."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="metrics")
    sequence = models.PositiveBigIntegerField()
    step = models.PositiveBigIntegerField()
    values = models.JSONField()
    time = models.DateTimeField()

    class Meta:
        ordering = ["sequence"]
        constraints = [models.UniqueConstraint(fields=["run", "sequence"], name="metrics_arrive_once")]


class TrackedRun(models.Model):
    """How far a tracker, such as TensorBoard or MLflow, has been told what a run measured."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="trackers")
    tracker = models.CharField(max_length=12)
    sequence = models.PositiveBigIntegerField(default=0, help_text="Of the last row that it has.")
    address = models.URLField(max_length=500, blank=True, help_text="Of the run's page there.")
    problem = models.CharField(max_length=300, blank=True, help_text="Why it took nothing the last time.")
    is_closed = models.BooleanField(default=False, help_text="It has all, and knows that the run has ended.")
    claim = models.UUIDField(null=True, blank=True, help_text="Of the background worker that sends to it.")
    claimed_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["tracker"]
        indexes = [models.Index(fields=["tracker"], condition=models.Q(is_closed=False), name="open_trackers")]
        constraints = [models.UniqueConstraint(fields=["run", "tracker"], name="a_tracker_follows_a_run_once")]

    def __str__(self) -> str:
        return f"{self.run} in {self.tracker}"


class Sample(models.Model):
    """One line of a run's samples.jsonl: what the model answered at a step of its training."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="samples")
    sequence = models.PositiveBigIntegerField()
    step = models.PositiveBigIntegerField()
    prompt = models.JSONField()
    completion = models.TextField()
    score = models.FloatField(null=True, blank=True)
    parts = models.JSONField(default=dict, blank=True, help_text="Of the score, by name, where a reward has several.")

    class Meta:
        ordering = ["sequence"]
        constraints = [models.UniqueConstraint(fields=["run", "sequence"], name="samples_arrive_once")]


class Review(models.Model):
    """A pair that the human review asks about: an answer of the policy in training, and its parent's to that prompt.

    The policy's answer has no model: what gave it is no model of its own, and is gone a step later. Both completions
    are judged blind like any others, in the train split; the comparisons between them are the opinion.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="reviews")
    sequence = models.PositiveBigIntegerField()
    step = models.PositiveBigIntegerField()
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, null=True, related_name="+")
    policy_answer = models.OneToOneField("annotate.Completion", models.PROTECT, null=True, related_name="reviewed_in")
    parent_answer = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, related_name="reviewed_beside")
    predicted = models.FloatField(help_text="The reward model's probability that the policy's answer is the better.")
    policy_score = models.FloatField()
    parent_score = models.FloatField()
    not_asked = models.CharField(
        max_length=200, blank=True, help_text="Why nobody can annotate it; empty when it was asked."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["sequence"]
        constraints = [
            models.UniqueConstraint(fields=["run", "sequence"], name="reviews_arrive_once"),
            models.CheckConstraint(
                condition=models.Q(
                    not_asked="", prompt__isnull=False, policy_answer__isnull=False, parent_answer__isnull=False
                )
                | ~models.Q(not_asked=""),
                name="a_review_is_asked_or_says_why_not",
            ),
        ]

    def __str__(self) -> str:
        return f"pair {self.sequence} of the reviews of {self.run}"
