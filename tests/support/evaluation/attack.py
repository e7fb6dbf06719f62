"""An arena with honest votes and rigged ones, as real rows: what an attack does to the leaderboard, and the defence.

    attack = Attack("100 visitors", visitors=100, each=5, addresses=100)
    outcome = suffered(arena, attack)

Honest voters have tastes of their own and call much a tie; most come once, from an address of their own, some in
classes that share one. A rigged vote is one for the target in a battle that it takes part in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from django.db import transaction
from django.utils import timezone

from annotate.models import Battle, Comparison, Completion, LanguageModel, Project, Prompt, Status, VoteTrace
from benchmarks.simulated_arenas import draw_labels
from evaluation.leaderboard.leaderboard_rows import standings
from evaluation.leaderboard.snapshots import current
from evaluation.ratings import LABELS
from evaluation.ratings.bradley_terry import sigmoid
from evaluation.vote_integrity import detection
from tests.support import factories

MODELS, PROMPTS, DAYS = 10, 40, 10
HONEST_VOTES, PER_VISITOR = 5_000, 5.0
TIES, TASTE, SPREAD = 0.35, 0.5, 0.7  # tastes and the spread of strengths in log-odds
CLASS_SHARE, CLASS_SIZE = 0.15, 25
TARGET = 4  # the model of middling strength that the riggers want on top
LOOKS = 5


@dataclass(frozen=True)
class Attack:
    """`each` rigged votes of each visitor; `camouflage` votes like the crowd's beside each of them."""

    name: str
    visitors: int
    each: int
    addresses: int
    is_spread: bool = False  # over all days, at a reader's pace; else within an hour or two
    camouflage: int = 0


@dataclass(frozen=True)
class Arena:
    project: Project
    models: list[LanguageModel]  # best first
    strengths: np.ndarray
    answers: dict[tuple[int, int], Completion]
    prompts: list[Prompt]
    honest: int  # the highest id of an honest vote
    begun: datetime


@dataclass(frozen=True)
class Cast:
    """Votes to be stored, as arrays: whose, from where, when, on which models, and what was said."""

    visitor: np.ndarray
    address: np.ndarray
    seconds: np.ndarray  # since the arena began
    a: np.ndarray
    b: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Outcome:
    attack: Attack
    before: tuple[float, int]  # rating and rank of the target without the attack
    undefended: tuple[float, int]
    defended: tuple[float, int]
    rigged: int
    rigged_held: int
    honest_held: int

    @property
    def shift(self) -> float:
        return self.undefended[0] - self.before[0]

    @property
    def shift_left(self) -> float:
        return self.defended[0] - self.before[0]


def open_arena(seed: int = 0) -> Arena:
    """With the honest votes."""
    random = np.random.default_rng(seed)
    project, strengths = factories.make_project(), np.sort(random.normal(0, SPREAD, MODELS))[::-1]
    models = [factories.make_model(name=f"model {place}") for place in range(MODELS)]
    prompts = [factories.make_prompt(project, side="eval") for _ in range(PROMPTS)]
    made = Completion.objects.bulk_create(
        Completion(prompt=prompt, model=model, text=f"An answer of {model.pk} to {prompt.pk}.")
        for prompt in prompts
        for model in models
    )
    answers = {(c.prompt_id, c.model_id): c for c in made}
    begun = timezone.now() - timedelta(days=DAYS)
    arena = Arena(project, models, strengths, answers, prompts, 0, begun)
    store(arena, honest_votes(strengths, random), "honest", random)
    last = Comparison.objects.order_by("-pk").values_list("pk", flat=True)[0]
    return Arena(project, models, strengths, answers, prompts, last, begun)


def honest_votes(strengths: np.ndarray, random: np.random.Generator, votes: int = HONEST_VOTES) -> Cast:
    each = random.geometric(1 / PER_VISITOR, votes)
    each = each[: int(np.searchsorted(np.cumsum(each), votes)) + 1]
    visitor = np.repeat(np.arange(len(each)), each)[:votes]
    visitors = len(each)
    in_class = random.random(visitors) < CLASS_SHARE
    room = visitors + np.cumsum(in_class) // CLASS_SIZE
    address = np.where(in_class, room, np.arange(visitors))
    lesson = random.uniform(0, DAYS - 0.1, visitors * 2 + 1) * 86_400
    start = lesson[address] + np.where(in_class, random.uniform(0, 1200, visitors), 0)
    a, b = _pairs(len(visitor), random)
    liked = strengths + TASTE * random.standard_normal((visitors, len(strengths)))
    labels = draw_labels(sigmoid(liked[visitor, a] - liked[visitor, b]), TIES, random)
    return Cast(visitor, address[visitor], start[visitor] + _pace(visitor, random), a, b, labels)


