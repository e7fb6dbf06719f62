"""Keep the audit trail: who changed what. Called inside the transaction of the change, so that neither stands alone."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from annotate.models import AuditEntry, Project, User


def record(
    *,
    action: str,
    about: object,
    by: User | None,
    project: Project | None = None,
    changes: dict[str, list[Any]] | None = None,
    reason: str = "",
) -> AuditEntry:
    """Record a change. `action` is such as member.role; `changes` are {field: [before, after]}, in values that JSON
    has.

    Annotations have a ledger of their own, StatusChange. `by` is None for what the software or a command does.
    """
    return AuditEntry.objects.create(
        project=project, actor=by, action=action, about=str(about)[:200], changes=changes or {}, reason=reason[:200]
    )


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """Return what differs, as `record` wants it."""
    return {name: [before.get(name), value] for name, value in after.items() if before.get(name) != value}


def entries_of(project: Project, *, action: str = "", username: str = "") -> QuerySet[AuditEntry]:
    """Return the entries, newest first; of one action, or by one person, where they are named."""
    action, username = action.replace("\x00", ""), username.replace("\x00", "")
    entries = AuditEntry.objects.filter(project=project).select_related("actor")
    if action:
        entries = entries.filter(action=action)
    return entries.filter(actor__username=username) if username else entries
