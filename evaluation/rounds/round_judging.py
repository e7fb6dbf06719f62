"""The annotating of a round: pairs of the newest policy's own answers come first in the queue, and the comparisons
between them are frozen, alone and with those of earlier rounds as the plan says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.data.datasets import sampled_prompts
from annotate.data.datasets.freezing import cancel_freezes, freeze_once, give_up, name_of_same
from annotate.labelling.queue.assigned_items import Item
from annotate.models import Assignment, Comparison, Completion, Dataset, DatasetFreeze, Split, Winner
from evaluation.experiments.experiment_start import hash_of, named
from evaluation.models import AskedAgain, Round, RoundSeries
from evaluation.rounds.round_order import ALL, WEIGHTED, fewest_judgements, require_prompts

ASKED = 2.5  # pairs asked about for each winner that is needed: some are ties, are skipped, or held for review
WON = (Winner.MODEL_A, Winner.MODEL_B)
KIND = Dataset.Kind.PREFERENCES
OWN, UP_TO = "of", "up to"  # the datasets of a round: its own annotations, and those with earlier ones


def open_round(series: RoundSeries, one: Round) -> None:
    """Put the pairs of the newest answers first in the queue, once. Refused where there are too few that differ."""
    pairs, places = pairs_of(one), series.project.overlap
    if places * len(pairs) < fewest_judgements(series.plan["arm"]["method"]):
        raise Refused(
            409,
            answers=f"{one.policy} gives alike answers: only {len(pairs)} pairs differ, too few to learn from. Order "
            "new rounds with more prompts, more answers to each, or a higher temperature.",
        )
    needed = min(series.plan["judgements"], places * len(pairs))
    asked = pairs[: math.ceil(ASKED * needed / places)]
    with transaction.atomic():
        if RoundSeries.objects.select_for_update(no_key=True).get(pk=series.pk).state != RoundSeries.State.RUNNING:
            return  # cancelled, paused or stopped since: nobody would close what is opened now
        if not Round.objects.filter(pk=one.pk, opened_at=None).update(opened_at=timezone.now(), needed=needed):
            return  # somebody came first
        AskedAgain.objects.bulk_create(
            AskedAgain(
                project=series.project, prompt_id=prompt, completion_a_id=a, completion_b_id=b, places=places,
                by=series.created_by,
            )
            for prompt, a, b in reversed(asked)  # the queue takes the latest first
        )  # fmt: skip


def pairs_of(one: Round) -> list[tuple[int, int, int]]:
    """Return (prompt, answer, answer) of the policy's answers to one prompt that differ: first one pair of each prompt,
    then a second, so that whatever is asked spreads over all prompts."""
    assert one.answers_run is not None
    by_prompt: dict[int, dict[str, int]] = {}
    rows = one.answers_run.completions.filter(prompt__side=Split.TRAIN, prompt__out_since=None).order_by("pk")
    for prompt, pk, text in rows.values_list("prompt", "pk", "text"):
        if text.strip():
            by_prompt.setdefault(prompt, {}).setdefault(text.strip(), pk)
    rounds: list[list[tuple[int, int, int]]] = []
    for prompt, answers in sorted(by_prompt.items()):
        for turn, (a, b) in enumerate(_apart(list(answers.values()))):
            while len(rounds) <= turn:
                rounds.append([])
            rounds[turn].append((prompt, a, b))
    return [pair for turn in rounds for pair in turn]


def _apart(answers: list[int]) -> Iterable[tuple[int, int]]:
    """Return all pairs, those first that share no answer with the ones before."""
    neighbours = list(zip(answers[::2], answers[1::2], strict=False))
    return [*neighbours, *(pair for pair in combinations(answers, 2) if pair not in neighbours)]


def close_round(one: Round) -> None:
    """Ask no more about the answers of a round: they have no precedence over others; and freeze nothing more of it."""
    if one.answers_run is None:
        return
    give_up(_freezes(one.series, one))
    ids = one.answers_run.completions.values("pk")
    AskedAgain.objects.filter(project=one.series.project, completion_a__in=ids, is_open=True).update(is_open=False)


def comparisons_of(series: RoundSeries, one: Round) -> QuerySet:
    """Return the comparisons that count between two of a round's answers, the first first."""
    if one.answers_run is None:
        return Comparison.objects.none()
    ids = Completion.objects.filter(sampled_by=one.answers_run).values("pk")
    rows = Comparison.objects.teaching().by(series.plan["judge"]).on_split(Split.TRAIN)
    return rows.filter(Q(completion_a__in=ids), Q(completion_b__in=ids), project=series.project).order_by("pk")


