"""The same 1,200 votes through other people's tools; `golden/ratings_reference.py` says how each number was made."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from evaluation.ratings import Tally, tally_indices
from evaluation.ratings.bradley_terry import fit
from evaluation.ratings.elo import online
from evaluation.ratings.style_control import FEATURES, StyledVotes, differences, fit_style
from evaluation.ratings.tie_models import fit_ties
from evaluation.ratings.voter_clusters import cluster_covariance

GOLDEN = Path(__file__).parents[4] / "tests/support/golden"
REFERENCE = json.loads((GOLDEN / "ratings_reference.json").read_text())
VOTES = json.loads((GOLDEN / "arena_votes.json").read_text())
VOTER, A, B, SAID = (np.array(VOTES[name]) for name in ("voter", "a", "b", "said"))
MODELS = 6
ELO = 0.01  # what counts as the same rating


@pytest.fixture(scope="module")
def fitted():
    return fit(Tally(tuple(range(MODELS)), tally_indices(A, B, SAID, MODELS)))


@pytest.mark.parametrize(
    "tool", sorted(set(REFERENCE["ratings"]) - {next(x for x in REFERENCE["ratings"] if "as published" in x)})
)
def test_ratings_are_those_of_other_tools(fitted, tool):
    assert fitted.rating == pytest.approx(REFERENCE["ratings"][tool], abs=ELO)


def test_fastchats_penalty_pulls_its_published_ratings_together(fitted):
    """Why that one is not compared to 0.01: with the default penalty of scikit-learn everybody moves to the middle."""
    shrunk = np.array(next(x for name, x in REFERENCE["ratings"].items() if "as published" in name))
    assert np.all(np.abs(shrunk - 1000) < np.abs(fitted.rating - 1000))
    assert shrunk == pytest.approx(fitted.rating, abs=0.1)


def test_sandwich_intervals_are_arena_ranks(fitted):
    assert fitted.standard_error == pytest.approx(REFERENCE["arena-rank standard errors"], abs=ELO / 10)


def test_the_sandwich_is_statsmodels_hc0(fitted):
    assert fitted.covariance == pytest.approx(np.array(REFERENCE["glm"]["plain"]["covariance HC0"]), rel=1e-6)


def test_the_sandwich_by_voters_is_statsmodels_clustered_one(fitted):
    found = cluster_covariance(fitted, [(VOTER, A, B, SAID, np.ones(len(A)))])
    assert found == pytest.approx(np.array(REFERENCE["glm"]["plain"]["covariance cluster"]), rel=1e-6)
    assert np.sqrt(np.diagonal(found)).max() > 1.2 * fitted.standard_error.max()  # or nothing was tested


@pytest.mark.parametrize("tool", REFERENCE["elo"])
def test_online_elo_is_that_of_other_tools(tool):
    assert online(A, B, SAID, np.full(MODELS, 1000.0)) == pytest.approx(REFERENCE["elo"][tool], abs=1e-9)


class TestTies:
    @pytest.mark.parametrize("model", ["davidson", "rao-kupper"])
    @pytest.mark.parametrize("first", [False, True])
    def test_an_independent_maximum_of_the_likelihood_agrees(self, fitted, model, first):
        expected = REFERENCE["ties"][f"{model}, first" if first else model]
        tie_fit = fit_ties(fitted.tally, model, first)
        assert tie_fit.ratings.rating == pytest.approx(expected["ratings"], abs=1e-6)
        assert tie_fit.ratings.covariance == pytest.approx(np.array(expected["covariance"]), rel=1e-4)
        assert tie_fit.tie.value == pytest.approx(expected["tie"], abs=1e-9)
        assert tie_fit.tie.standard_error == pytest.approx(expected["error of log tie"], abs=1e-6)
        assert tie_fit.log_likelihood == pytest.approx(expected["log_likelihood"], abs=1e-8)
        if first:
            assert tie_fit.first.value == pytest.approx(expected["first"], abs=1e-6)
            assert tie_fit.first.standard_error == pytest.approx(expected["error of first"], abs=1e-4)

    @pytest.mark.parametrize("model", ["davidson", "rao-kupper"])
    @pytest.mark.parametrize("first", [False, True])
    def test_their_intervals_by_voters_agree(self, fitted, model, first):
        expected = REFERENCE["ties"][f"{model}, first" if first else model]
        cut = [slice(0, 500), slice(500, 501), slice(501, None)]
        tie_fit = fit_ties(
            fitted.tally, model, first, [(VOTER[k], A[k], B[k], SAID[k], np.ones(len(A))[k]) for k in cut]
        )
        assert tie_fit.ratings.covariance == pytest.approx(np.array(expected["covariance cluster"]), rel=1e-4)
        assert tie_fit.tie.standard_error == pytest.approx(expected["error of log tie cluster"], abs=1e-6)
        reach = math.log(tie_fit.tie.upper / tie_fit.tie.value) / tie_fit.tie.standard_error
        assert reach == pytest.approx(tie_fit.ratings.critical)
        assert tie_fit.ratings.critical > 1.99

    def test_davidson_is_a_log_linear_model_of_statsmodels(self, fitted):
        expected = REFERENCE["ties"]["statsmodels Poisson (davidson, first)"]
        tie_fit = fit_ties(fitted.tally, "davidson", first=True)
        assert tie_fit.ratings.rating == pytest.approx(expected["ratings"], abs=1e-6)
        assert [tie_fit.tie.value, tie_fit.first.value] == pytest.approx([expected["tie"], expected["first"]], abs=1e-8)

    def test_rao_kupper_is_an_ordered_logit_of_statsmodels(self, fitted):
        expected = REFERENCE["ties"]["statsmodels OrderedModel (rao-kupper, first)"]
        tie_fit = fit_ties(fitted.tally, "rao-kupper", first=True)
        assert tie_fit.ratings.rating == pytest.approx(expected["ratings"], abs=1e-4)
        assert [tie_fit.tie.value, tie_fit.first.value] == pytest.approx([expected["tie"], expected["first"]], abs=1e-5)
        assert tie_fit.log_likelihood == pytest.approx(expected["log_likelihood"], abs=1e-6)

    def test_davidson_is_evalicas_newman(self, fitted):
        expected = REFERENCE["evalica newman"]
        tie_fit = fit_ties(fitted.tally, "davidson")
        assert tie_fit.ratings.rating == pytest.approx(expected["ratings"], abs=ELO)
        assert tie_fit.tie.value == pytest.approx(2 * expected["v"], abs=1e-6)


class TestStyle:
    DIFFERENCE = np.stack([differences(VOTES[f"{name}_a"], VOTES[f"{name}_b"]) for name in FEATURES], axis=1)

    @pytest.mark.parametrize("kind", ["HC0", "cluster"])
    def test_style_control_is_statsmodels_glm(self, kind):
        expected = REFERENCE["glm"]["style"]
        style_fit = fit_style(range(MODELS), self.blocks(voters=kind == "cluster"))
        assert style_fit.controlled.rating == pytest.approx(expected["ratings"], abs=1e-6)
        assert style_fit.controlled.covariance == pytest.approx(np.array(expected[f"covariance {kind}"]), rel=1e-6)
        assert [c.value for c in style_fit.coefficients] == pytest.approx(expected["coefficients"], abs=1e-8)
        errors = [(c.upper - c.value) / style_fit.controlled.critical for c in style_fit.coefficients]
        assert errors == pytest.approx(expected[f"errors {kind}"], abs=1e-8)

    def test_style_control_is_fastchats_without_its_penalty(self):
        expected = REFERENCE["glm"]["style"]["fastchat fit_contextual_bt"]
        style_fit = fit_style(range(MODELS), self.blocks(voters=False))
        assert style_fit.controlled.rating == pytest.approx(expected["ratings"], abs=ELO)
        assert [c.value for c in style_fit.coefficients] == pytest.approx(expected["coefficients"], abs=1e-4)
        assert math.dist(style_fit.controlled.rating, style_fit.plain.rating) > 5  # or nothing was controlled

    def blocks(self, voters: bool) -> list[StyledVotes]:
        """A voter straddles the blocks."""
        cut = [slice(0, 500), slice(500, 501), slice(501, None)]
        return [StyledVotes(A[k], B[k], SAID[k], self.DIFFERENCE[k], VOTER[k] if voters else None) for k in cut]
