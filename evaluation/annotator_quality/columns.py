"""Turn rows into the columns that the metrics take: which item, which annotator, which answer as a code."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.winners import WINNERS
from evaluation.annotator_quality.loading import REPEAT, Annotator, Compared, Rated, Row, Rows
from evaluation.metrics.agreement import NOMINAL, ORDINAL, Answers
from evaluation.metrics.annotator_figures import FIRST, LEVEL, SECOND
from evaluation.metrics.span_counts import Reading, merged

_SWAPPED = {"model_a": 1, "model_b": 0, "tie": 2, "both_bad": 3}
_SIDE = {"model_a": FIRST, "model_b": SECOND, "tie": LEVEL, "both_bad": LEVEL}
THUMBS, STARS, COMPARISON, RANKING, ASPECT = "thumbs", "stars", "comparison", "ranking", "aspect"
STEPS = tuple(range(1, 6))


@dataclass(frozen=True)
class ScaleAnswers:
    """Hold what was said on one scale of the items themselves: no known answers and no repeats among them."""

    kind: str
    name: str
    metric: str
    answers: Answers


@dataclass(frozen=True)
class Choices:
    """All comparisons that were handed out here, by the sides as they were shown; (n,) each."""

    judge: np.ndarray
    side: np.ndarray
    shown: np.ndarray  # the code of the winner as shown


@dataclass(frozen=True)
class Repeated:
    judge: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Lengths:
    """Hold, for comparisons that chose one of two answers of different length, whether the longer one was chosen."""

    judge: np.ndarray
    unit: np.ndarray
    longer: np.ndarray


@dataclass(frozen=True)
class Times:
    judge: np.ndarray
    seconds: np.ndarray
    characters: np.ndarray


def numbered(judges: Iterable[Annotator]) -> dict[Annotator, int]:
    return {judge: number for number, judge in enumerate(judges)}


def scales(rows: Rows, index_of: dict[Annotator, int]) -> list[ScaleAnswers]:
    """Return those that anybody answered by, in the order of the pages."""
    ratings = [rating for rating in rows.rated if rating.row.is_work]
    aspects = sorted({name for rating in ratings for name in rating.aspects})
    thumbs = ((r.row.judge, r.completion, int(r.thumbs)) for r in ratings if r.thumbs is not None)
    stars = ((r.row.judge, r.completion, r.stars - 1) for r in ratings if r.stars is not None)
    scale_list = [
        ScaleAnswers(COMPARISON, COMPARISON, NOMINAL, comparisons(rows, index_of)),
        ScaleAnswers(RANKING, RANKING, ORDINAL, _rankings(rows, index_of)),
        ScaleAnswers(THUMBS, THUMBS, NOMINAL, _answers_of(thumbs, index_of, (0, 1))),
        ScaleAnswers(STARS, STARS, ORDINAL, _answers_of(stars, index_of, STEPS)),
        *(
            ScaleAnswers(ASPECT, name, ORDINAL, _answers_of(_aspect(ratings, name), index_of, STEPS))
            for name in aspects
        ),
    ]
    return [scale for scale in scale_list if len(scale.answers.code)]


def comparisons(rows: Rows, index_of: dict[Annotator, int]) -> Answers:
    """Return winners by the answers and not by the sides, so that two annotators who saw them swapped agree.

    The first one is that which stood first when the two were first judged, as it does in a file that others look at.
    """
    work = [c for c in rows.compared if c.row.is_work]
    first: dict[tuple[int, int], int] = {}
    for c in work:
        first.setdefault(_pair(c), c.a)
    answers = (
        (c.row.judge, _pair(c), WINNERS.index(c.winner) if c.a == first[_pair(c)] else _SWAPPED[c.winner]) for c in work
    )
    return _answers_of(answers, index_of, (0, 1, 2, 3))


def _rankings(rows: Rows, index_of: dict[Annotator, int]) -> Answers:
    """Return the places of each answer of a ranking; equals share the mean of theirs, in halves."""
    answers = []
    most = 1
    for ranking in rows.ranked:
        if not ranking.row.is_work:
            continue
        group = tuple(sorted(pk for equals in ranking.order for pk in equals))
        most, before = max(most, len(group)), 0
        for equals in ranking.order:
            code = 2 * before + len(equals) - 1  # twice the mean of places before .. before + len - 1
            answers += [(ranking.row.judge, (group, pk), code) for pk in equals]
            before += len(equals)
    return _answers_of(answers, index_of, tuple(1 + code / 2 for code in range(2 * most - 1)))


def _aspect(ratings: list[Rated], name: str) -> Iterable[tuple[Annotator, Hashable, int]]:
    return ((r.row.judge, r.completion, r.aspects[name] - 1) for r in ratings if name in r.aspects)


def _answers_of(
    answers: Iterable[tuple[Annotator, Hashable, int]], index_of: dict[Annotator, int], values: tuple[float, ...]
) -> Answers:
    """Return the last word of each annotator on each item."""
    last = {(judge, unit): code for judge, unit, code in answers}
    units: dict[Hashable, int] = {}
    unit = np.fromiter((units.setdefault(unit, len(units)) for _, unit in last), dtype=np.int64, count=len(last))
    judge = np.fromiter((index_of[judge] for judge, _ in last), dtype=np.int64, count=len(last))
    return Answers(unit, judge, np.fromiter(last.values(), dtype=np.int64, count=len(last)), values)


def _pair(compared: Compared) -> tuple[int, int]:
    return (compared.a, compared.b) if compared.a < compared.b else (compared.b, compared.a)


def readings(rows: Rows, index_of: dict[Annotator, int]) -> dict[str, list[Reading]]:
    """Return by label, in alphabetical order, who read which answer with the label at hand, and what they marked in it.

    Whoever judged an answer and marked nothing has read it, too. Of an answer that one annotator met in several items,
    what they marked last. An import knows the labels that its file has.
    """
    marked: dict[tuple[Annotator, int], list[Any]] = {}
    in_files: defaultdict[str, set[str]] = defaultdict(set)
    for mark in rows.marked:
        if not mark.row.is_work:
            continue
        own_marks = marked.setdefault((mark.row.judge, mark.completion), [])
        if own_marks and own_marks[-1].row.assignment != mark.row.assignment:
            own_marks.clear()
        own_marks.append(mark)
        if mark.row.judge.user is None:
            in_files[mark.row.judge.source].add(mark.label)
    if not marked:
        return {}
    assignments_read: defaultdict[tuple[Annotator, int], list[int]] = defaultdict(list)
    for row, completion in _read(rows):
        assignments_read[row.judge, completion].append(row.assignment or 0)
    readings: dict[str, list[Reading]] = {label: [] for label in sorted({mark.label for mark in rows.marked})}
    for (judge, completion), assignments in assignments_read.items():
        spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for mark in marked.get((judge, completion), ()):
            spans[mark.label].append((mark.start, mark.end))
        length = rows.characters.get(completion, 0)
        for label, label_readings in readings.items():
            if judge.user is None:
                at_hand = label in in_files[judge.source]
            else:
                since, until = rows.offered.get(label, (math.inf, math.inf))
                at_hand = any(since <= assignment < until for assignment in assignments)
            if at_hand or label in spans:
                ends = tuple(dict.fromkeys(spans[label])) if label in spans else ()
                label_readings.append(Reading(completion, index_of[judge], length, ends))
    return readings


def _read(rows: Rows) -> Iterable[tuple[Row, int]]:
    """Yield each answer that somebody has judged, or marked something in."""
    for row, a, b, _ in rows.compared:
        if row.is_work:
            yield row, a
            yield row, b
    yield from ((rating.row, rating.completion) for rating in rows.rated if rating.row.is_work)
    yield from (
        (ranking.row, pk) for ranking in rows.ranked if ranking.row.is_work for tied in ranking.order for pk in tied
    )
    yield from ((mark.row, mark.completion) for mark in rows.marked if mark.row.is_work)


def merged_readings(by_label: dict[str, list[Reading]]) -> list[Reading]:
    """Return what is marked at all, with touching and overlapping spans of one annotator as one."""
    readings: dict[tuple[int, int], list[Reading]] = defaultdict(list)
    for value in by_label.values():
        for reading in value:
            readings[reading.text, reading.judge].append(reading)
    return [
        Reading(text, judge, same[0].length, tuple(merged(ends for reading in same for ends in reading.spans)))
        for (text, judge), same in readings.items()
    ]


def choices(rows: Rows, index_of: dict[Annotator, int]) -> Choices:
    """Return the choices without imports: nobody drew their sides, so that a side chosen more often may have been the
    better one."""
    compared = [c for c in rows.compared if c.row.assignment is not None]
    return Choices(
        _column(index_of[c.row.judge] for c in compared),
        _column(_SIDE[c.winner] for c in compared),
        _column(WINNERS.index(c.winner) for c in compared),
    )


def repeated(rows: Rows, index_of: dict[Annotator, int]) -> Repeated:
    """Return the repeats whose first time still counts."""
    first = {c.row.assignment: c for c in rows.compared if c.row.assignment is not None}
    pairs = [(first[c.row.repeats], c) for c in rows.compared if c.row.purpose == REPEAT and c.row.repeats in first]
    return Repeated(
        _column(index_of[repeat.row.judge] for _, repeat in pairs),
        _column(_SIDE[before.winner] for before, _ in pairs),
        _column(_SIDE[repeat.winner] for _, repeat in pairs),
    )


def lengths(rows: Rows, index_of: dict[Annotator, int]) -> Lengths:
    last: dict[tuple[Annotator, tuple[int, int]], int] = {}
    size = rows.characters
    for c in rows.compared:
        a, b = size.get(c.a, 0), size.get(c.b, 0)
        if c.row.is_work and a != b and _SIDE[c.winner] != LEVEL:
            last[c.row.judge, _pair(c)] = int((a > b) == (c.winner == "model_a"))
    answers = _answers_of(((judge, pair, longer) for (judge, pair), longer in last.items()), index_of, (0, 1))
    return Lengths(answers.judge, answers.unit, answers.code)


def times(rows: Rows, index_of: dict[Annotator, int]) -> Times:
    """Return the times of all that was handed out and timed, with the characters of the answers that were to be
    read."""
    size = rows.characters
    rows_read = [
        *((c.row, size.get(c.a, 0) + size.get(c.b, 0)) for c in rows.compared),
        *((r.row, size.get(r.completion, 0)) for r in rows.rated),
        *((r.row, sum(size.get(pk, 0) for equals in r.order for pk in equals)) for r in rows.ranked),
        *((m.row, size.get(m.completion, 0)) for m in rows.marked),  # timed where nothing else was said of the item
    ]
    timed = [
        (row, characters) for row, characters in rows_read if row.seconds is not None and row.assignment is not None
    ]
    return Times(
        _column(index_of[row.judge] for row, _ in timed),
        np.array([row.seconds for row, _ in timed], dtype=float),
        np.array([characters for _, characters in timed], dtype=float),
    )


def gold(rows: Rows, index_of: dict[Annotator, int]) -> tuple[np.ndarray, np.ndarray]:
    return _column(index_of[answer.judge] for answer in rows.gold), _column(answer.passed for answer in rows.gold)


def _column(values: Iterable[int]) -> np.ndarray:
    return np.array(list(values), dtype=np.int64)
