"""Agreement on marked spans, against examples worked out by hand, nltk's alpha and scipy's matching."""

from itertools import combinations

import numpy as np
import pytest
from nltk.metrics.agreement import AnnotationTask
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from evaluation.metrics.span_agreement import FEWEST_MARKED, agreement
from evaluation.metrics.span_counts import Reading, matched, merged


def one(readings: list[Reading], **given):
    (found,) = agreement({"untrue": readings}, **given).labels
    return found


def drawn(random: np.random.Generator, texts: int, judges: int, miss: float = 0.4) -> list[Reading]:
    """Spans around common places, with ends that wobble; some judges have not read some texts."""
    found = []
    for text in range(texts):
        length = int(random.integers(30, 90))
        places = random.integers(0, length - 12, random.poisson(1.5))
        for judge in range(judges):
            if random.random() < 0.2:
                continue
            kept = [int(p) for p in places if random.random() > miss]
            spans = {
                (max(0, p + int(random.integers(-2, 3))), p + 8 + int(random.integers(-2, 3)))
                for p in dict.fromkeys(kept)
            }
            found.append(Reading(text, judge, length, tuple(spans)))
    return found


def test_two_judges_of_ten_characters_by_hand():
    # Marked by both: 2 of 10 characters, by one: 4. 8 of 20 values are "marked": alpha = 1 - 19 · 8 / (2 · 8 · 12).
    found = one([Reading(1, 0, 10, ((0, 4),)), Reading(1, 1, 10, ((2, 6),))])
    assert found.alpha.value == pytest.approx(1 - 19 * 8 / (2 * 8 * 12))
    assert (found.exact.value, found.overlapping.value) == (0, 1)
    assert (found.texts, found.marked, found.spans, found.judges) == (1, 1, 2, 2)


def test_f1_by_hand():
    # A and B share one span of two and one; C marked nothing: 2 · 1 / (3 + 2 + 1), and one more that overlaps.
    readings = [
        Reading(1, 0, 50, ((0, 5), (20, 30))),
        Reading(1, 1, 50, ((0, 5),)),
        Reading(1, 2, 50, ()),
        Reading(2, 0, 50, ((3, 9),)),
        Reading(2, 1, 50, ((8, 12),)),
    ]
    found = one(readings)
    assert found.exact.value == pytest.approx(2 * 1 / (3 + 2 + 1 + 2))
    assert found.overlapping.value == pytest.approx(2 * 2 / (3 + 2 + 1 + 2))


def test_characters_have_the_alpha_of_a_second_implementation():
    readings = drawn(np.random.default_rng(3), texts=12, judges=4)
    rows = [
        (str(r.judge), f"{r.text}:{at}", int(any(start <= at < end for start, end in r.spans)))
        for r in readings
        for at in range(r.length)
    ]
    read_by = {text: {r.judge for r in readings if r.text == text} for text in range(12)}
    paired = [row for row in rows if len(read_by[int(row[1].split(":")[0])]) > 1]
    assert one(readings).alpha.value == pytest.approx(AnnotationTask(paired).alpha(), abs=1e-9)


def test_spans_have_the_f1_of_a_second_implementation():
    readings = drawn(np.random.default_rng(5), texts=40, judges=4)
    exact = overlapping = spans = 0
    for a, b in combinations(readings, 2):
        if a.text != b.text:
            continue
        spans += len(a.spans) + len(b.spans)
        exact += len(set(a.spans) & set(b.spans))
        overlapping += _best(a.spans, b.spans)
    found = one(readings)
    assert found.exact.value == pytest.approx(2 * exact / spans)
    assert found.overlapping.value == pytest.approx(2 * overlapping / spans)


def _best(one, other) -> int:
    if not one or not other:
        return 0
    table = csr_array([[int(a < d and c < b) for c, d in other] for a, b in one])
    return int((maximum_bipartite_matching(table) >= 0).sum())


def test_as_many_overlapping_spans_are_matched_as_can_be():
    random = np.random.default_rng(11)
    for _ in range(400):
        sides = []
        for _ in range(2):
            starts = random.integers(0, 30, random.integers(1, 8))
            sides.append(list({(int(s), int(s + random.integers(1, 12))) for s in starts}))
        assert matched(*sides) == matched(*sides[::-1]) == _best(*sides)


