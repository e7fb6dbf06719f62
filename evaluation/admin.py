"""Published figures for staff, to look at: each was computed once and may be pointed at."""

from __future__ import annotations

from django.contrib import admin

from annotate.admin import ReadOnlyAdmin
from evaluation import models


@admin.register(models.Evaluation)
class EvaluationAdmin(ReadOnlyAdmin):
    list_display = ("id", "model", "metric", "value", "lower", "upper", "n", "signature", "created_at")
    list_filter = ("metric", "project")
    list_select_related = ("model",)


@admin.register(models.Leaderboard)
class LeaderboardAdmin(ReadOnlyAdmin):
    list_display = ("id", "project", "judge", "votes", "signature", "created_at")
    list_filter = ("project", "judge")
    list_select_related = ("project",)


@admin.register(models.Promotion)
class PromotionAdmin(ReadOnlyAdmin):
    list_display = ("id", "project", "model", "promoted_by", "reason", "created_at")
    list_filter = ("project",)
    list_select_related = ("project", "model", "promoted_by")
