"""PandaLM's three annotators as an arena of five models, against what choix, evalica and statsmodels make of it."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from evaluation.ratings import Fit, tally_votes
from evaluation.ratings.bradley_terry import fit
from evaluation.ratings.confidence_sequence import pair_sequences
from evaluation.ratings.exposure import connectivity, position
from evaluation.ratings.fragility import fewest_votes
from evaluation.ratings.pair_residuals import cycles, residuals
from evaluation.ratings.voter_clusters import by_voters
from evaluation.vote_integrity.anomaly_detection import detect_voters

PANDALM = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "pandalm-testset-v1.json"
GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden/pandalm.json").read_text())
LABEL = {1: "model_a", 2: "model_b", 0: "tie"}

pytestmark = pytest.mark.skipif(not PANDALM.exists(), reason="needs PandaLM's test set; set SHARED_DATA to its folder")


@pytest.fixture(scope="module")
def items() -> list[dict]:
    assert hashlib.sha256(PANDALM.read_bytes()).hexdigest() == GOLDEN["sha256"], "another file than the golden one"
    return json.loads(PANDALM.read_text())


@pytest.fixture(scope="module")
def columns(items) -> tuple[list[str], list[str], list[str]]:
    """A, B and winner, the votes of an item side by side."""
    votes = [(*item["cmp_key"].split("_"), LABEL[item[f"annotator{k}"]]) for item in items for k in (1, 2, 3)]
    a, b, winner = zip(*votes, strict=True)
    return list(a), list(b), list(winner)


@pytest.fixture(scope="module")
def fitted(columns) -> Fit:
    return fit(tally_votes(*columns))


def blocks(fitted: Fit, columns, owner: np.ndarray):
    """The votes as arrays, each belonging to `owner`, ascending."""
    place = {model: k for k, model in enumerate(fitted.models)}
    code = {"model_a": 0, "model_b": 1, "tie": 2}
    a, b = (np.array([place[name] for name in side]) for side in columns[:2])
    order = np.argsort(owner, kind="stable")
    label = np.array([code[label] for label in columns[2]])
    return [(owner[order], a[order], b[order], label[order], np.ones(len(owner), dtype=np.int64))]


def errors_to_last(fitted: Fit) -> list[float]:
    """Standard errors of the golden models' differences to the last of them."""
    *others, last = (fitted.models.index(name) for name in GOLDEN["models"])
    covariance = fitted.covariance
    return [float(np.sqrt(covariance[k, k] + covariance[last, last] - 2 * covariance[k, last])) for k in others]


def test_every_vote_is_read(fitted, columns):
    assert fitted.tally.votes == 2997
    assert columns[2].count("model_a") == GOLDEN["votes"]["first"]
    assert columns[2].count("model_b") == GOLDEN["votes"]["second"]
    assert columns[2].count("tie") == GOLDEN["votes"]["tie"]


@pytest.mark.parametrize("tool", ["choix", "evalica"])
def test_ratings_are_those_of_the_reference_to_a_hundredth(fitted, tool):
    order = [fitted.models.index(name) for name in GOLDEN["models"]]
    assert fitted.rating[order] == pytest.approx(GOLDEN[tool], abs=0.01)


def test_standard_errors_are_statsmodels_whites(fitted):
    assert errors_to_last(fitted) == pytest.approx(GOLDEN["standard_errors"]["votes"], rel=1e-5)


def test_three_people_on_one_item_mostly_agree_so_intervals_by_items_are_wider(fitted, columns):
    by_items, _ = by_voters(fitted, blocks(fitted, columns, np.repeat(np.arange(999), 3)))
    errors = errors_to_last(by_items)
    assert errors == pytest.approx(GOLDEN["standard_errors"]["items"], rel=1e-5)
    assert min(np.array(errors) / errors_to_last(fitted)) > 1.5


def test_what_the_board_says_of_its_pairs(fitted):
    """Every pair met, no majorities go in a circle, and no pair is off by more than ratings explain."""
    assert connectivity(fitted.tally).is_connected
    assert connectivity(fitted.tally).bridges == ()
    assert cycles(fitted, draws=20).count == 0
    found = residuals(fitted)
    assert found.degrees == 6
    assert found.p_value > 0.05


def test_the_first_place_is_not_held_by_a_few_votes(fitted):
    fragility = fewest_votes(fitted)
    assert fitted.models[fragility.first] == "llama-7b"
    assert fragility.share > 0.02


def test_what_is_decided_pair_by_pair(fitted):
    """llama is told from everybody; bloom and pythia met 321 times and are level but for a few votes."""
    pairs = pair_sequences(fitted.tally)
    llama, bloom, pythia = (fitted.models.index(name) for name in ("llama-7b", "bloom-7b", "pythia-6.9b"))
    assert np.delete(pairs.is_decided[llama], llama).all()
    assert not pairs.is_decided[bloom, pythia]
    assert pairs.more_votes(bloom, pythia) > 10_000


def test_none_of_the_three_annotators_is_suspicious(fitted, columns):
    voters = detect_voters(fitted, blocks(fitted, columns, np.tile(np.arange(3), 999)))
    assert [one.votes for one in voters] == [999] * 3
    assert not any(one.is_flagged for one in voters)


def test_the_first_answer_has_no_advantage_worth_the_name(fitted):
    """The first was chosen in 47 % of decisive votes, and that is which models stood first: by points it is nothing."""
    found = position(fitted)
    assert found.share_interval[1] < 0.5
    assert found.points_interval[0] < 0 < found.points_interval[1]
