from __future__ import annotations

from django.db import models

from annotate.models.processes import LongWork


class KeptFigures(LongWork):
    """Figures that take longer than a page may: the background worker computes them when asked, and they are kept.

    A cache that can be made anew from the ledger at any time; never the truth.
    """

    class What(models.TextChoices):
        QUALITY = "quality"
        OWN_QUALITY = "own quality"  # as of the last full hour that nothing can change any more
        ALTERNATIVE_RATINGS = "alternative ratings"
        JUDGE_MODELS = "judge models"
        JUDGE_RATINGS = "judge ratings"  # by votes and verdicts

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="kept_figures")
    judge = models.CharField(max_length=10)
    what = models.CharField(max_length=20, choices=What.choices)
    state = models.CharField(max_length=200, blank=True, help_text="Which ledger they were computed from.")
    body = models.BinaryField(null=True, help_text="The figures, see evaluation.core.stored_values.")
    computed_at = models.DateTimeField(null=True)
    seconds = models.FloatField(default=0, help_text="How long that took.")
    asked_at = models.DateTimeField(null=True, help_text="Since when newer ones are wanted.")
    problem = models.TextField(blank=True, help_text="Why they could not be computed last.")

    CANCELLED = "Cancelled."  # the problem of figures that somebody does not want now

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "judge", "what"], name="one_row_of_the_same_kept_figures")
        ]

    @property
    def is_cancelled(self) -> bool:
        return self.problem == self.CANCELLED

    def __str__(self) -> str:
        return f"{self.what} of project {self.project_id} ({self.judge})"
