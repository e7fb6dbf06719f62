"""Runs for staff, to look at: they are started, cancelled and resumed on their own pages."""

from __future__ import annotations

from django.contrib import admin

from annotate.admin import ReadOnlyAdmin
from training import models


class AttemptInline(admin.TabularInline):
    model = models.Attempt
    extra = 0
    can_delete = False
    readonly_fields = fields = (
        "number",
        "state",
        "worker",
        "launcher",
        "handle",
        "node",
        "exit_code",
        "resumed_from_step",
        "started_at",
        "ended_at",
        "lease_expires_at",
        "reason",
    )

    def has_add_permission(self, request, obj=None) -> bool:
        return False


@admin.register(models.Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "name",
        "kind",
        "project",
        "state",
        "phase",
        "step",
        "total_steps",
        "reason_code",
        "created_at",
    )
    list_filter = ("state", "kind", "project")
    list_select_related = ("project",)
    search_fields = ("name",)
    exclude = ("completions",)  # thousands: the run's own page shows samples
    inlines = (AttemptInline,)


@admin.register(models.Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = ("id", "run", "number", "state", "worker", "exit_code", "started_at", "ended_at")
    list_filter = ("state", "launcher")
    list_select_related = ("run",)


@admin.register(models.Metric)
class MetricAdmin(ReadOnlyAdmin):
    list_display = ("id", "run_id", "sequence", "step", "values", "time")


@admin.register(models.Sample)
class SampleAdmin(ReadOnlyAdmin):
    list_display = ("id", "run_id", "sequence", "step", "score", "completion")
