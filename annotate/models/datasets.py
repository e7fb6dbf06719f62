from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import models

from annotate.models.processes import LongWork


class Dataset(models.Model):
    """Frozen rows, named by the hash of their content, and the feedback that they were made of.

    The rows lie as JSONL files in a folder below ASSAY_DATA/datasets, in the form that recipes read.
    """

    class Kind(models.TextChoices):
        PREFERENCES = "preferences", "preferences and ratings, for a reward model"
        SFT = "sft", "demonstrations and best-rated answers, for instruction tuning"
        PROMPTS = "prompts", "prompts, for sampling and PPO"
        CORPUS = "corpus", "raw texts, for pretraining and domains"
        LABELLED = "labelled", "texts with labels, for classifiers and instructions"
        TASK = "task", "items with their right answers, to measure models on; they train nothing"

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="datasets")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    side = models.CharField(max_length=5)
    content_hash = models.CharField(max_length=64)
    counts = models.JSONField(default=dict, help_text="Rows by kind, and what was left out and why.")
    judge = models.CharField(max_length=10, blank=True, help_text="person or simulation; empty where nobody annotated.")
    ratings = models.ManyToManyField("annotate.Rating", related_name="datasets")
    comparisons = models.ManyToManyField("annotate.Comparison", related_name="datasets")
    demonstrations = models.ManyToManyField("annotate.Demonstration", related_name="datasets")
    rankings = models.ManyToManyField("annotate.Ranking", related_name="datasets", help_text="Their pairs are in it.")
    spans = models.ManyToManyField("annotate.Span", related_name="datasets")
    prompts = models.ManyToManyField("annotate.Prompt", related_name="datasets")
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    erased_person_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when somebody whose annotations it holds is erased."
    )

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="dataset_names_are_unique_in_a_project")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return settings.DATASETS_DIR / self.content_hash


class DatasetFreeze(LongWork):
    """The order to freeze a dataset that is too large for a request: the background worker carries it out.

    The dataset and the end of its order are one transaction: there is one dataset at the end, or none.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    UNDER_WAY = (State.QUEUED, State.RUNNING)

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="dataset_freezes")
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=12, choices=Dataset.Kind.choices)
    side = models.CharField(max_length=5)
    judge = models.CharField(max_length=10)
    options = models.JSONField(default=dict, help_text="What narrows the dataset down.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    problem = models.TextField(blank=True)
    dataset = models.ForeignKey(Dataset, models.SET_NULL, null=True, related_name="+", help_text="Once it is frozen.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"freezing {self.name}"

    @property
    def is_under_way(self) -> bool:
        return self.state in self.UNDER_WAY
