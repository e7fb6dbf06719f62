from pathlib import Path

import pytest
import torch

from tests.support.training.ppo_runs import (
    RUNAWAY,
    carry_out,
    choose,
    killed_after,
    make_run,
    metrics,
    same_weights,
    weights,
)
from training import configs
from training.core import kept_steps
from training.core.run_directory import read_lines
from training.recipes.common import adapters, entry
from training.recipes.ppo import __main__ as ppo


@pytest.mark.parametrize("adapters", ["top", pytest.param("full", marks=pytest.mark.thorough)])
def test_past_a_bound_it_waits_and_goes_on_as_if_the_bound_had_been_wider_from_the_start(
    tmp_path: Path, model: Path, adapters: str
):
    rate = 2e-2 if adapters == "top" else 1e-3
    options = {**RUNAWAY, "steps": 6, "adapters": adapters, "learning_rate": rate, "at_bound": "pause"}
    paused = carry_out(make_run(tmp_path / "paused", model, **{**options, "stop_kl": 0.5}))
    pause = paused.paused()
    assert pause is not None and pause["code"] == "kl_limit" and paused.result() is None
    assert [choice["name"] for choice in pause["choices"]] == ["back", "on", "finish"]
    assert metrics(paused)[-1]["step"] == pause["step"] and metrics(paused)[-1]["drift"] > 1
    choose(paused, "on", stop_kl=1000.0)
    assert paused.paused() is None and paused.result()["step"] == 6
    wide = carry_out(make_run(tmp_path / "wide", model, **{**options, "stop_kl": 1000.0}))
    assert same_weights(paused, wide)
    assert [m["kl"] for m in metrics(paused)] == [m["kl"] for m in metrics(wide)]


@pytest.mark.thorough
def test_going_back_takes_the_last_weights_within_bounds_at_the_new_kl_coef(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, **RUNAWAY))
    pause = run.paused()
    before = {m["step"]: m["kl_k3"] for m in metrics(run)}
    choose(run, "back", kl_coef=0.7, learning_rate=1e-5, stop_kl=5.0)
    after = metrics(run)
    again = next(m for m in after if m["step"] == pause["step"])
    assert again["kl_coef"] == 0.7 and again["kl_k3"] < before[pause["step"]]
    assert again["lr"] == pytest.approx(1e-5)  # the schedule is constant
    assert [m["step"] for m in after] == list(range(after[-1]["step"] + 1))  # no step stands twice
    assert run.result()["amendments"][0]["action"] == "back"


def test_no_model_past_the_bound_is_kept_where_the_run_goes_back(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, **{**RUNAWAY, "steps": 6, "kept_checkpoints": 5}))
    pause = run.paused()
    assert pause is not None and (pause["kept_step"], pause["step"]) == (0, 1)
    beyond = kept_steps.model_of(run, 1)
    assert not same_states(model, beyond)
    choose(run, "back", stop_kl=1000.0)
    assert same_states(model, beyond), "the weights with which that step begins again"
    assert [row["step"] for row in run.result()["kept_checkpoints"]] == [1, 2, 3, 4, 5]


def same_states(one: Path, other: Path) -> bool:
    ours, theirs = (dict(adapters.merged_state(folder)) for folder in (one, other))
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.thorough
def test_finishing_at_a_pause_keeps_the_last_model_within_bounds(tmp_path: Path, model: Path):
    paused = carry_out(make_run(tmp_path / "paused", model, **RUNAWAY))
    kept = paused.paused()["kept_step"]
    choose(paused, "finish")
    result = paused.result()
    assert result["stopped"]["code"] == "kl_limit" and f"step {kept}" in result["stopped"]["message"]
    alone = carry_out(make_run(tmp_path / "alone", model, **RUNAWAY, at_bound="finish"))
    assert same_weights(paused, alone) and alone.result()["step"] == result["step"] == kept


def test_a_pause_shows_the_answers_that_ran_away(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, **RUNAWAY))
    assert {s["step"] for s in read_lines(run.path / "samples.jsonl")} >= {0, run.paused()["step"]}


