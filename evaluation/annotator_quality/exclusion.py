"""Excluding an annotator, or withdrawing all that one has said oneself: what it touches, the act, and its undoing.

Only statuses change, in one act that is remembered with every line of the ledger it wrote. What models have learnt
stays learnt: their lineage says how many of the annotations in them no longer count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.bulk_status import (
    KINDS,
    ImportedAnnotator,
    Who,
    change_all,
    feedback_by,
    filter_by,
    last_changes,
    standing,
)
from annotate.models import (
    AnnotatorKind,
    Assignment,
    Comparison,
    Dataset,
    LanguageModel,
    Membership,
    Project,
    QueueChange,
    Split,
    User,
)
from annotate.models.feedback import FeedbackQuerySet, annotator_kind_of
from evaluation.leaderboard.published import tally_of
from evaluation.leaderboard.snapshots import current
from evaluation.models import Exclusion, Promotion
from evaluation.ratings import LABELS, Tally
from evaluation.ratings.bradley_terry import fit
from training.models import Run

EXCLUDED, WITHDRAWN = Exclusion.Status.EXCLUDED, Exclusion.Status.WITHDRAWN
LONGEST_REASON = 160  # the ledger's 200 less the number of the act


@dataclass(frozen=True)
class TouchedDataset:
    dataset: Dataset
    judgements: int


@dataclass(frozen=True)
class TouchedModel:
    """`run` made it. `directly`: from a dataset with their annotations, else through another model that was."""

    model: LanguageModel
    run: Run
    directly: bool
    is_served: bool


@dataclass(frozen=True)
class Place:
    """A model's place now and without their votes; None where no vote is left. Both are fitted vote by vote. A rank is
    the best that the intervals allow."""

    model: LanguageModel
    rating: float
    rank: int
    rating_without: float | None
    rank_without: int | None
    moves: bool = False  # another rank, or another place in the order of the ratings


@dataclass(frozen=True)
class Touched:
    """All that an exclusion would touch. `judgements` is {kind: {status: n}}, and `changing` how many would change."""

    judgements: dict[str, dict[str, int]]
    changing: dict[str, int]
    datasets: list[TouchedDataset]
    runs: list[Run]
    models: list[TouchedModel]
    votes: int  # of those that rank models
    places: list[Place]
    open_items: int

    @property
    def total(self) -> int:
        return sum(self.changing.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "changing": self.changing,
            "datasets": [{"id": t.dataset.pk, "judgements": t.judgements} for t in self.datasets],
            "runs": [run.pk for run in self.runs],
            "models": [{"id": t.model.pk, "directly": t.directly} for t in self.models],
            "votes": self.votes,
            "places": [
                {
                    "model": p.model.pk,
                    "rating": round(p.rating, 2),
                    "rank": p.rank,
                    "rating_without": None if p.rating_without is None else round(p.rating_without, 2),
                    "rank_without": p.rank_without,
                }
                for p in self.places
            ],
        }


def touched_by(project: Project, who: Who) -> Touched:
    """Reads only."""
    said = feedback_by(project, who)
    judgements = {
        kind: dict(rows.order_by().values_list("status").annotate(n=Count("id"))) for kind, rows in said.items()
    }
    changing = {
        kind: sum(n for status, n in by.items() if status in ("counted", "held")) for kind, by in judgements.items()
    }
    datasets = _datasets(project, who)
    runs = list(
        Run.objects.filter(dataset__in=[t.dataset for t in datasets]).select_related("output_model").order_by("pk")
    )
    votes, places = _places(project, who)
    return Touched(
        {kind: by for kind, by in judgements.items() if by},
        {kind: n for kind, n in changing.items() if n},
        datasets,
        runs,
        _models(project, runs),
        votes,
        places,
        _in_hand(project, who).filter(expires_at__gt=timezone.now()).count(),
    )


def _in_hand(project: Project, who: Who) -> QuerySet[Assignment]:
    open_items = project.assignments.filter(state=Assignment.State.OPEN)
    return open_items.none() if isinstance(who, ImportedAnnotator) else open_items.filter(user=who)


def _datasets(project: Project, who: Who) -> list[TouchedDataset]:
    counts: Counter[int] = Counter()
    for field in ("comparisons", "ratings", "demonstrations", "spans"):  # the pairs of rankings are comparisons
        rows = project.datasets.filter(**filter_by(who, f"{field}__")).order_by().annotate(n=Count(field))
        counts.update(dict(rows.values_list("pk", "n")))
    datasets = project.datasets.in_bulk(list(counts))
    return [TouchedDataset(datasets[pk], counts[pk]) for pk in sorted(counts)]


def _models(project: Project, runs: list[Run]) -> list[TouchedModel]:
    """What the runs made, and what was made out of that or rewarded by it."""
    newest = Promotion.objects.filter(project=project).order_by("-id").first()
    served = newest.model_id if newest else None
    made = _by_model(runs)
    direct, fresh = set(made), set(made)
    while fresh:
        later = Run.objects.filter(Q(parent__in=fresh) | Q(reward_model__in=fresh)).order_by("pk")
        found = {pk: run for pk, run in _by_model(later).items() if pk not in made}
        made |= found
        fresh = set(found)
    models = LanguageModel.objects.in_bulk(list(made))
    return [TouchedModel(models[pk], made[pk], pk in direct, pk == served) for pk in sorted(models)]


def _by_model(runs: Iterable[Run]) -> dict[int, Run]:
    return {run.output_model_id: run for run in runs if run.output_model_id is not None}


def _places(project: Project, who: Who) -> tuple[int, list[Place]]:
    """How many of their votes rank models, and every model's place with and without them."""
    mine = Comparison.objects.filter(project=project, **filter_by(who)).counted().on_split(Split.EVAL).order_by()
    kind = _kind_of(who, mine)
    names = ("completion_a__model", "completion_b__model", "winner")
    votes = list(mine.ranking(kind).values_list(*names).annotate(n=Count("id")))
    if not votes:
        return 0, []
    tally = tally_of(current(project=project, judge=kind))
    place = {model: index for index, model in enumerate(tally.models)}
    cells = tally.cells.copy()
    for a, b, winner, n in votes:
        cells[place[a], place[b], LABELS.index(winner)] -= n
    now, without = _ranked(tally), _ranked(Tally(tally.models, cells.clip(0)))
    models = LanguageModel.objects.in_bulk(tally.models)
    order, after = _order(now), _order(without)
    found = []
    for pk, (rating, rank) in now.items():
        left, lower = without.get(pk, (None, None))
        moves = order[pk] != after.get(pk) or rank != lower
        found.append(Place(models[pk], rating, rank, left, lower, moves))
    return sum(n for *_, n in votes), sorted(found, key=lambda each: order[each.model.pk])


