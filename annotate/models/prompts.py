from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import models, transaction

from annotate.models.projects import Project
from annotate.models.queue import QueueChange
from common import harm_kinds as harms
from common import splits

ARENA, RED_TEAM = "arena", "red-team"  # the `source` of what is asked and judged there
ASKED_BY_PEOPLE = (ARENA, RED_TEAM)
JUDGED_HERE = ("annotation", ARENA, RED_TEAM)  # what came with an import is not its importer's own annotation


def reserved_problem(source: str) -> str:
    """Return why rows that somebody adds may not bear this source; empty when they may."""
    if source.strip().lower() not in JUDGED_HERE:
        return ""
    return f"{source!r} is reserved for annotations made here; choose another source."


class Split(models.TextChoices):
    TRAIN = splits.TRAIN
    EVAL = splits.EVAL


def index_where_set(field: str, name: str) -> models.Index:
    """Return an index of those rows alone that have a value there: of a key that hardly any row has."""
    return models.Index(fields=[field], condition=models.Q((f"{field}__isnull", False)), name=name)


class Queued(models.QuerySet):
    """Tell the queue of whatever is made, in the same transaction; see `annotate.labelling.queue.entries`."""

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        with transaction.atomic():
            created = super().bulk_create(objs, *args, **options)
            self.model.tell_queue(created)  # type: ignore[attr-defined]
        return created


class Prompt(models.Model):
    """Hold what is asked: a conversation that ends with the user's turn. Its side never changes."""

    # Two of the indexes below begin with it.
    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="prompts", db_index=False)
    messages = models.JSONField()
    text_hash = models.CharField(max_length=64)
    category = models.CharField(max_length=60, blank=True)
    language = models.CharField(
        max_length=35, blank=True, help_text="Its tag, such as de or pt-BR; empty: for everybody."
    )
    answer = models.TextField(blank=True, default="", help_text="The right one, which rewards compare with.")
    harm = models.CharField(max_length=250, blank=True, help_text="Kinds of harm in it, by name, a space between them.")
    # Three keys that hardly any prompt has: their indexes are of those that have one.
    root = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="later",
        db_index=False,
        help_text="First turn of a conversation.",
    )
    side = models.CharField(max_length=5, choices=Split.choices)
    source = models.CharField(max_length=200, blank=True, help_text="Where it came from: demo, arena, an import.")
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    out_since = models.DateTimeField(null=True, blank=True, help_text="Nobody is asked about it any more.")
    out_reason = models.CharField(max_length=200, blank=True)
    replaced_by = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="replaces",
        db_index=False,
        help_text="Its newer version.",
    )
    reviewed_at = models.DateTimeField(null=True, blank=True, help_text="When a reviewer last took it out or kept it.")
    reviewed_by = models.ForeignKey(
        "annotate.User", models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )

    objects = Queued.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "text_hash"], name="a_prompt_stands_once_in_a_project")
        ]
        indexes = [
            models.Index(fields=["project", "side"]),
            # Most projects have none: who hands out asks that each time.
            models.Index(fields=["project"], condition=models.Q(harm__gt=""), name="prompts_of_harm"),
            index_where_set("root", "prompts_by_root"),
            index_where_set("replaced_by", "prompts_by_newer_version"),
            index_where_set("reviewed_by", "prompts_by_reviewer"),
        ]

    def __str__(self) -> str:
        return self.text[:80]

    def save(self, *args: Any, **options: Any) -> None:
        is_new = self._state.adding
        super().save(*args, **options)
        if is_new:
            self.tell_queue([self])

    @property
    def text(self) -> str:
        """Return the last turn: what the completion answers."""
        return self.messages[-1]["content"]

    @property
    def harm_title(self) -> str:
        return harms.title(self.harm)

    @classmethod
    def tell_queue(cls, prompts: Iterable[Prompt]) -> None:
        # Rows that stood already have no id after an insert that passes over conflicts.
        by_hash: dict[int, list[str]] = defaultdict(list)
        for prompt in prompts:
            if prompt.side == Split.TRAIN:
                by_hash[prompt.project_id].append(prompt.text_hash)
        for project, hashes in by_hash.items():
            rows = cls.objects.filter(project=project, text_hash__in=hashes)
            QueueChange.note(project, rows.values_list("pk", flat=True), only_adds=True)


class Completion(models.Model):
    """An answer to a prompt, with the true settings that it was sampled with. Never edited.

    `model` is empty for imported text whose author is unknown. The run that sampled it is in `sampled_by`.
    """

    # The index below begins with it.
    prompt = models.ForeignKey(Prompt, models.PROTECT, related_name="completions", db_index=False)
    model = models.ForeignKey(
        "annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="completions", db_index=False
    )
    text = models.TextField()
    reasoning = models.TextField(
        blank=True, help_text="What the model thought before it; no annotator or model reads it."
    )
    sampling = models.JSONField(default=dict, help_text="temperature, top_p, max_new_tokens.")
    seed = models.BigIntegerField(null=True, blank=True)
    tokens = models.PositiveIntegerField(null=True, blank=True)
    prompt_tokens = models.PositiveIntegerField(null=True, blank=True, help_text="Of the request that it came with.")
    cost = models.DecimalField(
        max_digits=14, decimal_places=8, null=True, blank=True, help_text="Dollars, by its model's prices."
    )
    finish_reason = models.CharField(max_length=16, blank=True)
    source = models.CharField(max_length=200, blank=True)
    text_hash = models.CharField(max_length=64, blank=True, help_text="Of imported text, so that it is found again.")
    named_model = models.CharField(max_length=120, blank=True, help_text="Of an import: what its file calls the model.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = Queued.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["prompt", "text_hash"], name="completions_by_text"),
            index_where_set("model", "completions_by_model"),
        ]

    def __str__(self) -> str:
        return self.text[:80]

    def save(self, *args: Any, **options: Any) -> None:
        is_new = self._state.adding
        super().save(*args, **options)
        if is_new:
            self.tell_queue([self])

    @classmethod
    def tell_queue(cls, completions: Iterable[Completion]) -> None:
        prompts = Prompt.objects.filter(pk__in={c.prompt_id for c in completions}, side=Split.TRAIN).order_by()
        by_project: dict[int, list[int]] = defaultdict(list)
        for project, prompt in prompts.values_list("project_id", "pk"):
            by_project[project].append(prompt)
        for project, pks in by_project.items():
            QueueChange.note(project, pks, only_adds=True)


def has_answers(project: Project) -> bool:
    """Return whether there is an answer to a prompt of the split that trains."""
    return Completion.objects.filter(prompt__project=project, prompt__side=Split.TRAIN).exists()


def has_items(project: Project) -> bool:
    """Return whether there is anything to annotate: an answer in the split that trains, or a prompt to be answered."""
    if project.asks_answers and project.prompts.filter(side=Split.TRAIN, out_since=None).exists():
        return True
    return has_answers(project)


def split_counts(project: Project) -> dict[str, int]:
    """Return how many prompts that are not retired each split has."""
    rows = project.prompts.filter(out_since=None).order_by().values_list("side").annotate(n=models.Count("id"))
    return dict.fromkeys(Split.values, 0) | dict(rows)
