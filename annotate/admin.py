"""The Django admin for staff: everything can be looked at; what others depend on cannot be edited or deleted here."""

from __future__ import annotations

from typing import Any, ClassVar

from allauth.account.decorators import secure_admin_login
from allauth.socialaccount.models import SocialApp, SocialToken
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.http import HttpRequest

from annotate import models

# By the site's own page, so that the second factor holds here, too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


# The operator names the provider of single sign-on by variables, not staff by rows; no token of a provider is kept.
admin.site.unregister([SocialApp, SocialToken])


class DeclaredAdmin(admin.ModelAdmin):
    """Say by `staff_may` what staff with Django's permission may do here; nobody does what is not in it.

    Raises ImproperlyConfigured at import where it says nothing.
    """

    staff_may: ClassVar[frozenset[str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not getattr(cls, "staff_may", frozenset()) or cls.staff_may - {"view", "add", "change", "delete"}:
            raise ImproperlyConfigured(f"Say by {cls.__name__}.staff_may which of view, add, change, delete it offers.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return "add" in self.staff_may and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return "change" in self.staff_may and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return "delete" in self.staff_may and super().has_delete_permission(request, obj)


class ReadOnlyAdmin(DeclaredAdmin):
    """Show rows on the chain from a vote to a rank: they are added by actions, and never edited or deleted."""

    staff_may = frozenset({"view"})
    list_per_page = 50
    show_full_result_count = False


@admin.register(models.User)
class PersonAdmin(DeclaredAdmin, UserAdmin):
    staff_may = frozenset({"view", "add", "change"})  # rows say who judged: people are made inactive, not deleted
    list_display = ("username", "email", "is_staff", "is_simulated", "date_joined")
    list_filter = ("is_staff", "is_simulated", "is_active")
    fieldsets = (*(UserAdmin.fieldsets or ()), ("Assay", {"fields": ("is_simulated",)}))
    actions = None


@admin.register(models.Project)
class ProjectAdmin(ReadOnlyAdmin):
    """Show projects. Settings and roles are changed on the project's own pages, which write the audit trail; superusers
    may do so."""

    list_display = ("name", "slug", "is_public", "overlap", "eval_percent", "created_at")
    search_fields = ("name", "slug")


@admin.register(models.ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """List tokens by owner. Their owners revoke them; an account that is made inactive has none that work."""

    list_display = ("user", "name", "scope", "prefix", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = ("scope",)
    list_select_related = ("user",)
    exclude = ("secret_hash",)
    search_fields = ("user__username", "name")


@admin.register(models.AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "actor", "action", "about", "project", "changes", "reason")
    list_filter = ("action", "project")
    list_select_related = ("actor", "project")
    search_fields = ("about", "actor__username")


@admin.register(models.LanguageModel)
class LanguageModelAdmin(DeclaredAdmin):
    """Describe or retire models; they are registered by import and by runs."""

    staff_may = frozenset({"view", "change"})
    list_display = ("name", "kind", "stage", "parent", "licence", "created_at", "retired_at")
    list_filter = ("kind", "stage")
    search_fields = ("name",)
    readonly_fields = (
        "name",
        "kind",
        "parent",
        "folder",
        "endpoint",
        "served_name",
        "parameters",
        "content_hash",
        "card",
        "created_by",
        "created_at",
    )


@admin.register(models.Guideline)
class GuidelineAdmin(ReadOnlyAdmin):
    list_display = ("project", "version", "created_by", "created_at")
    list_filter = ("project",)


@admin.register(models.Prompt)
class PromptAdmin(ReadOnlyAdmin):
    list_display = ("id", "__str__", "project", "side", "category", "language", "source", "created_at")
    list_filter = ("project", "side", "category", "language")
    search_fields = ("messages",)


@admin.register(models.Completion)
class CompletionAdmin(ReadOnlyAdmin):
    list_display = ("id", "__str__", "model", "finish_reason", "tokens", "source", "created_at")
    list_filter = ("finish_reason", "prompt__project")
    list_select_related = ("model",)
    search_fields = ("text",)


@admin.register(models.Assignment)
class AssignmentAdmin(ReadOnlyAdmin):
    list_display = ("id", "item", "user", "project", "state", "skip_reason", "created_at", "expires_at")
    list_filter = ("project", "kind", "state")
    list_select_related = ("user", "project")


class FeedbackAdmin(ReadOnlyAdmin):
    list_filter = ("project", "judge", "status", "source")
    list_select_related = ("author", "project")
    search_fields = ("comment", "author__username")
    common = ("author", "judge", "status", "status_reason", "seconds", "guideline_version", "source", "created_at")


@admin.register(models.Rating)
class RatingAdmin(FeedbackAdmin):
    list_display = ("id", "completion_id", "thumbs", "stars", *FeedbackAdmin.common)


@admin.register(models.Comparison)
class ComparisonAdmin(FeedbackAdmin):
    list_display = ("id", "completion_a_id", "completion_b_id", "winner", "strength", *FeedbackAdmin.common)


@admin.register(models.Demonstration)
class DemonstrationAdmin(FeedbackAdmin):
    list_display = ("id", "prompt_id", "edited_from_id", *FeedbackAdmin.common)


@admin.register(models.Flag)
class FlagAdmin(FeedbackAdmin):
    list_display = ("id", "prompt_id", "completion_id", "reason", *FeedbackAdmin.common)


@admin.register(models.StatusChange)
class StatusChangeAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "feedback_id", "before", "after", "reason", "by", "created_at")
    list_filter = ("kind", "after")
    list_select_related = ("by",)


@admin.register(models.Battle)
class BattleAdmin(ReadOnlyAdmin):
    list_display = ("token", "project", "model_a", "model_b", "user", "is_drawn", "created_at")
    list_filter = ("project", "is_drawn")
    list_select_related = ("project", "model_a", "model_b", "user")


@admin.register(models.Dataset)
class DatasetAdmin(ReadOnlyAdmin):
    list_display = ("name", "project", "kind", "side", "judge", "content_hash", "created_by", "created_at")
    list_filter = ("project", "kind")
    # Thousands of rows each: the dataset's own page lists them.
    exclude = ("ratings", "comparisons", "demonstrations", "rankings", "spans", "prompts")
