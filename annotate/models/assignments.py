from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotate.models.prompts import Completion, index_where_set


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def live(self) -> AssignmentQuerySet:
        """Return assignments that are handed out and still good."""
        return self.filter(state=Assignment.State.OPEN, expires_at__gt=timezone.now())

    def filling(self, *, is_simulated: bool) -> AssignmentQuerySet:
        """Return work that was done or handed out, and so fills a place of its item: of people, or of simulations.

        What only measures the annotator, decides between annotators or reviews one of them, fills none.
        """
        states = [Assignment.State.OPEN, Assignment.State.SUBMITTED]
        work = self.filter(state__in=states, purpose=Assignment.Purpose.WORK, is_review=False)
        return work.filter(user__is_simulated=is_simulated)

    def free(self) -> AssignmentQuerySet:
        """Lock the rows, in the transaction around it, without those that somebody else changes at the moment.

        What is being sent is passed over so: its sender may wait for the project that we hold, and it is submitted
        before we could change it.
        """
        return self.select_for_update(of=("self",), skip_locked=True, no_key=True)

    def expire(self) -> list[tuple[int, int]]:
        """Close the open ones that are free as run out; return (project, prompt) of each."""
        return self.close_free(Assignment.State.EXPIRED)

    def close_free(self, state: str, **fields: str) -> list[tuple[int, int]]:
        """Close the open ones that are free, in the transaction around it; return (project, prompt) of each."""
        is_open = Q(state=Assignment.State.OPEN)  # asked twice: to find few rows, and of each once it is locked
        open_rows = Assignment.objects.filter(is_open, pk__in=self.filter(is_open).values("pk"))
        found = list(open_rows.free().values_list("pk", "project_id", "prompt_id"))
        closed = Assignment.objects.filter(pk__in=[pk for pk, _, _ in found])
        closed.update(state=state, closed_at=timezone.now(), **fields)
        return [(project, prompt) for _, project, prompt in found]


class Assignment(models.Model):
    """One item handed to one person for a while: what to judge, in the order shown, or what to answer or attack."""

    class Kind(models.TextChoices):
        RATE = "rate"
        COMPARE = "compare"
        RANK = "rank"  # three to six completions, which `shown` lists
        WRITE = "write"  # a prompt to answer

    class Purpose(models.TextChoices):
        """Name why it was handed out. Nothing that its judge sees tells one from another, but for the last two."""

        WORK = "work"
        GOLD = "gold"  # the right answer is known: it measures the judge, and teaches no model
        REPEAT = "repeat"  # the sides of an earlier item swapped: it measures consistency, and teaches no model
        TUTORIAL = "tutorial"  # told what was right, after answering
        ADJUDICATION = "adjudication"  # judges disagreed; what is said here stands in the place of what they said

    class State(models.TextChoices):
        OPEN = "open"
        SUBMITTED = "submitted"
        SKIPPED = "skipped"
        EXPIRED = "expired"
        EXCLUDED = "excluded"  # what was said no longer counts, so that the place is free again
        TAKEN_OUT = "taken out"  # its prompt left the queue meanwhile; `skip_reason` says why

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="assignments", db_index=False)
    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="assignments", db_index=False)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="+", db_index=False)
    completion_a = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    completion_b = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    shown = models.JSONField(default=list, blank=True, help_text="To rank: ids of completions in the order shown.")
    item = models.CharField(
        max_length=140, help_text="rate:12, compare:12:15, rank:12:15:18 or write:7; smaller ids first, always."
    )
    purpose = models.CharField(max_length=12, choices=Purpose.choices, default=Purpose.WORK)
    is_ahead = models.BooleanField(
        default=False, help_text="Handed out ahead: it waits in their browser and they have not been shown it yet."
    )
    is_review = models.BooleanField(default=False, help_text="A reviewer's second look at what one person annotated.")
    gold = models.ForeignKey(
        "annotate.GoldItem", models.PROTECT, null=True, blank=True, related_name="assignments", db_index=False
    )
    gold_passed = models.BooleanField(null=True, blank=True)
    repeats = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="repetitions", db_index=False
    )
    sent_back_by = models.ForeignKey(
        "annotate.User", models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    sent_back_comment = models.TextField(blank=True, help_text="What a reviewer wants changed.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    skip_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "item"],
                condition=~models.Q(purpose="repeat"),
                name="nobody_is_served_an_item_twice",
            ),
            models.UniqueConstraint(
                fields=["user", "item"], condition=models.Q(purpose="repeat"), name="nobody_is_served_a_repeat_twice"
            ),
            models.CheckConstraint(
                condition=models.Q(kind="rate", completion_a__isnull=False, completion_b=None)
                | models.Q(kind="compare", completion_a__isnull=False, completion_b__isnull=False)
                | models.Q(kind__in=["rank", "write"], completion_a=None, completion_b=None),
                name="an_item_has_the_completions_of_its_kind",
            ),
            models.CheckConstraint(
                condition=models.Q(purpose="repeat", repeats__isnull=False)
                | ~models.Q(purpose="repeat") & models.Q(repeats=None),
                name="a_repeat_repeats_something",
            ),
        ]
        # An index is written twice for each annotation: when its item is handed out, and when it is submitted. Those of
        # foreign keys are none of their own where one below begins with the key, or where hardly any row has it.
        indexes = [
            *(index_where_set(key, f"assignment_by_{key}") for key in ("gold", "repeats", "sent_back_by")),
            models.Index(fields=["project", "item", "state"]),
            models.Index(fields=["user", "state"]),
            models.Index(fields=["project", "kind", "state", "prompt", "user"]),
            # What this person was served of a prompt, each time one is handed out to them.
            models.Index(fields=["user", "kind", "prompt"], name="served_to_a_person"),
            models.Index(fields=["prompt", "kind"], name="places_of_a_prompt"),
            models.Index(fields=["project", "expires_at"], condition=models.Q(state="open"), name="what_runs_out"),
            models.Index(fields=["user", "project"], condition=models.Q(is_ahead=True), name="handed_out_ahead"),
            # Few of millions, which their pages count.
            models.Index(fields=["project", "item"], condition=models.Q(is_review=True), name="reviews_of_a_project"),
            models.Index(fields=["project", "user"], condition=models.Q(purpose="gold"), name="gold_of_a_project"),
        ]

    def __str__(self) -> str:
        return f"{self.item} for {self.user}"

    @property
    def completions(self) -> list:
        """Return the completions in the order shown."""
        if self.kind != self.Kind.RANK:
            return [c for c in (self.completion_a, self.completion_b) if c is not None]
        completions = Completion.objects.in_bulk(self.shown)
        return [completions[pk] for pk in self.shown]
