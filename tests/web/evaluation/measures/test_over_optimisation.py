"""Score against people along a PPO run: when the curves part, when nothing can be told, and who is told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import Status
from evaluation.measures import over_optimisation_panel
from evaluation.metrics import over_optimisation
from evaluation.metrics.over_optimisation import Opinion
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_prompt,
    make_user,
)
from tests.support.training.runs import make_run
from training import configs
from training.models import Metric, Review, Run

_voters = itertools.count()


def opinions(n: int, liked_at_last: float, *, expected_at_last: float = 0.8, seed: int = 0) -> list[Opinion]:
    """Steps 1 to 100: what is expected rises from a half, what is said moves from a half to `liked_at_last`."""
    random, found = np.random.default_rng(seed), []
    for step in np.linspace(1, 100, n).astype(int):
        share = (step - 1) / 99
        liked = 0.5 + (liked_at_last - 0.5) * share
        found.append(
            Opinion(
                int(step), 0.5 + (expected_at_last - 0.5) * share, float(random.random() < liked), next(_voters), step
            )
        )
    return found


def test_a_score_that_rises_while_people_turn_away_parts_from_them():
    verdict = over_optimisation.verdict(opinions(300, 0.2))
    assert verdict.what == over_optimisation.PARTED
    assert verdict.growth.lower > 0.3 and verdict.growth.lower < 0.6 < verdict.growth.upper
    assert verdict.trend.upper < 0


def test_people_who_go_along_keep_together_and_those_who_run_ahead_come_closer():
    assert over_optimisation.verdict(opinions(900, 0.8)).what == over_optimisation.TOGETHER
    assert over_optimisation.verdict(opinions(900, 0.99, expected_at_last=0.3)).what == over_optimisation.CLOSER


def test_a_gap_that_was_there_from_the_first_step_is_not_over_optimisation():
    """A reward model that is too sure of itself everywhere."""
    sure = [Opinion(o.step, 0.95, o.points, o.voter, o.prompt) for o in opinions(900, 0.5)]
    verdict = over_optimisation.verdict(sure)
    assert verdict.what == over_optimisation.TOGETHER
    assert verdict.growth.lower < 0 < verdict.growth.upper


@pytest.mark.parametrize("n", [0, 1, 9, 40])
def test_few_opinions_tell_nothing_and_how_many_more_would(n):
    verdict = over_optimisation.verdict(opinions(n, 0.8) if n else [])
    assert verdict.what == over_optimisation.UNKNOWN
    assert 100 < verdict.more < 400
    assert (verdict.growth is None) == (n < over_optimisation.FEWEST)


def test_as_many_more_as_were_said_are_enough():
    few = over_optimisation.verdict(opinions(60, 0.8))
    enough = over_optimisation.verdict(opinions(60 + few.more, 0.8, seed=1))
    assert (enough.growth.upper - enough.growth.lower) / 2 == pytest.approx(over_optimisation.DETECTABLE, rel=0.2)


def test_opinions_of_one_step_have_no_line():
    assert over_optimisation.verdict([Opinion(8, 0.6, float(i % 2), i, i) for i in range(50)]).growth is None


def test_the_interval_of_the_growth_covers_the_truth():
    inside = sum(
        (growth := over_optimisation.verdict(opinions(80, 0.6, seed=seed)).growth).lower <= 0.2 <= growth.upper
        for seed in range(300)
    )
    assert 0.92 <= inside / 300 <= 0.985


def test_neighbouring_steps_share_a_bin_and_none_is_cut_in_two():
    told = [Opinion(step, 0.5, 1.0, i, i) for step in (4, 8, 12, 16) for i in range(6)]
    bins = over_optimisation.bins(told, per_bin=8)
    assert [(b.first, b.last, b.people.n) for b in bins] == [(4, 8, 12), (12, 16, 12)]
    assert len(over_optimisation.bins(opinions(500, 0.5))) <= over_optimisation.MOST_BINS
    assert over_optimisation.bins([]) == []


# From the database


@pytest.fixture
def run(project, base, child) -> Run:
    run = make_run(project, kind="ppo", parent=base, state="succeeded", output_model=child)
    run.config = dict(configs.parse("ppo", {}).__dict__)
    run.save()
    return run


def measure(run: Run, steps: int = 20) -> None:
    for step in range(1, steps + 1):
        values = {"score_mean": step / 10, "kl": step / 5}
        Metric.objects.create(run=run, sequence=step, step=step, values=values, time=timezone.now())


def ask(run: Run, step: int, *votes: str, expected: float = 0.8, **fields) -> Review:
    """A pair of the human review with its votes: policy, parent or tie."""
    prompt = make_prompt(run.project, side="train")
    policy, parent = make_completion(prompt), make_completion(prompt, model=run.parent)
    policy.model = None
    policy.save()
    review = Review.objects.create(
        run=run, sequence=run.reviews.count() + 1, step=step, prompt=prompt, policy_answer=policy, parent_answer=parent,
        predicted=expected, policy_score=1.0, parent_score=0.0,
    )  # fmt: skip
    for i, vote in enumerate(votes):
        shown = (policy, parent) if i % 2 else (parent, policy)
        winner = "tie" if vote == "tie" else "model_a" if (shown[0] == policy) == (vote == "policy") else "model_b"
        make_comparison(
            *shown,
            winner,
            make_user(is_simulated=fields.get("is_simulated", False)),
            status=fields.get("status", Status.COUNTED),
        )
    return review


def test_votes_on_the_reviewed_pairs_are_read_whatever_side_the_answer_stood_on(run):
    ask(run, 4, "policy", "policy", "parent", "tie")
    ask(run, 8, "policy", status=Status.WITHDRAWN)
    ask(run, 8, "parent", is_simulated=True)
    opinions = over_optimisation_panel.opinions(run)
    assert [(o.step, o.points, o.expected) for o in opinions["person"]] == [
        (4, 1.0, 0.8),
        (4, 1.0, 0.8),
        (4, 0.0, 0.8),
        (4, 0.5, 0.8),
    ]
    assert [(o.step, o.points) for o in opinions["simulation"]] == [(8, 0.0)]
    assert len({o.voter for o in opinions["person"]}) == 4


def test_a_run_that_parts_is_said_to_on_its_page_and_on_its_models(client, run, child):
    measure(run)
    for step in range(1, 21):
        for _ in range(3):
            ask(run, step, "policy" if step < 8 else "parent", expected=0.4 + step / 40)
    for address in (reverse("run", args=[run.pk]) + "?tab=review", reverse("model", args=[child.pk])):
        page = client.get(address).content.decode()
        assert "The curves diverge: the score&#x27;s promise has grown more than the votes of people" in page
        assert "People liked its answers less over time" in page
        assert page.count('<svg class="scene"') == 3
        assert "Table of these figures" in page


def test_few_opinions_cannot_tell_and_say_how_many_more(client, run):
    measure(run)
    for step in (4, 8):
        ask(run, step, "policy")
    page = client.get(reverse("run", args=[run.pk]), {"tab": "review"}).content.decode()
    assert (
        "There are too few votes to see over-optimisation: 2 opinions of people on its answers during training. About"
        in page
    )


def test_the_arena_stands_at_the_end_with_people_and_simulations_apart(run, base, child, vote):
    vote(child, base, "model_a", 3)
    vote(base, child, "model_a", is_simulated=True)
    vote(child, base, side="train")
    vote(child, make_contestant(run.project, make_model()).model)
    people, simulated = over_optimisation_panel.of_run(run)["sides"]
    assert (people.group, people.arena.n, people.arena.value) == ("people", 3, 1.0)
    assert (simulated.group, simulated.arena.n, simulated.arena.value) == ("simulated annotators", 1, 0.0)
    assert any("in the arena, people prefer the finished model to its parent in 100 %" in s for s in people.sentences)


def test_a_run_that_asked_nobody_says_so(client, run):
    measure(run)
    page = client.get(reverse("run", args=[run.pk]), {"tab": "review"}).content.decode()
    assert "Nobody reviewed its answers while it trained" in page
    assert page.count('<svg class="scene"') == 2


def test_a_run_that_will_ask_people_does_not_say_that_nobody_is_asked(client, run):
    run.state, run.config = "running", run.config | {"review_every": 4, "review_samples": 4}
    run.save()
    measure(run)
    page = client.get(reverse("run", args=[run.pk]), {"tab": "review"}).content.decode()
    assert "Nobody reviewed" not in page and "</code> is above 0, people compare" not in page
    assert "Every 4 steps annotators compare 4 of its answers" in page
    assert "No reviews yet: the first pairs come at step 4" in page


def test_nothing_is_shown_before_anything_is_known_nor_of_other_kinds(client, run, base):
    assert over_optimisation_panel.of_run(run) is None
    assert "parting-heading" not in client.get(reverse("run", args=[run.pk]), {"tab": "review"}).content.decode()
    assert "parting-heading" not in client.get(reverse("model", args=[base.pk])).content.decode()


def test_a_long_run_is_thinned_and_keeps_its_ends(run):
    Metric.objects.bulk_create(
        Metric(run=run, sequence=s, step=s, values={"score_mean": float(s), "kl": 0.1}, time=timezone.now())
        for s in range(1, 3001)
    )
    curve = over_optimisation_panel._curve(run, ("score_mean",), "score")
    assert len(curve.points) <= over_optimisation_panel.POINTS
    assert (curve.points[0], curve.points[-1]) == ((1.0, 1.0), (3000.0, 3000.0))


def test_the_figures_and_the_picture_can_be_had_as_files(client, run, base, child, vote):
    measure(run)
    for step in range(1, 21):
        ask(run, step, "policy", expected=0.75)
    vote(child, base, "model_a", 2)
    page = client.get(reverse("run", args=[run.pk]), {"tab": "review"}).content.decode()
    for form in ("csv", "json", "png"):
        assert reverse("score-and-people", args=[run.pk, form]) in page
    table = client.get(reverse("score-and-people", args=[run.pk, "csv"])).content.decode().splitlines()
    assert table[0] == "judges,first_step,last_step,votes,expected,preferred,lower,upper"
    assert table[1].startswith("people,1,8,8,0.75,1.0,0.") and table[-1].startswith("people,arena,arena,2,,1.0,")
    body = client.get(reverse("score-and-people", args=[run.pk, "json"])).json()
    assert body["verdicts"][0]["opinions"] == 20 and len(body["curves"]["score"]) == 20
    assert client.get(reverse("score-and-people", args=[run.pk, "png"])).content.startswith(b"\x89PNG")
    assert client.get(reverse("score-and-people", args=[run.pk, "pdf"])).status_code == 404


def test_a_run_of_another_kind_or_without_figures_has_no_such_files(client, run):
    assert client.get(reverse("score-and-people", args=[run.pk, "csv"])).status_code == 404
    run.kind = "sft"
    run.save()
    measure(run)
    assert client.get(reverse("score-and-people", args=[run.pk, "csv"])).status_code == 404
