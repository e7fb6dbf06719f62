"""One rating by people's votes and a judge model's verdicts."""

import numpy as np
import pytest

from benchmarks.calibrate_judges import JUDGES, Setting, arena_rows
from evaluation.ratings import fit, tally_votes
from evaluation.ratings.bradley_terry import SCALE
from evaluation.ratings.prediction_powered import Verdicts, Votes, combine
from evaluation.ratings.voter_clusters import by_voters

NONE = np.zeros(0, dtype=int)
NOTHING = Verdicts(NONE, NONE, np.zeros(0), NONE, NONE)


def votes_of(points, verdict, *, person=None, prompt=None, a=None, b=None, category=None) -> Votes:
    n = len(points)
    return Votes(
        np.zeros(n, int) if a is None else np.array(a),
        np.ones(n, int) if b is None else np.array(b),
        np.array(points, float),
        np.arange(n) if person is None else np.array(person),
        np.arange(n) if prompt is None else np.array(prompt),
        np.zeros(n, int) if category is None else np.array(category),
        np.array(verdict, float),
    )


def verdicts_of(points, *, a=0, b=1, category=0) -> Verdicts:
    n = len(points)
    whole = (np.full(n, each) for each in (a, b))
    return Verdicts(*whole, np.array(points, float), 10_000 + np.arange(n), np.full(n, category))


def test_a_pair_by_hand():
    """Two models: the corrected mean is ȳ − λ(f̄ of people's items − f̄ of all), λ the covariance over the variance."""
    points, said = [1] * 60 + [0] * 40, [1] * 50 + [0] * 10 + [1] * 5 + [0] * 35
    found = combine(("x", "y"), votes_of(points, said), verdicts_of([1] * 300 + [0] * 600))
    y, f, every = np.array(points), np.array(said), (55 + 300) / 1000
    weight = 0.9 * np.sum((y - 0.6) * (f - every)) / (0.9**2 * np.sum((f - every) ** 2) + 0.1**2 * np.sum(
        (np.array([1] * 300 + [0] * 600) - every) ** 2))  # fmt: skip
    mean = 0.6 - weight * (0.55 - every)
    assert found.weight == pytest.approx(weight)
    assert (found.combined.rating[0] - found.combined.rating[1]) / SCALE == pytest.approx(np.log(mean / (1 - mean)))
    assert (found.votes, found.seen, found.verdicts) == (100, 100, 900)
    assert found.people.rating == pytest.approx(fit(tally_votes("x" * 100, "y" * 100, _words(points))).rating)


def _words(points):
    return ["model_a" if point else "model_b" for point in points]


def test_a_judge_that_says_what_people_say_is_worth_as_many_votes_as_it_gave():
    random = np.random.default_rng(0)
    points = random.random(200) < 0.7
    found = combine(("x", "y"), votes_of(points, points), verdicts_of(random.random(1800) < 0.7))
    assert found.weight > 0.95
    assert found.effective == pytest.approx(2000, rel=0.1)


def test_a_judge_that_guesses_saves_nothing():
    random = np.random.default_rng(1)
    found = combine(
        ("x", "y"), votes_of(random.random(400) < 0.6, random.random(400) < 0.5), verdicts_of(random.random(4000) < 0.5)
    )
    assert found.weight < 0.1
    assert abs(found.saved) < 8


def test_a_judge_against_people_has_no_weight():
    random = np.random.default_rng(2)
    points = random.random(200) < 0.6
    found = combine(("x", "y"), votes_of(points, ~points), verdicts_of(random.random(900) < 0.4))
    assert found.weight == 0 and found.saved == 0
    assert found.combined.rating.tolist() == found.people.rating.tolist()


@pytest.mark.parametrize("verdict", [[np.nan] * 4, [1, 0, 1, 1]])
def test_without_verdicts_on_other_items_people_alone_rank(verdict):
    found = combine(("x", "y"), votes_of([1, 0, 1, 0.5], verdict), NOTHING)
    assert (found.weight, found.verdicts, found.shift) == (0, 0, None)
    assert found.combined.rating.tolist() == found.people.rating.tolist()


def test_people_alone_have_the_intervals_of_the_leaderboard_by_voters():
    random = np.random.default_rng(3)
    person = np.repeat(np.arange(30), 8)
    a, label = random.integers(0, 3, 240), random.integers(0, 2, 240)
    b = (a + random.integers(1, 3, 240)) % 3
    found = combine(tuple(range(3)), votes_of(1 - label, [np.nan] * 240, person=person, a=a, b=b), NOTHING)
    clustered, _ = by_voters(fit(found.people.tally), [_oriented(person, a, b, label)])
    assert found.people.covariance == pytest.approx(clustered.covariance, rel=1e-6)
    assert found.people.critical == clustered.critical


