"""Store what is still to be annotated, so that the next item is found without reading the whole project.

Nothing here is the truth: that is in Assignment. `annotate.labelling.queue.entries` keeps these rows, and can make them
anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from annotate.models.projects import Project


class Levels:
    """Name the columns: people and simulations have places of their own."""

    PEOPLE, SIMULATED = "level", "level_simulated"
    ALL = (PEOPLE, SIMULATED)


class QueueEntry(models.Model):
    """A prompt and a kind of judging. `level` is how often its least judged item is judged, and as a fraction the share
    of its items that are judged more often: while it is below the overlap, there is room. People and simulations have
    places of their own, and so levels of their own."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="+", db_index=False)
    prompt = models.ForeignKey("annotate.Prompt", models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=8, help_text="As an assignment has it.")
    language = models.CharField(max_length=3, blank=True, help_text="Of its prompt, without the region, such as pt.")
    items = models.PositiveIntegerField()
    level = models.FloatField(default=0.0)
    level_simulated = models.FloatField(default=0.0)
    lot = models.FloatField(help_text="Random, drawn again at each change: annotators get items in different orders.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["prompt", "kind"], name="a_prompt_stands_once_in_a_queue")]
        indexes = [
            models.Index(fields=["project", "kind", "level", "lot"], name="queue_of_people"),
            models.Index(fields=["project", "kind", "language", "level", "lot"], name="queue_of_a_language"),
            models.Index(fields=["project", "kind", "level_simulated", "lot"], name="queue_of_simulations"),
        ]

    @classmethod
    def with_room(cls, project: Project) -> models.QuerySet[QueueEntry]:
        """Return the project's entries, of the kinds that it asks for, that a person may still annotate."""
        return cls.objects.filter(project=project, kind__in=project.asked_kinds, level__lt=project.overlap)


class QueueChange(models.Model):
    """List prompts whose entries must be made anew."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="+")
    prompts = models.JSONField()
    can_wait_until = models.DateTimeField(
        null=True, blank=True, help_text="Until then items may be handed out without it; empty: none may."
    )

    MOST_PROMPTS = 25  # they are taken in under a lock
    PATIENCE = timedelta(seconds=30)  # the background worker takes changes in every two

    @classmethod
    def note(cls, project_id: int, prompts: Iterable[int], *, only_adds: bool = False) -> None:
        """Note a change. One that `only_adds` leaves no entry wrong: what is handed out before it is new can be
        annotated all the same, so that nobody waits for it."""
        ordered = sorted(set(prompts))
        parts = [ordered[at : at + cls.MOST_PROMPTS] for at in range(0, len(ordered), cls.MOST_PROMPTS)]
        until = timezone.now() + cls.PATIENCE if only_adds else None
        QueueChange.objects.bulk_create(
            QueueChange(project_id=project_id, prompts=part, can_wait_until=until) for part in parts
        )


class ItemPriority(models.Model):
    """An item about which a model is unsure: a judgement of it teaches more than others. See `actions.priorities`."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="+")
    prompt = models.ForeignKey("annotate.Prompt", models.CASCADE, related_name="+")
    kind = models.CharField(max_length=8, help_text="As an assignment has it.")
    item = models.CharField(max_length=140)
    uncertainty = models.FloatField(help_text="1: a coin would do as well; 0: quite sure.")
    why = models.CharField(max_length=200)
    is_open = models.BooleanField(default=True, help_text="Not yet annotated as often as the project asks for.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "item"], name="an_item_has_one_priority")]
        indexes = [models.Index(fields=["project", "kind", "is_open", "-uncertainty"], name="most_uncertain_first")]


class SideCount(models.Model):
    """Count how often a judge had `first` on the left, less how often on the right, of two models shown to them.

    Without two different models it counts the answer with the smaller id; both are then 0.
    """

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="+")
    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="+", db_index=False)
    first = models.BigIntegerField(help_text="The smaller id of the two models; 0 for an unknown one.")
    second = models.BigIntegerField()
    lead = models.IntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "project", "first", "second"], name="sides_are_counted_once")
        ]