def winners_of(series: RoundSeries, one: Round) -> int:
    """Return how many of a round's comparisons have a winner; ties teach little, and do not bring its end nearer."""
    return comparisons_of(series, one).filter(winner__in=WON).order_by().count()


def winners_by_round(series: RoundSeries, rounds: Sequence[Round]) -> dict[int, int]:
    """Return how many comparisons of each round have a winner, by its number, of those that are or were annotated."""
    number_by_run = {one.answers_run_id: one.number for one in rounds if one.opened_at is not None}
    rows = Comparison.objects.teaching().by(series.plan["judge"]).on_split(Split.TRAIN)
    rows = rows.filter(project=series.project, winner__in=WON).annotate(run=F("completion_a__sampled_by"))
    both = rows.filter(run__in=number_by_run, completion_b__sampled_by=F("run"))
    counts = both.order_by().values_list("run").annotate(Count("pk"))
    return {number_by_run[run]: count for run, count in counts}


def freeze_judgements(series: RoundSeries, one: Round) -> bool:
    """Freeze what was said of a round's answers once it is enough, or nothing is left to ask, and what the round learns
    from; return whether both stand: large ones are frozen in the background."""
    if one.opened_at is None:
        return False
    if one.judgements is None:
        said = _enough(series, one)
        one.judgements = _once(series, one.number, OWN, comparisons=said) if said else None
        if one.judgements is None:
            return False
        one.save(update_fields=["judgements"])
    dataset: Dataset | None = one.judgements
    if series.plan["older"] in (ALL, WEIGHTED) and (before := _earlier(series, one)):
        less: dict[str, Any] = {}
        if series.plan["older"] == WEIGHTED:
            less = {"older": before, "older_weight": series.plan["older_weight"]}
        # What was withdrawn since stays in its own dataset, and would be refused in another.
        ids = Comparison.objects.teaching().filter(datasets=one.judgements).order_by().values_list("pk", flat=True)
        dataset = _once(series, one.number, UP_TO, comparisons=sorted({*before, *ids}), **less)
    if dataset is None:
        return False
    close_round(one)  # first: nobody would after it
    one.dataset = dataset
    one.save(update_fields=["dataset"])
    return True


def freeze_of(series: RoundSeries, one: Round) -> DatasetFreeze | None:
    """Return the order by which the annotations of a round are being frozen in the background."""
    return _freezes(series, one).first()


def _freezes(series: RoundSeries, one: Round) -> QuerySet[DatasetFreeze]:
    stems = [_name(series, one.number, what) for what in (OWN, UP_TO)]
    own = Q(name__in=stems) | Q(name__startswith=f"{stems[0]} (") | Q(name__startswith=f"{stems[1]} (")
    return DatasetFreeze.objects.filter(own, project=series.project, kind=KIND, state__in=DatasetFreeze.UNDER_WAY)


def prompt_freezes(series: RoundSeries) -> QuerySet[DatasetFreeze]:
    """Return the orders by which the prompts of all rounds are being frozen."""
    rows = (series.plan["prompts"], series.plan["questions"])
    orders = DatasetFreeze.objects.filter(project=series.project, state__in=DatasetFreeze.UNDER_WAY)
    return orders.filter(name__in=[row["name"] for row in rows if "hash" not in row]).order_by("pk")


def freeze_prompts(series: RoundSeries) -> bool:
    """Take up the prompts that are being frozen since the rounds were ordered, and give the plan its hash; return
    whether all stand. Refused where they are too few."""
    if series.plan_hash:
        return True
    plan = dict(series.plan)
    for field, side in (("prompts", Split.TRAIN), ("questions", Split.EVAL)):
        if getattr(series, field) is None:
            name, by = plan[field]["name"], series.created_by
            frozen = sampled_prompts.freeze_all(series.project, side, name=name, by=by)
            if not isinstance(frozen, Dataset):
                return False
            setattr(series, field, frozen)
            plan[field] = named(frozen)
    assert series.prompts is not None
    arm, wanted = plan["arm"]["method"], (plan["judgements"], plan["answers_per_prompt"])
    require_prompts(series.project, series.prompts, arm, *wanted)
    rows = RoundSeries.objects.filter(pk=series.pk, plan_hash="")
    rows.update(plan=plan, plan_hash=hash_of(plan), prompts=series.prompts, questions=series.questions)
    series.refresh_from_db()
    return True


