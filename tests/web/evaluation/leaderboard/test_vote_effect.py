"""What the arena shows after a vote: both ratings, how far this vote has moved them, and how often the two have met."""

from __future__ import annotations

import pytest

from annotate.arena.battles.vote_effects import effect_of
from annotate.models import Battle, Comparison
from evaluation.leaderboard.snapshots import current
from evaluation.leaderboard.vote_effect import ratings_after
from tests.support.factories import make_comparison, make_completion, make_model, make_prompt

pytestmark = pytest.mark.django_db


@pytest.fixture
def models():
    return make_model(name="Heron"), make_model(name="Kestrel")


def voted(project, models, winner: str) -> Comparison:
    prompt = make_prompt(project, side="eval")
    a, b = (make_completion(prompt, model=model) for model in models)
    sides = {"model_a": models[0], "model_b": models[1], "completion_a": a, "completion_b": b}
    battle = Battle.objects.create(project=project, prompt=prompt, visitor="v", **sides)
    return make_comparison(a, b, winner, battle=battle)


def test_a_vote_moves_the_two_ratings_apart_by_what_it_adds(project, models):
    for winner in ("model_a", "model_b", "tie"):
        voted(project, models, winner)
    before = {row["model"]: row["rating"] for row in current(project=project, judge="person").ratings["rows"]}
    vote = voted(project, models, "model_a")
    after = ratings_after(vote)
    for model in models:
        assert after[model.pk].change == pytest.approx(after[model.pk].rating - before[model.pk], abs=0.05)
    assert after[models[0].pk].change > 0 > after[models[1].pk].change


def test_the_first_vote_of_two_models_has_moved_nothing_and_says_little(project, models):
    after = ratings_after(voted(project, models, "model_a"))
    assert all(rating.change is None and rating.is_early for rating in after.values())


def test_how_often_the_two_have_met_counts_both_sides(project, models):
    voted(project, models, "model_a")
    voted(project, models[::-1], "model_a")
    vote = voted(project, models, "both_bad")
    meetings = effect_of(vote).meetings
    assert (meetings.a, meetings.b, meetings.neither, meetings.total) == (1, 1, 1, 3)
