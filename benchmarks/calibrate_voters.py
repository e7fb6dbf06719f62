"""How many honest voters are ever called suspicious, and how many bots after how many votes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.simulated_arenas import Arena, draw_arena, draw_labels, uneven
from evaluation.ratings.bradley_terry import fit, sigmoid
from evaluation.vote_integrity.anomaly_detection import HONEST, detect_voters
from evaluation.vote_integrity.suspects import NOBODY, PATTERNS, Votes, bands, changes
from evaluation.vote_integrity.vote_wagers import Honest

LOOKS = 20
VOTERS, EACH, TIES = 200, 60, 0.35
CLASS_SHARE, CLASS_SIZE = 0.15, 25
STRICT = Honest(discernment=1.0, taste=0.0, lean=0.0)
CROWDS = (
    ("all of one mind", 12, 0.0, STRICT),
    ("all of one mind", 12, 0.0, HONEST),
    ("tastes of 0.5 log-odds (87 points)", 12, 0.5, STRICT),
    ("tastes of 0.5 log-odds (87 points)", 12, 0.5, HONEST),
    ("tastes of 0.5 log-odds, few models", 6, 0.5, HONEST),
)
Say = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]  # chance, a, b


def _for_model_0(chance: np.ndarray, a: np.ndarray, b: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.where(a == 0, 0, np.where(b == 0, 1, draw_labels(chance, TIES, random)))


BOTS: dict[str, Say] = {
    "always the first shown": lambda chance, a, b, random: np.zeros(len(a), int),
    "always a tie": lambda chance, a, b, random: np.full(len(a), 2),
    "always the worse": lambda chance, a, b, random: (chance > 0.5).astype(int),
    "the crowd's vote turned round": lambda chance, a, b, random: draw_labels(1 - chance, TIES, random),
    "always for one model": _for_model_0,
    "a coin": lambda chance, a, b, random: random.integers(0, 2, len(a)),
    "any of three buttons": lambda chance, a, b, random: random.integers(0, 3, len(a)),
}


def honest_rows(arenas: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each crowd: the share ever flagged over twenty looks while votes come in, and at the last look."""
    for number, (name, models, taste, honest) in enumerate(CROWDS):
        random = np.random.default_rng((seed, 3, number))
        ever = last = 0
        for _ in range(arenas):
            arena = _crowd(models, taste, random)[0]
            flags = _looks(arena, honest, random)
            ever, last = ever + int(flags.any(axis=0).sum()), last + int(flags[-1].sum())
        total = arenas * VOTERS
        yield {
            "honest voters": name,
            "models": models,
            "room": "none" if honest == STRICT else "as shipped",
            "voters": total,
            "ever": 100 * ever / total,
            "at the end": 100 * last / total,
        }


def held_rows(arenas: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each crowd: the share of honest voters ever held by the whole defence while votes come in.

    At each look everybody is judged, as persons, by address and with those who came alike; what is held stays out of
    the fit of the next look and may be released by it. A part of the voters sits in classes that share an address.
    """
    for number, (name, models, taste, honest) in enumerate(CROWDS):
        if honest == STRICT:
            continue
        random, ever, last, by = np.random.default_rng((seed, 5, number)), 0, 0, np.zeros(len(PATTERNS), int)
        for _ in range(arenas):
            kinds, at_end = _held(_crowd(models, taste, random)[0], random)
            ever, last, by = ever + int((kinds > 0).any(axis=0).sum()), last + at_end, by + (kinds > 0).sum(axis=1)
        total = arenas * VOTERS
        shares = {f"as {kind}": 100 * count / total for kind, count in zip(PATTERNS, by.tolist(), strict=True)}
        yield {
            "honest voters": name,
            "models": models,
            "voters": total,
            "ever held": 100 * ever / total,
            "at the end": 100 * last / total,
            **shares,
        }


def bot_rows(arenas: int, seed: int, votes: tuple[int, ...] = (30, 100, 300, 1000)) -> Iterator[dict[str, Any]]:
    """One row for each kind of bot and room: the share flagged after so many votes, among people with tastes."""
    for number, (name, say) in enumerate(BOTS.items()):
        for honest in (HONEST, STRICT):
            row: dict[str, Any] = {"bots": name, "room": "none" if honest == STRICT else "as shipped"}
            for count in votes:
                random = np.random.default_rng((seed, 4, number, count))
                row[f"{count} votes"] = 100 * float(
                    np.mean([_caught(say, count, honest, random) for _ in range(arenas)])
                )
            yield row


def _crowd(models: int, taste: float, random: np.random.Generator) -> tuple[Arena, np.ndarray]:
    strengths = random.normal(0, 0.7, models)
    return draw_arena(strengths, uneven(VOTERS, EACH, random), random, TIES, taste), strengths


def _looks(arena: Arena, honest: Honest, random: np.random.Generator) -> np.ndarray:
    """(LOOKS, V) who is flagged when so many of the votes, in the order of coming, are in."""
    order, flags = random.permutation(len(arena.a)), np.zeros((LOOKS, VOTERS), dtype=bool)
    for look in range(LOOKS):
        seen = np.sort(order[: len(order) * (look + 1) // LOOKS])
        part = Arena(arena.size, arena.voter[seen], arena.a[seen], arena.b[seen], arena.label[seen])
        for one in detect_voters(fit(part.tally), [part.block], honest=honest):
            flags[look, one.voter] = one.is_flagged
    return flags


def _held(arena: Arena, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """(kinds, V) how many of each voter's votes were ever held for each, and how many voters have some held at last."""
    order, count = random.permutation(len(arena.a)), len(arena.a)
    in_class = random.random(VOTERS) < CLASS_SHARE
    address = np.where(in_class, VOTERS + np.arange(VOTERS) // CLASS_SIZE, np.arange(VOTERS))
    held, ever, free = np.zeros(count, int), np.zeros((len(PATTERNS), VOTERS), int), np.ones(count, dtype=bool)
    half_day = np.empty(count, int)
    half_day[order] = np.arange(count) * 2 * LOOKS // count
    for look in range(LOOKS):
        seen = np.sort(order[: count * (look + 1) // LOOKS])
        person = arena.voter[seen]
        band = bands(person, np.ones(len(seen), dtype=bool))
        columns = (seen, person, address[person], band, np.where(band == 0, half_day[seen], NOBODY))
        label = (arena.a[seen], arena.b[seen], arena.label[seen])
        new, released = changes(Votes(*columns, *label, held[seen], free[seen], tuple(range(arena.size))))
        held[released] = 0
        for place, kind in enumerate(PATTERNS, 1):
            held[new[kind]] = place
            np.add.at(ever[place - 1], arena.voter[new[kind]], 1)
    return ever, len(np.unique(arena.voter[held > 0]))


def _caught(say: Say, votes: int, honest: Honest, random: np.random.Generator, bots: int = 5) -> float:
    """The share of a few bots that is flagged in a crowd with tastes of 0.5."""
    arena, strengths = _crowd(12, 0.5, random)
    a = random.integers(0, 12, bots * votes)
    b = (a + random.integers(1, 12, bots * votes)) % 12
    label = say(sigmoid(strengths[a] - strengths[b]), a, b, random)
    whole = arena.joined(Arena(12, np.repeat(np.arange(bots), votes), a, b, label))
    voters = detect_voters(fit(whole.tally), [whole.block], honest=honest)
    return float(np.mean([one.is_flagged for one in voters if one.voter >= VOTERS]))