def test_spans_that_touch_or_overlap_are_one_stretch_of_characters():
    assert merged([(5, 9), (0, 3), (3, 4), (8, 12)]) == [(0, 4), (5, 12)]
    twice = one([Reading(1, 0, 20, ((0, 4), (2, 6))), Reading(1, 1, 20, ((0, 6),))])
    assert twice.alpha.value == 1, "a character is marked once, however many spans hold it"


def test_nobody_marked_anything():
    found = one([Reading(1, 0, 10, ()), Reading(1, 1, 10, ())])
    assert found.alpha.value is None and found.exact.value is None
    assert (found.texts, found.marked) == (1, 0)


def test_nothing_was_read_by_two():
    found = one([Reading(1, 0, 10, ((0, 4),)), Reading(2, 1, 10, ())])
    assert found.alpha.value is None and found.texts == 0
    assert agreement({}).together is None


def test_a_text_read_twice_by_one_judge_is_refused():
    with pytest.raises(ValueError, match="read text 1 twice"):
        one([Reading(1, 0, 10, ()), Reading(1, 0, 10, ())])


def _alike(texts: int, first=(0, 4), second=(0, 4)) -> list[Reading]:
    return [Reading(text, judge, 10, (ends,)) for text in range(texts) for judge, ends in ((0, first), (1, second))]


def test_few_texts_have_values_and_no_interval():
    found = one(_alike(FEWEST_MARKED - 1))
    assert found.exact.value == 1 and found.exact.lower is None


def test_full_agreement_says_how_much_disagreement_may_have_been_missed():
    found = one(_alike(30))
    for estimate in (found.alpha, found.exact, found.overlapping):
        assert (estimate.value, estimate.upper) == (1, 1)
        assert estimate.lower == pytest.approx(0.025 ** (1 / 30))


def test_no_agreement_says_how_much_agreement_may_have_been_missed():
    found = one(_alike(30, second=(5, 9)))
    assert (found.exact.value, found.exact.lower) == (0, 0) and found.exact.upper == pytest.approx(
        1 - 0.025 ** (1 / 30)
    )
    assert found.alpha.value < 0 and found.alpha.lower is None, "all texts are alike and prove nothing of others"


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(2)
    truth = one(drawn(random, 6000, 3), draws=10)
    held = np.zeros(3)
    for seed in range(120):
        found = one(drawn(random, 50, 3), draws=400, seed=seed)
        for k, name in enumerate(("alpha", "exact", "overlapping")):
            estimate = getattr(found, name)
            held[k] += estimate.lower <= getattr(truth, name).value <= estimate.upper
    assert (held / 120 > 0.88).all(), held / 120


@pytest.mark.slow
def test_many_texts_are_drawn_in_groups_and_the_interval_is_the_same(monkeypatch):
    readings = drawn(np.random.default_rng(7), 3000, 3)
    groups = one(readings)
    monkeypatch.setattr("evaluation.metrics.span_agreement.MOST_DRAWN", 10_000)
    each = one(readings)
    assert groups.alpha.value == each.alpha.value and groups.texts == each.texts
    assert groups.alpha.lower == pytest.approx(each.alpha.lower, abs=0.003)
    assert groups.exact.upper == pytest.approx(each.exact.upper, abs=0.003)


def test_labels_together_keep_each_its_own_chance():
    a = drawn(np.random.default_rng(8), 30, 3)
    b = [r._replace(spans=()) if r.text % 2 else r for r in drawn(np.random.default_rng(9), 30, 3)]
    found = agreement({"a": a, "b": b, "either": a}, apart="either")
    first, second, _ = found.labels
    assert min(first.alpha.value, second.alpha.value) < found.together.alpha.value
    assert found.together.alpha.value < max(first.alpha.value, second.alpha.value)
    assert found.together.spans == first.spans + second.spans


def test_each_two_judges_and_each_beside_the_others():
    readings = [
        Reading(1, 0, 50, ((0, 5), (20, 30))),
        Reading(1, 1, 50, ((0, 5),)),
        Reading(1, 2, 50, ((40, 45),)),
        Reading(2, 0, 50, ()),
        Reading(2, 1, 50, ()),
    ]
    found = agreement({"untrue": readings})
    told = {(p.first, p.second): (p.n, p.spans_first, p.spans_second, p.exact, p.overlapping) for p in found.pairs}
    assert told == {(0, 1): (1, 2, 1, 2 / 3, 2 / 3), (0, 2): (1, 2, 1, 0, 0), (1, 2): (1, 1, 1, 0, 0)}
    assert found.others[2].counts.sum(0).tolist() == [0, 5] and found.others[2].others == pytest.approx(2 / 3)