def _kind_of(who: Who, mine: FeedbackQuerySet) -> str:
    """An import's are all of one kind: its file says so, or nobody does."""
    if isinstance(who, ImportedAnnotator):
        return mine.values_list("judge", flat=True).first() or AnnotatorKind.PERSON
    return annotator_kind_of(who)


def _order(ranked: dict[int, tuple[float, int]]) -> dict[int, int]:
    return {pk: place for place, pk in enumerate(sorted(ranked, key=lambda pk: -ranked[pk][0]))}


def _ranked(tally: Tally) -> dict[int, tuple[float, int]]:
    """{model: (rating, rank)} of models in a battle of the largest group."""
    met = (tally.cells.sum(axis=(1, 2)) + tally.cells.sum(axis=(0, 2))).nonzero()[0]
    if not len(met):
        return {}
    fitted = fit(Tally(tuple(tally.models[i] for i in met), tally.cells[met][:, met]))
    ranks = fitted.ranks()
    return {
        fitted.models[i]: (float(fitted.rating[i]), int(ranks[i, 0]))
        for i in range(len(fitted.models))
        if fitted.group[i] == 0
    }


def exclude(*, project: Project, person: Who, reason: str, by: User, pauses: bool = True) -> Exclusion:
    """Nothing that they said in the project counts any more. By a manager it is excluded, by themselves withdrawn.

    What did not count before stays what it was. Items in their hands go to others, and a manager may have them get no
    new ones until the act is undone.
    """
    account = None if isinstance(person, ImportedAnnotator) else person
    is_own = by == account
    require(by, "judge" if is_own else "manage", project)
    reason = _told(reason)
    status = WITHDRAWN if is_own else EXCLUDED
    touched = touched_by(project, person)  # before the transaction: it fits ratings with them and without
    if not touched.total:
        raise Refused(409, person=f"Nothing that {person} said in {project} counts; there is nothing to change.")
    try:
        with transaction.atomic():
            project.lock()
            act = Exclusion.objects.create(
                project=project,
                person=account,
                **({} if account else {"source": person.source, "source_judge": person.name}),  # type: ignore[union-attr]
                status=status,
                reason=reason,
                touched=touched.as_json(),
                by=by,
                pauses=pauses and not is_own and account is not None and _pause(project, account, reason),
            )
            changes = change_all(
                project=project, rows=standing(project, person), status=status, reason=_noted(act, reason), by=by
            )
            act.changes.add(*changes)
            _free_hands(project, person)
            _record(act, "person.withdrawn" if is_own else "person.excluded", touched.changing, by, reason)
    except IntegrityError as error:
        raise Refused(409, person=f"{person} is excluded in {project} already; undo that first.") from error
    return act


