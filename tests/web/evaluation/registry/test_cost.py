"""What a model has cost since its parent, and what a rating point has cost with it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from evaluation.leaderboard.snapshots import current
from evaluation.promotion.variants import expected_best, variants
from evaluation.registry.cost import Cost, Interval, cost_of, costs
from tests.support.evaluation.chains import make_chain, make_run
from tests.support.factories import make_contestant, make_model
from training.models import KeptCheckpoint


@pytest.fixture
def chain(project):
    chain = make_chain(project)
    make_contestant(project, chain.sft)
    return chain


def board_of(project):
    return current(project=project, judge="person")


class TestWhatIsCounted:
    def test_the_runs_since_the_parent_with_the_reward_model_and_no_earlier_ones(self, chain, project):
        cost = cost_of(chain.ppo, board_of(project))
        assert {run.kind for run in cost.runs} == {"ppo", "reward"}
        assert (cost.cpu_seconds, cost.parent) == (1200, chain.sft)
        assert cost.wall_seconds == pytest.approx(600, abs=1)

    def test_votes_are_the_distinct_judgements_that_those_runs_learnt_from(self, chain, project):
        assert cost_of(chain.ppo, board_of(project)).votes == 14  # ten comparisons and four ratings
        assert cost_of(chain.sft, board_of(project)).votes == 3

    def test_the_model_of_a_kept_step_cost_what_was_spent_until_that_step(self, chain, project):
        run = chain.ppo.made_by
        kept = make_model(name="heron-ppo at 40", parent=chain.sft, stage="PPO")
        KeptCheckpoint.objects.create(run=run, step=40, model=kept)
        began = run.attempts.get().started_at
        for step in range(10, 101, 10):
            run.metrics.create(sequence=step, step=step, values={}, time=began + timedelta(seconds=3 * step))
        cost = cost_of(kept, board_of(project))
        assert (cost.cpu_seconds, cost.wall_seconds) == pytest.approx((600 + 240, 300 + 120), abs=0.5)
        assert cost_of(chain.ppo, board_of(project)).cpu_seconds == 1200

    def test_a_model_that_was_imported_has_cost_nothing_here(self, base, project):
        assert cost_of(base, board_of(project)) is None

    def test_every_policy_of_the_project_is_listed_the_latest_first(self, chain, project):
        assert [cost.model for cost in costs(project, board_of(project))] == [chain.ppo, chain.sft, chain.pretrained]


class TestThePrice:
    def test_follows_from_the_gain_and_its_interval(self, chain, project, vote):
        vote(chain.ppo, chain.sft, "model_a", 80)
        vote(chain.ppo, chain.sft, "model_b", 20)
        cost = cost_of(chain.ppo, board_of(project))
        assert cost.gain.value == pytest.approx(240.8, abs=0.1) and cost.gain.lower > 0
        price = cost.seconds_per_point
        assert price.value == pytest.approx(1200 / cost.gain.value)
        assert (price.lower, price.upper) == pytest.approx((1200 / cost.gain.upper, 1200 / cost.gain.lower))
        assert cost.votes_per_point.value == pytest.approx(14 / cost.gain.value)

    @pytest.mark.parametrize(
        ("gain", "why"),
        [
            (None, "No chain of votes"),
            (Interval(5, -20, 30), "contains 0"),
            (Interval(-50, -80, -20), "It lost against"),
            (Interval(20, 0, 40), "contains 0"),
        ],
    )
    def test_is_undefined_unless_the_gain_is_beyond_doubt_and_says_why(self, base, child, gain, why):
        cost = Cost(child, base, (), 100, 100, 10, gain)
        assert cost.seconds_per_point is None and cost.votes_per_point is None
        assert why in cost.why_no_price

    def test_is_undefined_without_a_parent_that_answers(self, chain, project):
        assert "no parent that answers" in cost_of(chain.pretrained, board_of(project)).why_no_price


class TestBestOfMany:
    @pytest.mark.parametrize(("n", "mean"), [(2, 0.5642), (3, 0.8463), (7, 1.3522), (10, 1.5388)])
    def test_of_independent_errors_is_the_known_order_statistic(self, n, mean):
        """E of the largest of n standard normals: Harter (1961), table 1."""
        assert expected_best(np.eye(n)) == pytest.approx(mean, abs=0.01)

    def test_grows_with_the_error_and_not_with_what_they_share(self):
        alone, shared = np.eye(4), np.eye(4) + 25
        assert expected_best(9 * alone) == pytest.approx(3 * expected_best(alone), rel=1e-6)
        assert expected_best(shared) == pytest.approx(expected_best(alone), abs=0.02)

    def test_is_the_same_at_every_call(self):
        assert expected_best(np.eye(5)) == expected_best(np.eye(5))

    def test_every_variant_is_listed_the_retired_and_the_unrated_ones_too(self, project, base, child, vote):
        twin, retired = (make_contestant(project, make_model(name=n, parent=base)).model for n in ("twin", "gone"))
        retired.retire(reason="worse")
        never = make_model(name="never", parent=base)
        make_run("sft", never, project)
        vote(child, base, "model_a", 40)
        vote(child, base, "model_b", 30)
        vote(twin, base, "model_a", 30)
        vote(twin, base, "model_b", 30)
        [family] = variants(project, board_of(project))
        assert [model.name for model in family.models] == ["tide-sft", "twin", "gone", "never"]
        assert family.rated == 2 and family.best == child
        # Two against one opponent: their errors part by sqrt(var of the difference), of which E[max] takes 1/sqrt(2π).
        fitted = board_of(project).ratings.fitted
        i, j = (fitted.models.index(model.pk) for model in (child, twin))
        apart = np.sqrt(fitted.covariance[i, i] + fitted.covariance[j, j] - 2 * fitted.covariance[i, j])
        assert family.inflation == pytest.approx(apart / np.sqrt(2 * np.pi), rel=0.02)

    def test_an_only_child_was_chosen_from_nobody(self, project, base, child, vote):
        vote(child, base, "model_a", 5)
        assert variants(project, board_of(project)) == []
