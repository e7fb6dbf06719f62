"""Hand out gold items among all others, and measure annotators by them.

Below the project's pass mark an annotator is first warned, with what went wrong, and paused when it goes on. A share of
a few items says little, so the rule is a test, not the share itself: of the last ten known answers since the last
decision, five at least, so few are right that an annotator who is exactly at the pass mark would do as badly in one
case of twenty or less (exact binomial, one-sided).
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from annotate.core import audit, events
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.forms.validation import Checked, Submission
from annotate.labelling.queue import entries as queue
from annotate.models import Assignment, GoldItem, Membership, Project, User
from annotate.projects import member_languages
from annotate.projects.wellbeing import actions as harm_budget
from common.winners import swapped

LOOKED_AT = 10
FEWEST = 5
LEVEL = 0.05
_lot = random.SystemRandom()


def draw(project: Project, user: User, kind: str, languages: Sequence[str] = ()) -> GoldItem | None:
    """Return a gold item that this person has not been served, by lot, in one of these languages or in none; None when
    none is left. Without `languages` all are theirs."""
    items = project.gold_items.filter(kind=kind, is_tutorial=False, retired_at=None, prompt__out_since=None)
    items = harm_budget.within(member_languages.within(items, languages), project, user)
    keys = {key_of(kind, a, b): pk for pk, a, b in items.values_list("pk", "completion_a", "completion_b")}
    served = set(Assignment.objects.filter(user=user, item__in=keys).values_list("item", flat=True))
    fresh = [pk for key, pk in keys.items() if key not in served]
    return GoldItem.objects.get(pk=_lot.choice(fresh)) if fresh else None


def key_of(kind: str, a: int, b: int | None) -> str:
    """Return the item's key as assignments have it."""
    return ":".join([kind, *map(str, sorted(pk for pk in (a, b) if pk is not None))])


def check_answer(assignment: Assignment, checked: Checked) -> None:
    """Score a submission of a gold item, in its transaction, and warn or pause the annotator if needed."""
    if assignment.gold_id is None or assignment.gold is None:
        return
    assignment.gold_passed = passes(assignment.gold, assignment, checked.submission)
    assignment.save(update_fields=["gold_passed"])
    if assignment.purpose == Assignment.Purpose.GOLD:
        _look_at(assignment)


def passes(gold_item: GoldItem, assignment: Assignment, submission: Submission) -> bool:
    """Return whether each field with a right answer has one of them; a field left empty has none."""
    for name, right_values in expected_of(gold_item, assignment).items():
        value = (
            submission.aspects.get(name.removeprefix("aspects."), None) if "." in name else getattr(submission, name)
        )
        if value not in right_values:
            return False
    return True


def expected_of(gold_item: GoldItem, assignment: Assignment) -> dict[str, list]:
    """Return the right values, with winners as the sides were shown to this annotator."""
    expected = {name: list(values) for name, values in gold_item.expected.items()}
    if "winner" in expected and assignment.completion_a_id != gold_item.completion_a_id:
        expected["winner"] = [swapped(winner) for winner in expected["winner"]]
    return expected


def is_too_low(right: int, n_answered: int, percent: int) -> bool:
    """Return whether an annotator who gets `percent` right in the long run would have this few right in 5 % of cases or
    less."""
    if n_answered < FEWEST:
        return False
    p = percent / 100
    chance = sum(math.comb(n_answered, k) * p**k * (1 - p) ** (n_answered - k) for k in range(right + 1))
    return chance <= LEVEL


@dataclass(frozen=True)
class Standing:
    """Say how an annotator does on gold items: the latest ones, and all."""

    right: int
    answered: int
    right_ever: int
    answered_ever: int


def standing(member: Membership) -> Standing:
    rows = _answered_gold(member).order_by("-closed_at", "-pk")
    results = list(rows.values_list("gold_passed", flat=True))
    # Handed out since the last decision: whoever takes back what the warning spoke of has it counted no second time.
    lately = rows.filter(created_at__gt=member.gold_since) if member.gold_since else rows
    now = list(lately.values_list("gold_passed", flat=True)[:LOOKED_AT])
    return Standing(sum(map(bool, now)), len(now), sum(map(bool, results)), len(results))


def standings(project: Project) -> list[tuple[Membership, Standing]]:
    """Return the standing of each member who has answered a gold item, is paused or was warned, by name.

    Three queries, however many they are.
    """
    answered = _answered(project)
    right = Count("pk", filter=Q(gold_passed=True))
    ever = {user: (passed, n) for user, passed, n in answered.values_list("user").annotate(r=right, n=Count("pk"))}
    since = Membership.objects.filter(project=project, user=OuterRef("user")).values("gold_since")[:1]
    newest_first = Window(RowNumber(), partition_by=F("user"), order_by=[F("closed_at").desc(), F("pk").desc()])
    lately = answered.annotate(since=Subquery(since)).filter(Q(since=None) | Q(created_at__gt=F("since")))
    lately = lately.annotate(place=newest_first).filter(place__lte=LOOKED_AT)
    recent: dict[int, list[bool]] = defaultdict(list)
    for user, passed in lately.values_list("user", "gold_passed"):
        recent[user].append(bool(passed))
    members = project.memberships.select_related("user", "project").order_by("user__username")
    shown = members.filter(Q(user__in=ever) | Q(paused_at__isnull=False) | Q(warned_at__isnull=False))
    return [
        (one, Standing(sum(recent[one.user_id]), len(recent[one.user_id]), *ever.get(one.user_id, (0, 0))))
        for one in shown
    ]