def undo(*, act: Exclusion, reason: str, by: User) -> Exclusion:
    """Bring back what the act took out, and only that: what somebody decided about since stays as they decided.

    Whoever did it may undo it, and every manager; a manager does not undo what a person withdrew.
    """
    if act.status == WITHDRAWN and by.pk != act.person_id:
        raise Refused(403, act=f"{act.name} withdrew this themselves; only they may bring it back.")
    require(by, "judge" if act.status == WITHDRAWN else "manage", act.project)
    reason = _told(reason)
    with transaction.atomic():
        act.project.lock()
        act = Exclusion.objects.select_for_update(of=("self",)).select_related("project").get(pk=act.pk)
        if act.undone_at is not None:
            raise Refused(409, act=f"It was undone on {act.undone_at:%d %B %Y} already.")
        back: Counter[str] = Counter()
        for status, rows in last_changes(act.changes.all()).items():
            noted = _noted(act, reason, "undone")
            changes = change_all(project=act.project, rows=rows, status=status, reason=noted, by=by)
            back.update(change.kind for change in changes)
        act.undone_at, act.undone_by, act.undone_reason, act.brought_back = timezone.now(), by, reason, dict(back)
        act.save(update_fields=["undone_at", "undone_by", "undone_reason", "brought_back"])
        if act.pauses and act.person:
            # Paused again since, for another reason, they stay so.
            ours = _membership(act.project, act.person).filter(paused_reason=_paused_reason(act.reason))
            ours.update(paused_at=None, paused_reason="")
        _record(act, f"person.{act.status}.undone", dict(back), by, reason)
    return act


def acts(project: Project) -> Any:
    return project.exclusions.select_related("person", "by", "undone_by")


def standing_act(project: Project, who: Who) -> Exclusion | None:
    """That which holds now, where there is one."""
    named = {"source": who.source, "source_judge": who.name} if isinstance(who, ImportedAnnotator) else {}
    account = None if isinstance(who, ImportedAnnotator) else who
    return acts(project).filter(person=account, undone_at=None, **named).first()


def _told(reason: object) -> str:
    text = reason.strip() if isinstance(reason, str) else ""
    if not text or len(text) > LONGEST_REASON or "\x00" in text:
        raise Refused(reason=f"Give the reason in 1 to {LONGEST_REASON} characters; whoever reads the ledger needs it.")
    return text


def _noted(act: Exclusion, reason: str, what: str = "") -> str:
    return f"{reason} (act {act.pk}{f', {what}' if what else ''})"


def _membership(project: Project, person: User) -> Any:
    return Membership.objects.filter(project=project, user=person)


def _pause(project: Project, person: User, reason: str) -> bool:
    """Whether this act paused them; who is paused already stays so whatever becomes of the act."""
    free = _membership(project, person).filter(paused_at=None)
    return bool(free.update(paused_at=timezone.now(), paused_reason=_paused_reason(reason)))


def _paused_reason(reason: str) -> str:
    return f"Excluded: {reason}"[:200]


def _free_hands(project: Project, who: Who) -> None:
    held = _in_hand(project, who)
    QueueChange.note(project.pk, held.values_list("prompt_id", flat=True))
    held.update(state=Assignment.State.EXPIRED, closed_at=timezone.now())


def _record(act: Exclusion, action: str, numbers: dict[str, int], by: User, reason: str) -> None:
    changes: dict[str, list[Any]] = {kind: [n, 0] for kind, n in numbers.items()}
    if action.endswith("undone"):
        changes = {kind: [0, n] for kind, n in numbers.items()}
    if act.pauses:
        changes["paused"] = [action.endswith("undone"), not action.endswith("undone")]
    about = act.person or f"{act.source_judge} of {act.source}"
    audit.record(action=action, about=about, by=by, project=act.project, changes=changes, reason=reason)


__all__ = ["KINDS", "Touched", "acts", "exclude", "standing_act", "touched_by", "undo"]
