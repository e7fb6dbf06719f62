"""Figures that were computed once and can be pointed at: evaluations and leaderboards at a moment."""

from __future__ import annotations

from django.db import models


class Evaluation(models.Model):
    """One metric of one model, with its error, its n and the signature that tells how to get it again."""

    project = models.ForeignKey("annotate.Project", models.PROTECT, null=True, related_name="evaluations")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="evaluations")
    run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="evaluations")
    metric = models.CharField(max_length=60)
    value = models.FloatField()
    standard_error = models.FloatField(null=True, blank=True)
    lower = models.FloatField(null=True, blank=True)
    upper = models.FloatField(null=True, blank=True)
    n = models.PositiveIntegerField()
    signature = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.metric} of {self.model}: {self.value:g}"


class Leaderboard(models.Model):
    """Ratings at a moment, from counted votes of one kind of judge on the eval side."""

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="leaderboards")
    judge = models.CharField(max_length=10)
    last_comparison_id = models.BigIntegerField(help_text="Votes up to this one are in it.")
    votes = models.PositiveIntegerField()
    ratings = models.JSONField()
    signature = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class Promotion(models.Model):
    """Which model a project serves by default from a moment on, and on what evidence."""

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="promotions")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="promotions")
    leaderboard = models.ForeignKey(Leaderboard, models.PROTECT, null=True, blank=True, related_name="promotions")
    reason = models.TextField()
    promoted_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