def lift(*, project: Project, user: User, by: User, note: str = "") -> Membership:
    """Let a paused person go on, as a manager, with a note that they read before the next item."""
    require(by, "manage", project)
    member = Membership.objects.filter(project=project, user=user).first()
    if member is None or member.paused_at is None:
        raise Refused(409, username=f"{user} is not paused in {project}.")
    note = note.strip()
    if len(note) > 2000 or "\x00" in note:
        raise Refused(note="Keep the note within 2,000 characters, without null characters.")
    reason = member.paused_reason
    member.paused_at, member.paused_reason, member.warned_at = None, "", None
    member.gold_since = timezone.now()
    member.notice = f"**Your pause has ended.** {note}".strip()
    _save(member, by, "member.lifted", {"paused": [reason, None]}, note)
    return member


def pause(*, project: Project, user: User, by: User | None, reason: str) -> Membership:
    """Pause a person until a manager lifts it; what they hold goes to others. `by` is None for the rule."""
    if by is not None:
        require(by, "manage", project)
    reason = reason.strip()
    if not reason or len(reason) > 200 or "\x00" in reason:
        raise Refused(reason="Enter a reason of 1 to 200 characters; the paused person sees it.")
    member = Membership.objects.filter(project=project, user=user).first()
    if member is None or member.paused_at is not None:
        raise Refused(409, username=f"{user} is {'already paused' if member else 'not a member'} in {project}.")
    with transaction.atomic():
        _pause(member, reason, by)
    return member


def _look_at(assignment: Assignment) -> None:
    """Warn first, pause when it goes on; a warning is spent when the next ten went well."""
    project = assignment.project
    member = Membership.objects.select_for_update().filter(project=project, user=assignment.user).first()
    if member is None or member.paused_at:
        return
    now = standing(member)
    if is_too_low(now.right, now.answered, project.gold_pass_percent):
        if member.warned_at is None:
            _warn(member, now)
        else:
            text = f"{now.right} of the last {now.answered} items with a known answer were right, after a warning."
            _pause(member, text, None)
    elif member.warned_at and now.answered >= LOOKED_AT and now.right * 100 >= project.gold_pass_percent * now.answered:
        member.warned_at = None
        member.save(update_fields=["warned_at"])


def _warn(member: Membership, now: Standing) -> None:
    member.warned_at = member.gold_since = timezone.now()
    wrong = _answered_gold(member).filter(gold_passed=False).select_related("gold").order_by("-closed_at")[:3]
    explanations = [row.gold.explanation.strip() for row in wrong if row.gold and row.gold.explanation.strip()]
    member.notice = "\n\n".join(
        [
            f"**{now.right} of your last {now.answered} items with a known answer were right.** Please take more time "
            "and read the guidelines again. If your results stay low, your work here is paused until a manager has "
            "checked it. Your annotations so far stay as they are.",
            *(["Items where your answer differs from the known answer:"] if explanations else []),
            *(f"- {text}" for text in dict.fromkeys(explanations)),
        ]
    )
    _save(member, None, "member.warned", {}, f"{now.right} of {now.answered} known answers right")


def _pause(member: Membership, reason: str, by: User | None) -> None:
    now = timezone.now()
    member.paused_at, member.paused_reason, member.notice = now, reason[:200], ""
    found = member.project.assignments.filter(user=member.user).expire()
    queue.changed(member.project_id, [prompt for _, prompt in found])
    _save(member, by, "member.paused", {"paused": [None, reason]}, reason)


def _save(member: Membership, by: User | None, action: str, changes: dict, reason: str) -> None:
    member.save(update_fields=["paused_at", "paused_reason", "warned_at", "gold_since", "notice"])
    audit.record(
        action=action, about=member.user.username, by=by, project=member.project, changes=changes, reason=reason
    )
    if action in ("member.paused", "member.lifted"):
        data = {"user": member.user.username, "role": member.role, "paused": member.paused_at is not None}
        events.announce(project=member.project, event="member.changed", data=data)


def _answered_gold(member: Membership) -> QuerySet[Assignment]:
    return _answered(member.project).filter(user=member.user)


def _answered(project: Project) -> QuerySet[Assignment]:
    return Assignment.objects.filter(
        project=project,
        purpose=Assignment.Purpose.GOLD,
        state=Assignment.State.SUBMITTED,
        gold_passed__isnull=False,
    )
