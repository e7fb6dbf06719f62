"""Freeze large datasets in the background: an order, its progress, its end.

A small dataset is frozen at once. Of a large one the order is kept, and the background worker carries it out
(`annotate.core.db.long_work`): killed at any moment it is begun anew, and the dataset comes with the end of its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.db.long_work import Hold, LongWorker, Lost
from annotate.core.errors import Refused
from annotate.core.hooks import Hook
from annotate.core.periodic_tasks import PeriodicTask
from annotate.core.permissions import require
from annotate.data.datasets.actions import checked_name, freeze
from annotate.data.datasets.answer_texts import Tell
from annotate.data.datasets.selections import FEEDBACK, checked
from annotate.models import AnnotatorKind, Dataset, DatasetFreeze, Project, Prompt, User
from common import splits
from common.texts import first_free

FREEZES: Hook[Callable[[DatasetFreeze, Tell, Callable[[Dataset], None]], bool]] = Hook(
    "freezes",
    "Called in the background with an order, a function that notes progress, and one to call in the transaction that "
    "makes the dataset. Return False for an order of somebody else.",
)
SMALL = 5_000  # rows that are frozen within a request: a third of a second


def order_freeze(
    *,
    project: Project,
    kind: str,
    name: str,
    by: User | None,
    side: str = splits.TRAIN,
    judge: str = AnnotatorKind.PERSON,
    and_then: Callable[[Dataset], None] = lambda dataset: None,
    was_allowed: bool = False,
    **options: Any,
) -> Dataset | DatasetFreeze:
    """Return the new dataset, or the order for a large one. Refused as `freeze` refuses; whether a large one would be
    empty only its order can say. `and_then` is called in the transaction that makes a small one."""
    name = checked_name(project, name, None if was_allowed else by)
    wish: dict[str, Any] = {"kind": kind, "side": side, "judge": judge, **options}
    checked(**wish)
    if not _is_large(project, kind, side, options):
        return freeze(project=project, name=name, by=by, and_then=and_then, was_allowed=was_allowed, **wish)
    return queue_freeze(project=project, created_by=by, name=name, kind=kind, side=side, judge=judge, options=options)


def queue_freeze(*, project: Project, name: str, **order: Any) -> DatasetFreeze:
    """Return a new order with a checked name. Refused where one with that name is under way."""
    if DatasetFreeze.objects.filter(project=project, name=name, state__in=DatasetFreeze.UNDER_WAY).exists():
        raise Refused(409, name=f"A dataset {name!r} is being frozen already; choose another name.")
    return DatasetFreeze.objects.create(project=project, name=name, **order)


def freeze_once(
    *,
    project: Project,
    kind: str,
    name: str,
    by: User | None,
    side: str = splits.TRAIN,
    judge: str = AnnotatorKind.PERSON,
    keeps_order: bool = False,
    **options: Any,
) -> Dataset | DatasetFreeze:
    """Return the dataset of this name and kind, frozen now where there is none; of a large one its order until it has
    ended, so that whoever needs it asks again. Refused as `order_freeze` refuses, and once with what an order failed
    by: the next call orders anew. It is a step of a longer order, which `by` had the right to give when they gave it: a
    name that something of another kind has gets a number. `keeps_order` keeps that of a small one, too: it says what
    is in it.
    """
    name = own_name(project, name, kind)
    if found := _standing(project, name, kind):
        return found
    wish = {"side": side, "judge": judge}

    def keep_order(dataset: Dataset) -> None:
        if not keeps_order:
            return
        DatasetFreeze.objects.create(
            project=project, created_by=by, name=name, kind=kind, options=options, dataset=dataset,
            state=DatasetFreeze.State.DONE, finished_at=timezone.now(), **wish,
        )  # fmt: skip

    try:
        return order_freeze(
            project=project, kind=kind, name=name, by=by, and_then=keep_order, was_allowed=True, **wish, **options
        )
    except Refused as refused:
        if "name" in refused.errors and (found := _standing(project, name, kind)):  # somebody else came first
            return found
        raise


def own_name(project: Project, name: str, kind: str) -> str:
    """Return the name under which `freeze_once` freezes: with the first number behind it that leaves it to no dataset,
    and no order under way, of another kind."""

    def is_anothers(name: str) -> bool:
        orders = DatasetFreeze.objects.filter(project=project, state__in=DatasetFreeze.UNDER_WAY)
        return any(rows.filter(name=name).exclude(kind=kind).exists() for rows in (project.datasets, orders))

    return first_free(name, is_anothers)


def name_of_same(project: Project, stem: str, is_same: Callable[[DatasetFreeze], bool], ours: Any = ()) -> str:
    """Return the name under which rows are frozen: the stem, or that with the first number behind it that nothing else
    has. What neither is one of the datasets `ours` nor comes of an order that `is_same` may hold what somebody chose.
    """

    def is_anothers(name: str) -> bool:
        stands = project.datasets.filter(name=name).exclude(pk__in=ours)
        orders = DatasetFreeze.objects.filter(project=project, name=name)
        kept = list(orders.filter(Q(dataset__in=stands) | Q(state__in=DatasetFreeze.UNDER_WAY)))
        return (bool(kept) or stands.exists()) and not any(map(is_same, kept))

    return first_free(stem, is_anothers)


def _standing(project: Project, name: str, kind: str) -> Dataset | DatasetFreeze | None:
    if dataset := Dataset.objects.filter(project=project, name=name, kind=kind).first():
        return dataset
    latest = DatasetFreeze.objects.filter(project=project, name=name, kind=kind).first()
    return outcome(latest) if latest is not None else None


def outcome(order: DatasetFreeze) -> Dataset | DatasetFreeze | None:
    """Return the dataset of an order, or the order while it is under way. Refused, once, where it has failed."""
    if order.is_under_way:
        return order
    if order.state == DatasetFreeze.State.DONE:
        return order.dataset
    order.delete()
    raise Refused(409, freeze=order.problem or f"The freezing of {order.name!r} was {order.state}.")


@transaction.atomic
def cancel_freeze(order: DatasetFreeze, *, by: User, was_allowed: bool = False) -> DatasetFreeze:
    """Cancel an order: no dataset comes of it. `was_allowed` says that the longer order has ended that it is of."""
    if not was_allowed:
        require(by, "research", order.project)
    if not give_up(DatasetFreeze.objects.filter(pk=order.pk)):
        raise Refused(409, freeze="It has already ended.")
    audit.record(action="dataset.freeze cancelled", about=order.name, by=by, project=order.project)
    order.refresh_from_db()
    return order


def give_up(orders: QuerySet[DatasetFreeze]) -> int:
    """End those orders that are under way; return how many. No dataset comes of them."""
    under_way = orders.filter(state__in=DatasetFreeze.UNDER_WAY)
    return under_way.update(state=DatasetFreeze.State.CANCELLED, finished_at=timezone.now())


def begin_anew(orders: QuerySet[DatasetFreeze]) -> None:
    """Have those orders that are under way begun anew, by what stands now: whoever has one in hand loses it."""
    orders.filter(state__in=DatasetFreeze.UNDER_WAY).update(claim=None, claimed_until=None)


def cancel_freezes(orders: Iterable[DatasetFreeze], *, by: User) -> None:
    """Cancel those orders that are under way: what waited for their datasets has ended, and `by` gave or ended it."""
    for order in orders:
        with suppress(Refused):  # it has ended meanwhile
            cancel_freeze(order, by=by, was_allowed=True)


def freezer() -> LongWorker[DatasetFreeze]:
    def waiting() -> QuerySet[DatasetFreeze]:
        rows = DatasetFreeze.objects.filter(state__in=DatasetFreeze.UNDER_WAY).order_by("id")
        return rows.select_related("project", "created_by")

    return LongWorker(waiting, _carry_out, _fail)


def periodic_task() -> PeriodicTask:
    worker = freezer()
    return PeriodicTask("datasets", worker.do, every=1.0, end=worker.end)


def _is_large(project: Project, kind: str, side: str, options: dict[str, Any]) -> bool:
    if kind == Dataset.Kind.PROMPTS:
        if options.get("prompts") is not None:
            return len(options["prompts"]) > SMALL
        return Prompt.objects.filter(project=project, side=side).order_by()[: SMALL + 1].count() > SMALL
    named = [len(options[plural]) for plural in FEEDBACK if options.get(plural) is not None]
    if named:
        return sum(named) > SMALL
    rows = [table.objects.filter(project=project).order_by()[: SMALL + 1] for table in FEEDBACK.values()]
    return sum(each.count() for each in rows) > SMALL


def _carry_out(hold: Hold[DatasetFreeze]) -> None:
    order = hold.row
    if not hold.held.update(state=DatasetFreeze.State.RUNNING, started_at=timezone.now()):
        raise Lost

    def end(dataset: Dataset) -> None:
        _end(hold, DatasetFreeze.State.DONE, dataset=dataset)

    try:
        if not any(is_done(order, hold, end) for is_done in FREEZES.values()):
            freeze(
                project=order.project,
                kind=order.kind,
                name=order.name,
                by=order.created_by,
                side=order.side,
                judge=order.judge,
                tell=hold,
                and_then=end,
                was_allowed=True,
                **order.options,
            )
    except Refused as refused:
        _end(hold, DatasetFreeze.State.FAILED, problem=" ".join(refused.errors.values()))


def _fail(hold: Hold[DatasetFreeze], error: Exception) -> None:
    problem = f"The dataset could not be frozen: {type(error).__name__}: {error}"[:2000]
    _end(hold, DatasetFreeze.State.FAILED, problem=problem)


def _end(hold: Hold[DatasetFreeze], state: str, **fields: Any) -> None:
    free = {"claim": None, "claimed_until": None, "stage": "", "finished_at": timezone.now()}
    if not hold.held.update(state=state, **free, **fields):
        raise Lost