def _enough(series: RoundSeries, one: Round) -> list[int]:
    """Return the comparisons that a round is frozen with, empty before there are enough. Refused where nothing can be
    compared any more and nothing was."""
    assert one.needed is not None
    said = list(comparisons_of(series, one).values_list("pk", "winner"))
    won = [place for place, (_, winner) in enumerate(said) if winner in WON]
    if len(won) >= one.needed:
        return [pk for pk, _ in said[: won[one.needed - 1] + 1]]
    return [pk for pk, _ in said] if _is_exhausted(series, one, len(said)) else []


def _is_exhausted(series: RoundSeries, one: Round, count: int) -> bool:
    """Return whether every pair that can still be compared was compared by as many as the project asks for, or decided
    by a reviewer, whose word stands for all of theirs. `count` comparisons were said."""
    assert one.answers_run is not None and one.needed is not None
    prompts = one.answers_run.completions.values("prompt")
    reviewed = Assignment.objects.filter(purpose=Assignment.Purpose.ADJUDICATION, state=Assignment.State.SUBMITTED)
    decided = set(reviewed.filter(project=series.project, prompt__in=prompts).values_list("item", flat=True))
    if not decided and count < one.needed and not prompts.exclude(prompt__out_since=None).exists():
        return False  # there were pairs for more
    pairs = pairs_of(one)
    if not pairs and not count:
        raise Refused(409, answers="All prompts of this round were retired before anybody compared. Bring some back.")
    compared = comparisons_of(series, one).values_list("completion_a", "completion_b")
    by_pair = Counter(frozenset(ids) for ids in compared)
    return all(
        by_pair[frozenset((a, b))] >= series.project.overlap or Item(prompt, tuple(sorted((a, b)))).key in decided
        for prompt, a, b in pairs
    )


def _earlier(series: RoundSeries, one: Round) -> list[int]:
    """Return the comparisons that earlier rounds were frozen with and that still count."""
    rows = Comparison.objects.teaching().filter(datasets__in=_datasets_before(series, one))
    return sorted(set(rows.values_list("pk", flat=True)))


def _datasets_before(series: RoundSeries, one: Round) -> list[int]:
    rows = series.rounds.filter(number__lt=one.number).exclude(judgements=None)
    return list(rows.values_list("judgements", flat=True))


def _once(series: RoundSeries, number: int, what: str, **options: Any) -> Dataset | None:
    """Return the dataset; None while it is frozen in the background."""
    options["edits"] = False
    made = freeze_once(
        project=series.project, kind=KIND, name=_own_name(series, number, what, options), by=series.created_by,
        judge=series.plan["judge"], keeps_order=True, **options,
    )  # fmt: skip
    if isinstance(made, Dataset):
        return made
    if series.created_by and RoundSeries.objects.filter(pk=series.pk, state=RoundSeries.State.CANCELLED).exists():
        cancel_freezes([made], by=series.created_by)  # cancelled before it saw this order
    return None


def _own_name(series: RoundSeries, number: int, what: str, options: Mapping[str, Any]) -> str:
    """Return the name of what is frozen of a round."""
    stem = _name(series, number, what)
    return name_of_same(series.project, stem, lambda order: order.kind == KIND and _is_same(order.options, options))


def _is_same(kept: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Return whether an order freezes what these options say, or did before some of it was withdrawn."""
    lists = [field for field, wanted in options.items() if isinstance(wanted, list)]
    if kept.keys() != options.keys() or any(kept[f] != options[f] for f in options.keys() - {*lists}):
        return False
    if not all(isinstance(kept[field], list) and {*options[field]} <= {*kept[field]} for field in lists):
        return False
    gone = {pk for field in lists for pk in {*kept[field]} - {*options[field]}}
    return not Comparison.objects.teaching().filter(pk__in=gone).exists()


def _name(series: RoundSeries, number: int, what: str) -> str:
    return f"{series.name} {series.pk}: annotations {what} round {number}"[:120]
