from __future__ import annotations

from django.db import models
from django.utils import timezone


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def live(self) -> AssignmentQuerySet:
        """Handed out and still good."""
        return self.filter(state=Assignment.State.OPEN, expires_at__gt=timezone.now())


class Assignment(models.Model):
    """One item handed to one person for a while: a completion to rate, or two to compare in the order shown."""

    class Kind(models.TextChoices):
        RATE = "rate"
        COMPARE = "compare"

    class State(models.TextChoices):
        OPEN = "open"
        SUBMITTED = "submitted"
        SKIPPED = "skipped"
        EXPIRED = "expired"
        EXCLUDED = "excluded"  # what was said no longer counts, so that the place is free again

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="assignments")
    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="assignments")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="+")
    completion_a = models.ForeignKey("annotate.Completion", models.PROTECT, related_name="+")
    completion_b = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    item = models.CharField(
        max_length=60, help_text="rate:12 or compare:12:15, smaller id first, whatever the order shown."
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    skip_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "item"], name="nobody_is_served_an_item_twice"),
            models.CheckConstraint(
                condition=models.Q(kind="rate", completion_b=None)
                | models.Q(kind="compare", completion_b__isnull=False),
                name="a_comparison_has_two_completions",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "item", "state"]),
            models.Index(fields=["user", "state"]),
            # What has been judged of each prompt is counted each time an item is handed out: from the index alone.
            models.Index(fields=["project", "kind", "state", "prompt", "user"]),
        ]

    def __str__(self) -> str:
        return f"{self.item} for {self.user}"

    @property
    def completions(self) -> list:
        """In the order shown."""
        return [c for c in (self.completion_a, self.completion_b) if c is not None]
