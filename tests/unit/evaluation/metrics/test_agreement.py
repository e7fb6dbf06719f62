"""Agreement of annotators, against published values and what krippendorff, nltk and statsmodels make of the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.agreement import INTERVAL, NOMINAL, ORDINAL, Answers, alpha, kappa, pairs

GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden/agreement.json").read_text())
PUBLISHED = [
    ("A", NOMINAL, 0.095),
    ("B", NOMINAL, 0.692),
    ("C", NOMINAL, 0.743),
    ("C", ORDINAL, 0.815),
    ("C", INTERVAL, 0.849),
]


def said(table: list[list[int | None]], first: int = 0, size: int = 6) -> Answers:
    """A row for each annotator, a column for each unit, None where they did not judge."""
    rows = [(u, j, v - first) for j, row in enumerate(table) for u, v in enumerate(row) if v is not None]
    unit, judge, code = (np.array(column) for column in zip(*rows, strict=True))
    return Answers(unit, judge, code, tuple(float(first + k) for k in range(size)))


def table_of(name: str) -> list[list[int | None]]:
    return next(case["values"] for case in GOLDEN["alpha"] if case["name"] == name)


@pytest.mark.parametrize(("name", "metric", "value"), PUBLISHED)
def test_alpha_is_the_published_one(name, metric, value):
    assert alpha(said(table_of(name)), metric).value == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("metric", [NOMINAL, ORDINAL, INTERVAL])
@pytest.mark.parametrize("case", GOLDEN["alpha"], ids=lambda case: case["name"])
def test_alpha_is_that_of_the_reference(case, metric):
    assert alpha(said(case["values"]), metric).value == pytest.approx(case[metric], abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["alpha"], ids=lambda case: case["name"])
def test_alpha_is_that_of_a_second_reference(case):
    assert alpha(said(case["values"]), NOMINAL).value == pytest.approx(case["nltk_nominal"], abs=1e-12)
    assert alpha(said(case["values"]), INTERVAL).value == pytest.approx(case["nltk_interval"], abs=1e-12)


@pytest.mark.parametrize("metric", [NOMINAL, ORDINAL])
@pytest.mark.parametrize("case", GOLDEN["kappa"], ids=lambda case: str(len(case["table"])))
def test_kappa_and_its_error_are_those_of_the_reference(case, metric):
    table = np.array(case["table"], dtype=float)
    values = tuple(float(k) for k in range(len(table)))
    assert kappa(table, metric, values) == pytest.approx(case[metric], abs=1e-9)


def test_units_of_one_judge_do_not_count():
    with_one = said([[1, 2, 1, 3], [1, 2, 2, None]])
    found = alpha(with_one)
    assert (found.units, found.judgements, found.judges) == (3, 6, 2)
    assert found.value == alpha(said([[1, 2, 1], [1, 2, 2]])).value


def test_nothing_in_common_has_no_alpha_and_says_so():
    found = alpha(said([[1, None], [None, 2]]))
    assert found.value is None and found.units == 0
    assert "No two annotators" in found.note


def test_one_value_throughout_is_not_agreement():
    found = alpha(said([[1] * 30, [1] * 30]))
    assert found.value is None and found.raw == 1
    assert "habit" in found.note


def test_few_units_have_a_value_and_no_interval():
    found = alpha(said([[1, 2, 3], [1, 2, 2]]))
    assert found.value is not None and found.lower is None
    assert "20 units" in found.note


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Two answers of three annotators who each err in a fifth of the cases: alpha of very many units is the truth."""

    def judged(units: int, seed: int) -> Answers:
        random = np.random.default_rng(seed)
        table = np.tile(random.integers(0, 2, units), (3, 1)) ^ (random.random((3, units)) < 0.2)
        return said(table.astype(int).tolist(), size=2)

    truth = alpha(judged(100_000, 0), draws=2).value
    assert truth is not None
    alphas = [alpha(judged(60, seed), draws=400, seed=seed) for seed in range(1, 201)]
    held = sum(a.lower is not None and a.upper is not None and a.lower <= truth <= a.upper for a in alphas)
    assert 0.90 <= held / len(alphas) <= 0.99


def test_the_same_judgements_have_the_same_interval():
    table = table_of("drawn 0")
    assert alpha(said(table), ORDINAL) == alpha(said(table), ORDINAL)


def test_pairs_of_judges_are_counted_on_what_both_judged():
    found = pairs(said([[1, 2, 3, None], [1, 2, 2, 1], [None, None, 3, 1]]))
    assert [(p.first, p.second, p.n, p.agreed) for p in found] == [(0, 1, 3, 2), (0, 2, 1, 1), (1, 2, 2, 1)]
    assert found[0].lower < found[0].share < found[0].upper
    assert found[0].kappa is not None and found[0].kappa_lower is None, "three units are too few for an interval"


def test_pairs_of_a_unit_with_many_judges_are_all_there():
    found = pairs(said([[1], [1], [2], [1]]))
    assert len(found) == 6
    assert sum(p.agreed for p in found) == 3


def test_perfect_habit_of_both_has_no_kappa():
    assert kappa(np.array([[5.0, 0], [0, 0]]), NOMINAL, (0.0, 1.0)) == (None, None)


def test_a_judge_who_judged_a_unit_twice_is_refused():
    twice = Answers(np.array([0, 0]), np.array([1, 1]), np.array([0, 1]), (0.0, 1.0))
    with pytest.raises(ValueError, match="twice"):
        alpha(twice)


@pytest.mark.parametrize("code", [-1, 2])
def test_a_code_without_a_value_is_refused(code):
    with pytest.raises(ValueError, match="between 0 and 1"):
        alpha(Answers(np.array([0]), np.array([0]), np.array([code]), (0.0, 1.0)))


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="ratio"):
        alpha(said([[1], [1]]), "ratio")


@pytest.mark.parametrize(("odd", "least", "most"), [(15, 0.7, 0.85), (1, -1.0, 0.0)])
def test_full_agreement_on_few_units_is_no_proof_of_more(odd, least, most):
    found = alpha(said([[int(u < odd) for u in range(30)]] * 2, size=2))
    assert (found.value, found.upper) == (1.0, 1.0) and least <= found.lower <= most
    more = alpha(said([[int(u % 2) for u in range(3000)]] * 2, size=2))
    assert 0.995 < more.lower < 1


@pytest.mark.parametrize("metric", [NOMINAL, ORDINAL, INTERVAL])
def test_where_only_one_value_was_given_there_is_no_alpha(metric):
    found = alpha(said([[1] * 40] * 3, size=3), metric)
    assert found.value is None and found.lower is None and "cannot be told" in found.note
    assert pairs(said([[1] * 40] * 2, size=3), metric)[0].kappa is None