def test_a_single_vote_has_an_interval_that_a_page_can_show():
    found = combine(("x", "y"), votes_of([1], [1]), verdicts_of([1, 0, 1, 1, 1, 0]))
    assert found.is_of_few and found.votes == 1
    for fitted in (found.people, found.combined):
        assert np.isfinite(fitted.lower).all() and fitted.upper[0] - fitted.lower[0] > 1000


@pytest.mark.parametrize("persons", [2, 3, 20])
def test_verdicts_leave_the_intervals_of_people_alone_as_they_were(persons):
    random = np.random.default_rng(4)
    points = random.random(20 * persons) < 0.6
    verdict = np.where(random.random(20 * persons) < 0.7, points, ~points)
    votes = votes_of(points, verdict, person=np.repeat(np.arange(persons), 20))
    alone, beside = combine(("x", "y"), votes, NOTHING), combine(("x", "y"), votes, verdicts_of([1, 0] * 250))
    assert beside.verdicts == 500
    assert beside.people.standard_error == pytest.approx(alone.people.standard_error)


def _oriented(person, a, b, label):
    return person, np.minimum(a, b), np.maximum(a, b), np.where(a < b, label, 1 - label), np.ones(len(a), dtype=int)


def test_votes_on_one_prompt_count_as_one_voice():
    points = np.tile([1, 1, 1, 0], 25)
    apart = combine(("x", "y"), votes_of(points, [np.nan] * 100), NOTHING)
    together = combine(
        ("x", "y"), votes_of(np.sort(points), [np.nan] * 100, prompt=np.repeat(np.arange(10), 10)), NOTHING
    )
    assert together.people.standard_error[0] > 2 * apart.people.standard_error[0]


def test_a_judge_that_leans_by_category_is_corrected_by_category():
    """People see one category far more often than the judge does: by the pair alone that would look like a lean."""
    random = np.random.default_rng(4)
    category = np.repeat([0, 1], [180, 20])
    points = random.random(200) < 0.5
    said = np.where(random.random(200) < 0.5, points, random.random(200) < np.where(category == 0, 0.9, 0.1))
    others = [verdicts_of(random.random(500) < 0.25 + 0.5 * lean, category=kind) for kind, lean in ((0, 0.9), (1, 0.1))]
    joined = Verdicts(*(np.concatenate(columns) for columns in zip(*(vars(v).values() for v in others), strict=True)))
    by_category = combine(("x", "y"), votes_of(points, said, category=category), joined)
    by_pair = combine(("x", "y"), votes_of(points, said), Verdicts(**{**vars(joined), "category": np.zeros(1000, int)}))
    lean = by_category.people.rating[0] - by_category.combined.rating[0]
    assert abs(lean) < abs(by_category.people.rating[0] - by_pair.combined.rating[0])
    assert by_category.shift > 0.05 > by_pair.shift


def test_too_few_persons_are_said():
    found = combine(("x", "y"), votes_of([1, 0, 1, 1], [np.nan] * 4, person=[7] * 4), NOTHING)
    assert found.is_of_few and found.persons == 1
    assert np.isfinite(found.people.upper).all()


def test_corrected_scores_beyond_all_votes_lower_the_weight():
    points = [1] * 19 + [0]
    found = combine(("x", "y"), votes_of(points, points), verdicts_of([1] * 5000))
    assert np.isfinite(found.combined.rating).all()
    assert found.combined.rating[0] >= found.people.rating[0]


@pytest.mark.parametrize(
    "votes, words",
    [
        (votes_of([], []), "no votes of people"),
        (votes_of([1], [1, 0]), "equally long"),
        (votes_of([1], [1], b=[0]), "compared with itself"),
        (votes_of([1], [1], b=[2]), "places of the 2 models"),
    ],
)
def test_what_makes_no_rating_is_refused(votes, words):
    with pytest.raises(ValueError, match=words):
        combine(("x", "y"), votes, NOTHING)


@pytest.mark.thorough
@pytest.mark.slow
def test_intervals_hold_the_truth_whatever_the_judge():
    rows = {row["judge"]: row for row in arena_rows(150, seed=1, settings=(Setting(5, 300, 60, 8),))}
    assert rows.keys() == {judge.name for judge in JUDGES}
    for row in rows.values():
        assert 92 <= row["differences "] <= 98
    assert rows["good"]["saved of 100"] > 15 > 1 > rows["random"]["saved of 100"]
    assert rows["biased"]["error"] < 1
