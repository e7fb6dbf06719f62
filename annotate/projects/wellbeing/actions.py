"""Respect what a person can bear: consent before anything harmful, kinds opted out of, a cap a day, breaks.

Every harmful item handed out and every question of a red-team talk is an exposure. What is withheld is so for now and
for this person: it stays in the queue of the others.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.core.permissions import Person
from annotate.models import Assignment, HarmBudget, Project, Prompt, Question, QueueChange, QueueEntry, User
from common import harm_kinds as harms
from common.harm_kinds import HARMS

MOST_A_DAY, MOST_IN_A_ROW, LONGEST_BREAK = 500, 100, 240
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Standing:
    """Say how much a person has seen today, and what may be shown to them now. `why` is empty when something may."""

    accepted: frozenset[str]
    seen_today: int
    cap: int
    why: str = ""
    until: datetime | None = None

    @property
    def allowed(self) -> frozenset[str]:
        return frozenset() if self.why else self.accepted


def budget_of(user: User) -> HarmBudget | None:
    return HarmBudget.objects.filter(user=user).first()


def agree(
    *, user: User, accepted: list[str], blur: bool, daily_cap: int, break_after: int, break_minutes: int
) -> HarmBudget:
    """Set one's own budget, for all projects. Accepting nothing is an answer, too."""
    if unknown := [name for name in accepted if name not in HARMS]:
        raise Refused(accepted=f"{unknown[0]!r} is not a kind of harm; use {', '.join(HARMS)}.")
    bounds = (("daily_cap", daily_cap, 0, MOST_A_DAY), ("break_after", break_after, 1, MOST_IN_A_ROW))
    for name, value, low, high in (*bounds, ("break_minutes", break_minutes, 1, LONGEST_BREAK)):
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Refused(**{name: f"{value!r} is not a whole number from {low} to {high}."})
    fields = {
        "opted_out": [name for name in HARMS if name not in accepted],
        "blur": blur,
        "daily_cap": daily_cap,
        "break_after": break_after,
        "break_minutes": break_minutes,
    }
    with transaction.atomic():
        budget, _ = HarmBudget.objects.update_or_create(user=user, defaults=fields)
        _give_back(user, budget)
    return budget


def _give_back(user: User, budget: HarmBudget) -> None:
    """Give what they hold of a kind that they now opt out of to others: nobody must skip it with a reason."""
    unwanted = ~_bearable(budget.accepted)
    found = Assignment.objects.filter(unwanted, user=user).expire()
    for project in {project for project, _ in found}:
        QueueChange.note(project, [prompt for project_id, prompt in found if project_id == project])


def within(rows: QuerySet[M], project: Project, user: User) -> QuerySet[M]:
    """Return those rows whose prompt this person may be shown now. One look at an index where a project has none of
    harm."""
    if user.is_simulated or not Prompt.objects.filter(project=project, harm__gt="").exists():
        return rows
    return rows.filter(_bearable(standing(user).allowed))


def may_see(prompts: set[int], user: User) -> set[int]:
    """Return those of the prompts that this person may be shown now."""
    harmful = dict(Prompt.objects.filter(pk__in=prompts, harm__gt="").values_list("pk", "harm"))
    allowed = standing(user).allowed if harmful else frozenset()
    return {pk for pk in prompts if allowed.issuperset(harmful.get(pk, "").split())}


def readable(user: Person) -> frozenset[str]:
    """Return the kinds of harm that a reader has agreed to see: to read is to ask for it, and uses up no budget."""
    if not isinstance(user, User):
        return frozenset()
    budget = budget_of(user)
    return frozenset(HARMS if user.is_simulated else budget.accepted if budget else ())


def blurs(user: Person) -> bool:
    """Return whether text about harm stays shut until this reader opens it."""
    budget = budget_of(user) if isinstance(user, User) else None
    return budget is None or budget.blur


def _bearable(allowed: Collection[str]) -> Q:
    """Return a filter of rows with a prompt: those about no harm, or about these kinds alone. No kind's name is part of
    another's."""
    harmless, bearable = Q(prompt__harm=""), Q(prompt__harm__gt="")
    for kind in HARMS:
        bearable &= Q() if kind in allowed else ~Q(prompt__harm__contains=kind)
    return harmless | bearable if allowed else harmless


def why_withheld(project: Project, user: User) -> str:
    """Return why items that wait for annotators are not for this person just now; empty when none are."""
    waiting = QueueEntry.objects.filter(project=project, level__lt=project.overlap, prompt__harm__gt="")
    if user.is_simulated or not waiting.exists():
        return ""
    now = standing(user)
    if now.why:
        return f"{now.why} Until {timezone.localtime(now.until):%H:%M %Z}." if now.until else now.why
    withheld = waiting.exclude(_bearable(now.allowed))
    return "The items left are about kinds of harm that you have opted out of." if withheld.exists() else ""


def veil(prompt: Prompt, user: User) -> str:
    """Return the kinds of harm, in words, of a prompt that this person sees only when asking for it; else empty."""
    if not prompt.harm or user.is_simulated:
        return ""
    budget = budget_of(user)
    is_bare = budget is not None and not budget.blur and set(prompt.harm.split()) <= set(budget.accepted)
    return "" if is_bare else harms.title(prompt.harm)


def standing(user: User) -> Standing:
    """Return what may be shown to a user. A simulation bears everything; a person what they have agreed to, so far as
    today's budget goes."""
    if user.is_simulated:
        return Standing(frozenset(HARMS), 0, 0)
    budget = budget_of(user)
    if budget is None:
        return Standing(frozenset(), 0, 0, "You have not chosen yet what you are ready to see.")
    moments = exposures(user)
    today = _midnight()
    seen_today = sum(moment >= today for moment in moments)
    accepted = frozenset(budget.accepted)
    if not accepted:
        return Standing(accepted, seen_today, budget.daily_cap, "You have opted out of every kind of harm.")
    if seen_today >= budget.daily_cap:
        tomorrow = today + timedelta(days=1)
        return Standing(
            accepted, seen_today, budget.daily_cap, f"You have seen {seen_today} today, which is your limit.", tomorrow
        )
    until = _break_until(moments, budget)
    reason = "Take a break: you have seen many harmful items in a row." if until else ""
    return Standing(accepted, seen_today, budget.daily_cap, reason, until)


def exposures(user: User) -> list[datetime]:
    """Return when they were shown something harmful, since yesterday's midnight, oldest first."""
    since = _midnight() - timedelta(days=1)
    items = Assignment.objects.filter(user=user, created_at__gte=since).exclude(prompt__harm="")
    questions = Question.objects.filter(talk__user=user, asked_at__gte=since)
    return sorted([*items.values_list("created_at", flat=True), *questions.values_list("asked_at", flat=True)])


def _break_until(moments: list[datetime], budget: HarmBudget) -> datetime | None:
    """Return the end of the break that is due. A pause as long as a break begins a new row."""
    pause = timedelta(minutes=budget.break_minutes)
    if not moments or timezone.now() - moments[-1] >= pause:
        return None
    row = 1
    for earlier, later in zip(reversed(moments[:-1]), reversed(moments), strict=False):
        if later - earlier >= pause:
            break
        row += 1
    return moments[-1] + pause if row >= budget.break_after else None


def _midnight() -> datetime:
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