@pytest.mark.thorough
def test_killed_after_a_choice_it_still_ends_with_the_same_weights(tmp_path: Path, model: Path):
    runs = [carry_out(make_run(tmp_path / name, model, **{**RUNAWAY, "steps": 6})) for name in ("whole", "cut")]
    whole, cut = runs
    choose(whole, "back", stop_kl=1000.0)
    with killed_after(whole.result()["amendments"][0]["step"] + 1):
        choose(cut, "back", stop_kl=1000.0)
    assert entry.attempt(ppo.main, cut) == 0
    assert same_weights(whole, cut)


def test_every_change_that_a_pause_offers_is_an_option_that_may_be_amended(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, **RUNAWAY))
    for choice in run.paused()["choices"]:
        assert set(choice["changes"]) <= set(configs.PPOConfig.amendable)
        configs.parse("ppo", {"reward_function": "a.b", **choice["changes"]})


def test_reviews_pair_the_policys_answers_with_the_parents_to_the_same_prompts(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, review_every=1, review_samples=3))
    rows = run.reviews()
    assert [row["step"] for row in rows] == [1, 1, 1, 2, 2, 2] and [row["sequence"] for row in rows] == [*range(1, 7)]
    for row in rows:
        assert row["prompt"][0]["content"] == f"say {'abcdef'[row['prompt_id']]}"
        scores = row["policy"]["score"], row["parent"]["score"]
        assert row["predicted"] == (0.5 if scores[0] == scores[1] else float(scores[0] > scores[1]))
    parents = {row["prompt_id"]: row["parent"]["text"] for row in rows}
    assert all(row["parent"]["text"] == parents[row["prompt_id"]] for row in rows)


def _say(run, policy_wins: bool, judge: str = "person") -> None:
    said = {"judge": judge, "predicted": 0.9, "people": float(policy_wins)}
    run.tell_opinions([{"sequence": row["sequence"], "step": row["step"], **said} for row in run.reviews()])


def test_where_people_and_the_reward_model_part_ways_it_pauses_and_weights_do_not_depend_on_it(
    tmp_path: Path, model: Path
):
    options = {"steps": 4, "review_every": 1, "review_samples": 4}
    alone = carry_out(make_run(tmp_path / "alone", model, **options))
    watched = make_run(tmp_path / "watched", model, **options)
    original = watched.__class__.ask_for_review

    def ask_and_judge(run, rows) -> None:
        original(run, rows)
        _say(run, policy_wins=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watched.__class__, "ask_for_review", ask_and_judge)
        carry_out(watched)
    pause = watched.paused()
    assert pause is not None and (pause["code"], pause["step"]) == ("people_disagree", 2)
    assert "0 %" in pause["message"]
    choose(watched, "blind")
    assert same_weights(watched, alone)


@pytest.mark.thorough
def test_opinions_of_simulations_do_not_stop_a_run_that_asks_people(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model, review_every=1, review_samples=4)
    run.tell_opinions(
        [{"sequence": i, "step": 0, "judge": "simulation", "predicted": 0.9, "people": 0.0} for i in range(9)]
    )
    assert carry_out(run).result() is not None


def test_asked_to_wait_it_pauses_until_all_pairs_are_judged(tmp_path: Path, model: Path):
    waiting = carry_out(make_run(tmp_path / "waiting", model, review_every=2, review_waits=True))
    assert waiting.paused()["code"] == "waiting_for_people" and waiting.paused()["step"] == 3
    carry_out(waiting)
    assert waiting.paused()["step"] == 3  # nobody has judged: it waits on
    _say(waiting, policy_wins=True)
    (waiting.path / "paused.json").unlink()
    assert carry_out(waiting).result() is not None
    plain = carry_out(make_run(tmp_path / "plain", model, review_every=2))
    assert same_weights(waiting, plain)


@pytest.mark.thorough
def test_no_change_is_lost_between_two_pauses(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, **{**RUNAWAY, "steps": 8}))
    first = run.paused()["step"]
    choose(run, "on", stop_kl=1.0 + 1e-6 + metrics(run)[-1]["drift"])
    second = run.paused()
    if second is not None:
        assert second["step"] > first
        choose(run, "on", stop_kl=1000.0, learning_rate=1e-6)
    assert run.result()["step"] == 8
    assert all(torch.isfinite(w.float()).all() for w in weights(run).values())
