"""Win rates and their length control, against statsmodels and alpaca_eval's own fit (golden/length_control.json)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.length_control import length_controlled
from evaluation.metrics.win_rates import clustered_mean, win_rate

GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "length_control.json").read_text())
N = len(GOLDEN["points"])
ONE = [0] * N


@pytest.fixture
def controlled():
    return length_controlled(GOLDEN["points"], GOLDEN["longer_by"], GOLDEN["voters"], ONE)


def test_the_controlled_rate_is_that_of_statsmodels_and_of_alpaca_eval(controlled):
    assert controlled.value == pytest.approx(GOLDEN["win_rate"], abs=1e-9)
    assert controlled.length == pytest.approx(GOLDEN["phi"], abs=1e-8)
    assert controlled.length == pytest.approx(GOLDEN["alpaca_eval_phi"], abs=1e-6)
    assert np.log(controlled.value / (1 - controlled.value)) == pytest.approx(GOLDEN["alpaca_eval_theta"], abs=1e-6)


def test_its_error_is_the_sandwich_by_voter(controlled):
    """statsmodels multiplies by (n - 1)/(n - k) as well, a correction for few votes, not for few voters."""
    extra = np.sqrt((N - 1) / (N - 2))
    spread = controlled.value * (1 - controlled.value)
    assert controlled.standard_error / spread * extra == pytest.approx(GOLDEN["theta_error_by_voter"], rel=1e-8)
    assert controlled.length_error * extra == pytest.approx(GOLDEN["phi_error_by_voter"], rel=1e-8)


@pytest.mark.parametrize("voters, prompts, named", [
    (GOLDEN["voters"], ONE, "mean_error_by_voter"),
    (ONE, GOLDEN["prompts"], "mean_error_by_prompt"),
    (GOLDEN["voters"], GOLDEN["prompts"], "mean_error_two_way"),
])  # fmt: skip
def test_a_win_rates_error_is_clustered_as_statsmodels_has_it(voters, prompts, named):
    assert win_rate(GOLDEN["points"], voters, prompts).standard_error == pytest.approx(GOLDEN[named], rel=1e-9)


def test_groups_that_are_all_alike_count_as_one_vote_each():
    """A third of each prompt's points: rounding leaves 1e-17 of them, which is no variance."""
    found = win_rate([1.0, 0.0, 0.0] * 5, ["a judge"] * 15, [n // 3 for n in range(15)])
    assert found.standard_error == 0 and found.lower < 0.1 and found.upper > 0.7
    assert clustered_mean(np.array([1.0, 0.0, 0.0] * 5), ["a judge"] * 15, [n // 3 for n in range(15)]) is None


def test_a_model_that_wins_by_length_alone_is_worth_a_half():
    random = np.random.default_rng(0)
    longer = random.normal(200, 300, size=4000)
    won = (random.random(4000) < 1 / (1 + np.exp(-2 * np.tanh(longer / 300)))).astype(float)
    who = range(4000)
    assert won.mean() > 0.6
    controlled = length_controlled(won, longer, who, who)
    assert controlled.lower < 0.5 < controlled.upper
    assert controlled.value == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("points, longer_by, told", [
    ([1, 1, 1, 1], [5, -3, 2, 9], "too few votes on the other side"),
    ([1, 1, 0, 0], [5, 3, -2, -9], "too few votes on the other side"),
    ([1, 0, 1, 0], [7, 7, 7, 7], "same number of characters"),
    ([1], [7], "same number of characters"),
    ([1, 0], [7], "needs one"),
])  # fmt: skip
def test_what_cannot_be_controlled_for_is_refused(points, longer_by, told):
    with pytest.raises(ValueError, match=told):
        length_controlled(points, longer_by, range(len(points)), range(len(points)))


def test_votes_of_one_voter_do_not_count_as_many():
    votes = [1.0] * 30 + [0.0] * 10
    alone = win_rate(votes, range(40), range(40))
    few = win_rate(votes, [n // 8 for n in range(40)], range(40))
    assert (few.value, few.voters) == (alone.value, 5)
    assert few.upper - few.lower > 1.5 * (alone.upper - alone.lower)


@pytest.mark.parametrize("points", [[1.0] * 12, [0.5] * 12, [0.0] * 12])
def test_an_interval_has_a_width_where_all_say_the_same(points):
    found = win_rate(points, range(12), range(12))
    assert found.value == points[0]
    assert found.upper - found.lower > 0.2
    assert 0 <= found.lower <= found.value <= found.upper <= 1


def test_two_votes_of_one_voter_on_one_prompt_tell_nothing_about_others():
    found = win_rate([1.0, 1.0], [3, 3], [8, 8])
    assert found.lower < 0.1 and found.upper == 1


def test_ties_narrow_the_interval_and_count_half():
    decided = win_rate([1.0, 0.0] * 20, range(40), range(40))
    level = win_rate([1.0, 0.0, 0.5, 0.5] * 10, range(40), range(40))
    assert (level.wins, level.ties, level.losses, level.value) == (10, 20, 10, 0.5)
    assert level.upper - level.lower < decided.upper - decided.lower


@pytest.mark.parametrize("points, told", [([], "at least one"), ([1.0, 2.0], "between 0 and 1, not 2")])
def test_no_votes_and_wrong_points_are_refused(points, told):
    with pytest.raises(ValueError, match=told):
        win_rate(points, range(len(points)), range(len(points)))


@pytest.mark.parametrize("share, n, voters, spread", [(0.5, 60, 60, 0.0), (0.9, 40, 40, 0.0), (0.6, 200, 15, 0.8)])
def test_intervals_cover_the_truth(share, n, voters, spread):
    random = np.random.default_rng(3)
    odds = np.log(share / (1 - share))
    truth = (1 / (1 + np.exp(-(odds + random.normal(0, spread, 50_000))))).mean()
    covered = 0
    for _ in range(300):
        voter = np.arange(n) % voters
        chance = 1 / (1 + np.exp(-(odds + random.normal(0, spread, voters)[voter])))
        found = win_rate((random.random(n) < chance).astype(float), voter, range(n))
        covered += found.lower <= truth <= found.upper
    assert 0.92 <= covered / 300 <= 0.99


# Real votes

PANDALM = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "pandalm-testset-v1.json"
REAL = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "length_control_pandalm.json").read_text())[
    "pairs"
]


@pytest.mark.skipif(
    not PANDALM.exists(), reason=f"PandaLM's test set is not at {PANDALM}; SHARED_DATA names its folder"
)
@pytest.mark.parametrize("pair", sorted(REAL))
def test_on_pandalms_annotators_the_rates_are_alpaca_evals_and_statsmodels(pair):
    """Ten pairs of models, three annotators each; ties are 0."""
    rows = [row for row in json.loads(PANDALM.read_text()) if row["cmp_key"] == pair]
    votes = [(row, row[f"annotator{k}"]) for row in rows for k in (1, 2, 3)]
    points = [{1: 1.0, 2: 0.0, 0: 0.5}[said] for _, said in votes]
    longer = [len(str(row["response1"])) - len(str(row["response2"])) for row, _ in votes]
    prompts, golden = [row["idx"] for row, _ in votes], REAL[pair]
    length_control = length_controlled(points, longer, [0] * len(points), prompts)
    assert win_rate(points, prompts, prompts).value == pytest.approx(golden["win rate"], abs=1e-12)
    assert length_control.value == pytest.approx(golden["length-controlled"], abs=1e-9)
    assert length_control.length == pytest.approx(golden["alpaca_eval phi"], abs=1e-4)
    extra = np.sqrt((len(points) - 1) / (len(points) - 2))
    assert length_control.standard_error / (length_control.value * (1 - length_control.value)) * extra == pytest.approx(
        golden["theta error by prompt"], rel=1e-7
    )


@pytest.mark.parametrize(
    ("points", "prompts"), [([0.5] * 6, list(range(6))), ([1, 0, 1, 0, 0, 1, 1, 0], [1] * 8)], ids=["ties", "a prompt"]
)
def test_votes_that_do_not_vary_between_groups_have_no_interval_without_width(points, prompts):
    longer_by = [1, -1, 2, -2, 3, -3, 4, -4][: len(points)]
    with pytest.raises(ValueError, match="vary neither between voters nor between prompts"):
        length_controlled(points, longer_by, [1] * len(points), prompts)
