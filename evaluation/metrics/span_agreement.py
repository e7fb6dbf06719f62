"""Compute how far annotators agree on what they marked: by characters, and by whole spans.

By characters: Krippendorff's alpha of "marked or not", each character of a text a unit and each annotator who read the
text a coder of it; of two values `alpha = 1 - (n - 1) D / (2 n_0 n_1)`, D being the mass off the diagonal of the
coincidences. Of several labels together each keeps its own chance: 1 less the sum of disagreements seen over the sum of
those expected.

By spans: F1 = 2 matched / (marked by one + marked by the other), over all two annotators of one text. What nobody
marked is not to be counted, so kappa has no table here and F1 is what it tends to (Hripcsak and Rothschild 2005).
`exact`: both ends are the same. `overlapping`: they have a character in common, and each span is matched once, as many
as can be.

Texts are drawn again for the intervals, never characters or spans: those of one text hang together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evaluation.metrics.resampling import corrected_interval, left_out_values, resampled_totals
from evaluation.metrics.span_counts import (
    BARE,
    DISAGREED,
    EXACT,
    MARKED,
    OVERLAPPING,
    SIZE,
    SPANS,
    Reading,
    counts_of,
    matched,
)

FEWEST_MARKED = 20  # texts in which somebody marked something; of fewer, the interval would hold the truth too seldom
DRAWS = 1000
MOST_DRAWN = 2000  # of more texts, groups of them are drawn, put together by lot


@dataclass(frozen=True)
class Estimate:
    """Hold an estimate, None where there is nothing to tell it from; ends (95 %) where texts are too few or all
    alike."""

    value: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class MarkAgreement:
    """Hold the agreement on one label. `texts` were read by two annotators or more, in `marked` of these somebody
    marked something: `spans` in all."""

    label: str
    alpha: Estimate
    exact: Estimate
    overlapping: Estimate
    texts: int
    marked: int
    spans: int
    judges: int

    @property
    def f1(self) -> tuple[Estimate, Estimate]:
        return self.exact, self.overlapping


@dataclass(frozen=True)
class MarkPair:
    """Two annotators over all labels. `n` texts that both read and one at least marked; spans of each, and matched."""

    first: int
    second: int
    n: int
    spans_first: int
    spans_second: int
    exact: float
    overlapping: float

    @property
    def share(self) -> float:
        return self.overlapping


@dataclass(frozen=True)
class Beside:
    """Count, for one annotator (n, 2): for each text that they or another marked, spans matched with the others' and
    spans there were, both counted on both sides; and F1 of the others among themselves."""

    counts: np.ndarray
    others: float | None


@dataclass(frozen=True)
class SpanAgreement:
    """Hold the agreement on marked spans: `labels` in the order given, `together` of all of them, both empty where
    nothing was marked."""

    labels: list[MarkAgreement]
    together: MarkAgreement | None
    pairs: list[MarkPair]
    others: dict[int, Beside]


def agreement(
    readings: Mapping[str, Sequence[Reading]], draws: int = DRAWS, seed: int = 0, apart: str | None = None
) -> SpanAgreement:
    """Return how far annotators agree on spans. `readings` by label. One under the name `apart` stands for itself: it
    is no part of `together` and of pairs."""
    readings_by_label = {label: _by_text(label_readings) for label, label_readings in readings.items()}
    texts = sorted({text for by_text in readings_by_label.values() for text in by_text})
    index_of = {text: row for row, text in enumerate(texts)}
    counts = np.zeros((len(texts), SIZE * len(readings_by_label)))
    for column, by_text in enumerate(readings_by_label.values()):
        for text, of_text in by_text.items():
            counts[index_of[text], column * SIZE : (column + 1) * SIZE] = counts_of(of_text)
    group_counts = _grouped(counts, seed)
    samples = resampled_totals(group_counts, draws, seed) if texts else np.zeros((0, counts.shape[1]))
    labels = []
    for column, (label, by_text) in enumerate(readings_by_label.items()):
        cells = slice(column * SIZE, (column + 1) * SIZE)
        labels.append(_agreement(label, counts[:, cells], group_counts[:, cells], samples[:, cells], by_text.values()))
    common = [column for column, label in enumerate(readings_by_label) if label != apart]
    of_all = [column * SIZE + k for column in common for k in range(SIZE)]
    every = [of_text for label, by_text in readings_by_label.items() if label != apart for of_text in by_text.values()]
    together = _agreement("", counts[:, of_all], group_counts[:, of_all], samples[:, of_all], every) if every else None
    return SpanAgreement(
        labels, together, *_pairs([by_text for label, by_text in readings_by_label.items() if label != apart])
    )


def _grouped(counts: np.ndarray, seed: int) -> np.ndarray:
    if len(counts) <= MOST_DRAWN:
        return counts
    group = np.random.default_rng(seed).permutation(len(counts)) % MOST_DRAWN
    return np.stack([np.bincount(group, weights=column) for column in counts.T], axis=1)


def alpha_of(totals: np.ndarray) -> np.ndarray:
    """Return alpha of sums (..., 6 L) of L labels -> (...); NaN where nothing, or everything, was marked."""
    counts = totals.reshape(*totals.shape[:-1], totals.shape[-1] // SIZE, SIZE)
    bare, marked = counts[..., BARE], counts[..., MARKED]
    n = bare + marked
    expected = np.divide(2 * bare * marked, n - 1, out=np.zeros(n.shape), where=n > 1).sum(-1)
    observed = counts[..., DISAGREED].sum(-1)
    return 1 - np.divide(observed, expected, out=np.full(observed.shape, np.nan), where=expected > 0)


def f1_of(totals: np.ndarray, column: int) -> np.ndarray:
    """Return F1 of sums (..., 6 L) -> (...), for EXACT or OVERLAPPING; NaN where no span was marked."""
    total = totals.reshape(*totals.shape[:-1], totals.shape[-1] // SIZE, SIZE).sum(-2)
    spans = total[..., SPANS]
    return np.divide(total[..., column], spans, out=np.full(spans.shape, np.nan), where=spans > 0)


def _by_text(readings: Iterable[Reading]) -> dict[int, list[Reading]]:
    """Return texts that two annotators or more have read. Raises ValueError where one annotator read a text twice."""
    readings_by_text: defaultdict[int, list[Reading]] = defaultdict(list)
    for reading in readings:
        readings_by_text[reading.text].append(reading)
    for text, of_text in readings_by_text.items():
        if len({reading.judge for reading in of_text}) < len(of_text):
            raise ValueError(f"an annotator read text {text} twice: give what they marked last.")
    return {text: of_text for text, of_text in readings_by_text.items() if len(of_text) > 1}


def _agreement(
    label: str, counts: np.ndarray, group_counts: np.ndarray, samples: np.ndarray, by_text: Iterable[Sequence[Reading]]
) -> MarkAgreement:
    cell_counts = counts.reshape(len(counts), counts.shape[1] // SIZE, SIZE)
    is_read = cell_counts[..., BARE] + cell_counts[..., MARKED] > 0
    marked = int((cell_counts[..., MARKED] > 0).any(1).sum())
    values: list[Callable[[np.ndarray], np.ndarray]] = [
        alpha_of,
        lambda totals: f1_of(totals, EXACT),
        lambda totals: f1_of(totals, OVERLAPPING),
    ]
    alpha, exact, overlapping = (_estimate(value, group_counts, samples, marked) for value in values)
    readings = [reading for of_text in by_text for reading in of_text]
    return MarkAgreement(
        label,
        alpha,
        exact,
        overlapping,
        int(is_read.any(1).sum()),
        marked,
        sum(len(reading.spans) for reading in readings),
        len({reading.judge for reading in readings}),
    )


def _estimate(
    value_of: Callable[[np.ndarray], np.ndarray], group_counts: np.ndarray, samples: np.ndarray, marked: int
) -> Estimate:
    value = float(value_of(group_counts.sum(0)))
    if math.isnan(value):
        return Estimate(None)
    if marked < FEWEST_MARKED:
        return Estimate(value)
    missed = 1 - 0.025 ** (1 / marked)  # the share of texts of another kind that so many may not have shown
    if math.isclose(value, 1):
        return Estimate(1.0, 1 - missed, 1.0)
    if value == 0 and value_of is not alpha_of:
        return Estimate(0.0, 0.0, missed)
    left_out = left_out_values(group_counts, value_of)
    ends = corrected_interval(value, value_of(samples), np.where(np.isnan(left_out), value, left_out))
    return Estimate(value, *ends) if ends[0] < ends[1] else Estimate(value)


def _pairs(labels: list[dict[int, list[Reading]]]) -> tuple[list[MarkPair], dict[int, Beside]]:
    """Return each two annotators, and each annotator beside all others, over all labels."""
    # By text first, so that a text counts once for two annotators however many labels it bears.
    by_text: defaultdict[int, defaultdict[tuple[int, int], list[int]]] = defaultdict(
        lambda: defaultdict(lambda: [0, 0, 0, 0])
    )
    for label in labels:
        for text, of_text in label.items():
            if any(reading.spans for reading in of_text):
                _match(by_text[text], of_text)
    sums: defaultdict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(5, dtype=np.int64))
    rows: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for pairs in by_text.values():
        match_counts: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        for (first, second), (a, b, exact, overlapping) in pairs.items():
            sums[first, second] += (1, a, b, exact, overlapping)
            for judge in (first, second):
                match_counts[judge][0] += 2 * overlapping
                match_counts[judge][1] += a + b
        for judge, (hits, spans) in match_counts.items():
            rows[judge].append((hits, spans))
    mark_pairs = [
        MarkPair(first, second, n, a, b, 2 * exact / (a + b), 2 * overlapping / (a + b))
        for (first, second), (n, a, b, exact, overlapping) in (
            (pair, map(int, counts_of_pair)) for pair, counts_of_pair in sorted(sums.items())
        )
    ]
    hits, spans = (sum(2 * int(s[4]) for s in sums.values()), sum(int(s[1] + s[2]) for s in sums.values()))
    against_others = {}
    for judge, text_rows in rows.items():
        counts = np.array(text_rows, dtype=float)
        own_hits, own_spans = counts.sum(0)
        others = float((hits - own_hits) / (spans - own_spans)) if spans > own_spans else None
        against_others[judge] = Beside(counts, others)
    return mark_pairs, against_others


def _match(pairs: defaultdict[tuple[int, int], list[int]], of_text: Sequence[Reading]) -> None:
    ordered = sorted(of_text, key=lambda reading: reading.judge)
    for one, other in combinations(ordered, 2):
        if one.spans or other.spans:
            pair_counts = pairs[one.judge, other.judge]
            pair_counts[0] += len(one.spans)
            pair_counts[1] += len(other.spans)
            if one.spans and other.spans:
                pair_counts[2] += len(set(one.spans) & set(other.spans))
                pair_counts[3] += matched(one.spans, other.spans)
