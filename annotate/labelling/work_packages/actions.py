"""Give prompts to named people until a day, and take back what is left. `queue.reserved` hands them out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.models import (
    Assignment,
    Completion,
    Membership,
    Project,
    Prompt,
    QueueEntry,
    ReservedPrompt,
    Split,
    User,
    WorkPackage,
)
from common.texts import is_storable

MOST_PROMPTS, MOST_ROWS = 2_000, 5_000  # of one package: it is written while nobody else writes on SQLite
LONGEST_NAME, LONGEST_DAYS = 80, 366
_lot = random.SystemRandom()


@dataclass(frozen=True)
class Selection:
    """Which prompts: all that agree with each part that is not empty, the oldest first, at most `limit`."""

    category: str = ""
    language: str = ""
    source: str = ""
    never_annotated: bool = False
    limit: int = MOST_PROMPTS


@dataclass(frozen=True)
class Terms:
    """Whom and how: each prompt goes to `per_prompt` of the people, to all of them where it is None. Without a name the
    package is called by its prompts and the day."""

    name: str
    people: Sequence[str]
    per_prompt: int | None = None
    is_exclusive: bool = True
    until: datetime | None = None


def matching(project: Project, selection: Selection) -> QuerySet[Prompt]:
    """Return the prompts of the train split that can be given: not out, answered, and kept for nobody else."""
    kept = ReservedPrompt.objects.exclusive().filter(prompt=OuterRef("pk"))
    rows = Prompt.objects.filter(~Exists(kept), project=project, side=Split.TRAIN, out_since=None)
    if not project.asks_answers:
        rows = rows.filter(Exists(Completion.objects.filter(prompt=OuterRef("pk"))))
    if selection.category:
        rows = rows.filter(category=selection.category)
    if selection.language:
        rows = rows.filter(language=selection.language)
    if selection.source:
        rows = rows.filter(source=selection.source)
    if selection.never_annotated:
        done = Assignment.objects.filter(prompt=OuterRef("pk"), purpose="work", state="submitted")
        rows = rows.filter(~Exists(done))
    return rows.order_by("id")


def assignable(project: Project) -> QuerySet[Membership]:
    """Return the members who can be given work: neither paused nor shut out."""
    members = Membership.objects.filter(project=project, paused_at=None, user__is_active=True)
    return members.select_related("user").order_by("user__username")


def give(*, project: Project, by: User, selection: Selection, terms: Terms) -> WorkPackage:
    """Give the selected prompts to these people. Whoever has one already, from another package, gets it once."""
    require(by, "manage", project)
    _check(selection, terms)
    users = _users(project, terms.people)
    n_each = len(users) if terms.per_prompt is None else terms.per_prompt
    if not 1 <= n_each <= len(users):
        raise Refused(
            per_prompt=f"You chose {len(users)} people, so {n_each} for each prompt is too many; enter 1 to "
            f"{len(users)}."
        )
    with transaction.atomic():
        project.lock()
        prompts = list(matching(project, selection).values_list("pk", flat=True)[: selection.limit])
        if not prompts:
            raise Refused(409, prompts="No open, unassigned prompt matches; change the filters.")
        if len(prompts) * n_each > MOST_ROWS:
            most = MOST_ROWS // n_each
            raise Refused(
                413,
                limit=f"With {n_each} people for each prompt, assign at most {most:,} prompts at once; make two "
                "packages.",
            )
        package = WorkPackage.objects.create(
            project=project,
            name=terms.name.strip() or _name_of(len(prompts)),
            is_exclusive=terms.is_exclusive,
            until=terms.until,
            created_by=by,
        )
        ReservedPrompt.objects.bulk_create(
            _rows(package, prompts, users, n_each), batch_size=500, ignore_conflicts=True
        )
        if terms.is_exclusive:
            _leave_queue(prompts)
        audit.record(
            action="work.given",
            about=f"{package.name}: {len(prompts)} prompts",
            by=by,
            project=project,
            changes={"people": [None, [user.username for user in users]], "people per prompt": [None, n_each]},
        )
    return package


def take_back(*, package: WorkPackage, by: User, username: str = "") -> int:
    """Take back what is left of a package, of one person or of all; return how many prompts. What they said stays."""
    require(by, "manage", package.project)
    with transaction.atomic():
        package.project.lock()
        rows = package.reserved.all()
        if username:
            rows = rows.filter(user__username=username) if is_storable(username) else rows.none()
            if not rows.exists():
                raise Refused(404, username=f"{username!r} has no work in this package.")
        n = rows.close(ReservedPrompt.State.RELEASED)
        if not n:
            raise Refused(409, package="Nothing is left in this package: all is done or taken back.")
        if not package.reserved.open().exists():
            package.ended_at = timezone.now()
            package.save(update_fields=["ended_at"])
        about = f"{package.name}: {n} prompts" + (f" of {username}" if username else "")
        audit.record(action="work.taken back", about=about, by=by, project=package.project)
    return n


def _check(selection: Selection, terms: Terms) -> None:
    name = terms.name.strip()
    if len(name) > LONGEST_NAME or "\x00" in name:
        raise Refused(
            name=f"Use a name of at most {LONGEST_NAME} characters, or none; people see it beside their work."
        )
    for field in ("category", "language", "source"):
        if "\x00" in getattr(selection, field):
            raise Refused(**{field: "It contains a null character, which no prompt has; remove it."})
    if not 1 <= selection.limit <= MOST_PROMPTS:
        raise Refused(limit=f"{selection.limit:,} prompts are too many at once; enter 1 to {MOST_PROMPTS:,}.")
    now = timezone.now()
    if terms.until is not None and not now < terms.until <= now + timedelta(days=LONGEST_DAYS):
        raise Refused(until=f"Choose a day from tomorrow on, within {LONGEST_DAYS} days, or leave it empty.")


def _name_of(n_prompts: int) -> str:
    return f"{n_prompts:,} prompt{'s' if n_prompts != 1 else ''}, {timezone.localdate():%-d %B %Y}"


def _users(project: Project, names: Iterable[str]) -> list[User]:
    wanted = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    members = {member.user.username: member.user for member in assignable(project)}
    if missing := [name for name in wanted if name not in members]:
        raise Refused(
            people=f"{', '.join(missing[:5])} cannot get work: they are not members, or they are paused. See People."
        )
    if not wanted:
        raise Refused(people="Choose at least one person.")
    return [members[name] for name in wanted]


def _rows(package: WorkPackage, prompts: list[int], users: list[User], n_each: int) -> list[ReservedPrompt]:
    """Return the rows, evenly spread over the people, and for each of them in an order of their own."""
    people = _lot.sample(users, len(users))
    rows = [
        ReservedPrompt(
            package=package,
            project_id=package.project_id,
            user=people[(place * n_each + k) % len(people)],
            prompt_id=prompt,
            is_exclusive=package.is_exclusive,
        )
        for place, prompt in enumerate(prompts)
        for k in range(n_each)
    ]
    _lot.shuffle(rows)
    return rows


def _leave_queue(prompts: list[int]) -> None:
    """Take them out of the queue at once: else others might be handed one before it is brought up to date."""
    for start in range(0, len(prompts), 500):
        QueueEntry.objects.filter(prompt__in=prompts[start : start + 500]).delete()
