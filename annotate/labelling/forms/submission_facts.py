"""Read in one query what a submission depends on beside what was sent: rights, keys, scales, guidelines, webhooks.

All of it is of the person who has the item, whom alone it may come from: so it can be asked for before its sender is
known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import CharField, Exists, Expression, Func, OuterRef, QuerySet, Subquery
from django.db.models.functions import Cast

from annotate.core.db.prepared import Prepared, Slot
from annotate.core.errors import Refused
from annotate.labelling.forms.storage import TABLES
from annotate.models import ApiToken, Assignment, Guideline, Membership, Scale, Webhook
from common.languages.language_tags import primaries


@dataclass(frozen=True)
class Facts:
    """What was so a moment before a submission."""

    role: str | None  # of its annotator in the project
    languages: tuple[str, ...]  # that its annotator gets prompts in; () for all
    is_key_used: bool
    has_scales: bool  # of the project's own
    has_webhooks: bool
    guideline_version: int | None  # in force when the item was handed out: what its annotator can have read


def _with_facts(key: Expression) -> QuerySet[Assignment]:
    in_project = {"project": OuterRef("project")}
    member = Membership.objects.filter(user=OuterRef("user"), **in_project).order_by()
    sent = [Exists(table.objects.filter(idempotency_key=key).order_by()) for table in TABLES]
    by_then = Guideline.objects.filter(created_at__lte=OuterRef("created_at"), **in_project)
    return (
        Assignment.objects.select_related("project")
        .filter(pk=Slot("pk"))
        .annotate(
            fact_role=Subquery(member.values("role")[:1]),
            fact_languages=Subquery(member.values("language")[:1]),
            fact_key=reduce(or_, sent),
            fact_scales=Exists(Scale.objects.filter(retired_at=None, **in_project).order_by()),
            fact_webhooks=Exists(Webhook.objects.filter(is_active=True, **in_project).order_by()),
            fact_version=Subquery(by_then.order_by("-version").values("version")[:1]),
        )
    )


def _key_of_a_program() -> Expression:
    """Return the key as `annotate.core.api.idempotency.feedback_key` makes it of what a program sent."""
    annotator, sent = Cast(OuterRef("user_id"), CharField()), Cast(Slot("key"), CharField())
    return Func(annotator, sent, template="(%(expressions)s)", arg_joiner=" || ':' || ", output_field=CharField())


def _of_token() -> QuerySet[Assignment]:
    """Return the item if a token with this hash is its annotator's: for anybody else nothing of it is looked up."""
    tokens = ApiToken.objects.filter(secret_hash=Slot("secret_hash"), user=OuterRef("user"), revoked_at=None)
    return _with_facts(_key_of_a_program()).filter(Exists(tokens.order_by()))


# Slots: pk, key; of the last one secret_hash, too
_assignments = Prepared(lambda: _with_facts(Slot("key")))
assignments_with_facts = Prepared(lambda: _with_facts(_key_of_a_program()))
own_with_facts = Prepared(_of_token)


def facts_in(assignment: Any) -> Facts:
    """Return the facts that an assignment of this query carries."""
    return Facts(
        role=assignment.fact_role,
        languages=primaries(assignment.fact_languages or ""),
        is_key_used=assignment.fact_key,
        has_scales=assignment.fact_scales,
        has_webhooks=assignment.fact_webhooks,
        guideline_version=assignment.fact_version,
    )


def facts_of(assignment: Assignment, key: str | None) -> Facts:
    """Return the facts of an assignment: those that it was read with, else ask for them."""
    if hasattr(assignment, "fact_role"):
        return facts_in(assignment)
    row = _assignments.first(pk=assignment.pk, key=key or "")
    if row is None:
        raise Refused(404, assignment="This item no longer exists; ask for your next one.")
    return facts_in(row)
