"""Runs for staff, to look at: they are started, cancelled and resumed on their own pages."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from annotate.admin import DeclaredAdmin, ReadOnlyAdmin
from annotate.core import audit
from annotate.models import User
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
        "gpus",
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
        "priority",
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


@admin.register(models.Quota)
class QuotaAdmin(DeclaredAdmin):
    """Set what one project may use, where that is not what all may."""

    staff_may = frozenset({"view", "add", "change", "delete"})
    list_display = ("project", "runs", "gpu_hours", "disk_gb")
    list_select_related = ("project",)

    def save_model(self, request: HttpRequest, obj: models.Quota, form: ModelForm, change: bool) -> None:
        before = models.Quota.objects.filter(pk=obj.pk).first()
        super().save_model(request, obj, form, change)
        _record(request, obj, _figures(before), _figures(obj))

    def delete_model(self, request: HttpRequest, obj: models.Quota) -> None:
        _record(request, obj, _figures(obj), _figures(None))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[models.Quota]) -> None:
        for quota in queryset:
            self.delete_model(request, quota)


@admin.register(models.Drain)
class DrainAdmin(ReadOnlyAdmin):
    """List workers that take no new run; `manage.py drain_worker` changes them."""

    list_display = ("name", "gives_back", "created_at")


def _figures(quota: models.Quota | None) -> dict[str, Any]:
    return {name: getattr(quota, name, None) for name in ("runs", "gpu_hours", "disk_gb")}


def _record(request: HttpRequest, quota: models.Quota, before: dict[str, Any], after: dict[str, Any]) -> None:
    changes = audit.differences(before, after)
    by = cast(User, request.user)
    audit.record(action="quota.changed", about=quota.project.name, by=by, project=quota.project, changes=changes)
