"""A dataset of another kind that has the name of what rounds or an experiment freeze keeps neither from going on."""

from __future__ import annotations

import pytest

from annotate.data.datasets import freezing
from annotate.data.datasets.actions import freeze
from annotate.models import Dataset, DatasetFreeze
from evaluation.experiments import actions as experiments
from evaluation.rounds import actions, present, round_progress
from tests.support.api_client import Program
from tests.support.evaluation.rounds import annotate, current, end_all, vote
from tests.support.factories import make_comparison, make_completion, make_prompt, make_user
from tests.support.training.runs import make_weights

pytestmark = pytest.mark.django_db
LARGE, SMALL = 20, 5000


def taken(project, name: str) -> None:
    """Somebody has frozen prompts under this name."""
    freeze(project=project, kind="prompts", name=name, by=None)


@pytest.mark.parametrize("small", [SMALL, LARGE])
def test_a_round_is_frozen_under_another_name_small_or_large(project, order, monkeypatch, small):
    series = actions.order(**order)
    end_all(project)
    name = f"rounds {series.pk}: annotations of round 1"
    taken(project, name)
    taken(project, f"{name} (2)")
    monkeypatch.setattr(freezing, "SMALL", small)
    annotate(current(series), 24)
    if small == LARGE:
        assert "frozen in the background, 0 %" in present.shown(series).sentence
        round_progress.periodic_task()
        assert DatasetFreeze.objects.get().name == f"{name} (3)"
        while freezing.freezer().do_now():
            round_progress.periodic_task()
    one = current(series)
    assert (one.judgements.name, one.judgements.kind) == (f"{name} (3)", "preferences")
    end_all(project)
    vote(one, wins=6, losses=4)
    assert current(series).number == 2
    assert project.datasets.filter(kind="preferences").count() == len({one.judgements_id, one.dataset_id})


def test_a_round_learns_from_no_dataset_that_somebody_made_under_its_name(project, order, researcher):
    series = actions.order(**order)
    end_all(project)
    prompt = make_prompt(project, "Mine")
    chosen = make_comparison(make_completion(prompt), make_completion(prompt, "Another."), "model_a")
    name = f"rounds {series.pk}: annotations of round 1"
    wish = {"project": project.slug, "name": name, "kind": "preferences", "comparisons": [chosen.pk]}
    assert Program(researcher).post("datasets/", wish).status_code == 201
    annotate(current(series), 12)
    assert current(series).judgements is None
    annotate(current(series), 24)
    one = current(series)
    assert one.judgements.name == f"{name} (2)" and chosen not in one.judgements.comparisons.all()


def test_an_experiment_freezes_its_answers_and_prompts_under_other_names(project, order, researcher):
    annotator = make_user(project)
    for prompt in project.prompts.filter(side="train"):
        make_comparison(make_completion(prompt), make_completion(prompt), "model_a", annotator)
    dataset = freeze(project=project, kind="preferences", name="pairs", by=None)
    names = [f"{what} of pairs (dataset {dataset.pk})" for what in ("best-rated answers", "prompts")]
    taken(project, names[0])
    freeze(project=project, kind="preferences", name=names[1], by=None)
    reward = make_weights(kind="reward")
    arms = [{"method": "sft"}, {"method": "best_of"}]
    wish = {"project": project, "by": researcher, "parent": order["parent"], "dataset": dataset, "reward_model": reward}
    first, second = (
        experiments.order(name=name, arms=arms, seeds=2, votes_per_pair=4, **wish) for name in ("one", "two")
    )
    assert (first.examples.name, first.examples.kind) == (f"{names[0]} (2)", Dataset.Kind.SFT)
    assert second.examples == first.examples and project.datasets.filter(kind="sft").count() == 1