def rigged_votes(attack: Attack, strengths: np.ndarray, random: np.random.Generator) -> tuple[Cast, int]:
    """The attack's votes, and how many of them are rigged."""
    rows = attack.each * (1 + attack.camouflage)
    visitor = np.repeat(np.arange(attack.visitors), rows)
    a, b = _pairs(len(visitor), random, without=TARGET)
    labels = draw_labels(sigmoid(strengths[a] - strengths[b]), TIES, random)
    is_rigged = np.arange(len(visitor)) % (1 + attack.camouflage) == 0
    shown_first = random.random(len(visitor)) < 0.5
    a, b = np.where(is_rigged & shown_first, TARGET, a), np.where(is_rigged & ~shown_first, TARGET, b)
    labels = np.where(is_rigged, np.where(shown_first, 0, 1), labels)
    length = (DAYS - 0.5) * 86_400 if attack.is_spread else 5_400
    begin = 0 if attack.is_spread else (DAYS - 0.4) * 86_400
    if attack.is_spread and rows > 1:
        seconds = begin + random.uniform(0, length, len(visitor))  # each comes back whenever they like
    else:
        seconds = begin + random.uniform(0, length, attack.visitors)[visitor] + _pace(visitor, random) * 0.3
    return Cast(visitor, visitor % attack.addresses, seconds, a, b, labels), int(is_rigged.sum())


def _pairs(count: int, random: np.random.Generator, without: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Drawn evenly; among all but one model if asked."""
    size = MODELS - (without is not None)
    a = random.integers(0, size, count)
    b = (a + random.integers(1, size, count)) % size
    return tuple(x + (x >= without) if without is not None else x for x in (a, b))  # type: ignore[return-value]


def _pace(visitor: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Seconds of each vote since its visitor's first: half a minute to read, on average."""
    gaps = 8 + random.exponential(25, len(visitor))
    passed = np.cumsum(gaps)
    first = np.flatnonzero(np.diff(visitor, prepend=visitor[0] - 1))
    return passed - np.repeat(passed[first], np.diff(np.r_[first, len(visitor)]))


def store(
    arena: Arena, cast: Cast, who: str, random: np.random.Generator, asked: np.ndarray | None = None
) -> list[int]:
    """As the rows that visitors' votes make; their ids, in the order of time. `asked`: the question of each vote."""
    order = np.argsort(cast.seconds, kind="stable")
    prompts = random.integers(0, len(arena.prompts), len(order)) if asked is None else asked[order]
    battles, votes, traces = [], [], []
    for place, drawn in zip(order.tolist(), prompts.tolist(), strict=True):
        prompt = arena.prompts[drawn]
        a, b = arena.models[cast.a[place]], arena.models[cast.b[place]]
        answers = [arena.answers[prompt.pk, model.pk] for model in (a, b)]
        at = arena.begun + timedelta(seconds=float(cast.seconds[place]))
        visitor = f"{who}-{cast.visitor[place]}"
        shared = {"project": arena.project, "prompt": prompt, "visitor": visitor, "created_at": at}
        pair = {"completion_a": answers[0], "completion_b": answers[1]}
        battle = Battle(model_a=a, model_b=b, is_drawn=True, **shared, **pair)
        battles.append(battle)
        label = LABELS[cast.label[place]]
        votes.append(Comparison(battle=battle, winner=label, judge="person", source="arena", **shared, **pair))
        address = f"{who}-{cast.address[place]}"
        traces.append(VoteTrace(battle=battle, project=arena.project, address=address, cast_at=at))
    with _at_their_time(Battle), _at_their_time(Comparison):
        Battle.objects.bulk_create(battles, batch_size=500)
        made = Comparison.objects.bulk_create(votes, batch_size=500)
        VoteTrace.objects.bulk_create(traces, batch_size=500)
    return [vote.pk for vote in made]


@contextmanager
def _at_their_time(table: type) -> Iterator[None]:
    """Rows keep the time they were given, in place of the one at which a simulation writes them."""
    field = table._meta.get_field("created_at")
    field.auto_now_add = False
    try:
        yield
    finally:
        field.auto_now_add = True


def defend(project: Project, looks: int = LOOKS) -> None:
    """As the background worker does it, until nothing changes."""
    for _ in range(looks):
        found = detection.look(project)
        if not found.held and not found.released:
            return


def place_of(arena: Arena, model: int = TARGET) -> tuple[float, int]:
    """Rating and place on the leaderboard."""
    rows = standings(current(project=arena.project, judge="person"))
    place, row = next((k, row) for k, row in enumerate(rows, 1) if row.model == arena.models[model])
    return row.rating, place


def suffered(arena: Arena, attack: Attack, seed: int = 1) -> Outcome:
    """What becomes of the target without and with the defence; nothing of it stays."""
    random = np.random.default_rng((seed, attack.visitors, attack.addresses))
    with transaction.atomic():
        before = place_of(arena)
        cast, rigged = rigged_votes(attack, arena.strengths, random)
        store(arena, cast, "rigger", random)
        undefended = place_of(arena)
        defend(arena.project)
        held = Comparison.objects.filter(project=arena.project, status=Status.HELD)
        outcome = Outcome(
            attack=attack,
            before=before,
            undefended=undefended,
            defended=place_of(arena),
            rigged=rigged,
            rigged_held=_rigged(held.filter(pk__gt=arena.honest), arena),
            honest_held=held.filter(pk__lte=arena.honest).count(),
        )
        transaction.set_rollback(True)
    return outcome


def _rigged(rows, arena: Arena) -> int:
    target = arena.models[TARGET].pk
    as_a, as_b = rows.filter(battle__model_a=target), rows.filter(battle__model_b=target)
    return as_a.filter(winner="model_a").count() + as_b.filter(winner="model_b").count()
