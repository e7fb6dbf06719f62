"""PPO scores itself on prompts that it never trains on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy import stats

from tests.support.training.ppo_runs import CONFIG, carry_out, killed_after, metrics, same_weights
from tests.support.training.thread_actors import Threads
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import entry
from training.recipes.ppo import __main__ as ppo
from training.recipes.ppo import held_out_score as ppo_held_out
from training.recipes.ppo import rollouts as ppo_rollouts
from training.recipes.ppo.held_out_score import Mean
from training.runs.present import score_trust

PROMPTS = [{"id": i, "messages": [{"role": "user", "content": f"say {chr(97 + i)}"}]} for i in range(25)]


def make_run(path: Path, model: Path, prompts=PROMPTS, **config) -> RunDirectory:
    run = RunDirectory(path)
    spec = RunSpec(
        "ppo",
        {**CONFIG, "calibration_episodes": 24, "samples_every": 2, "steps": 3, **config},
        seed=3,
        parent=str(model),
    )
    run.create(spec, {"prompts": iter(prompts)})
    return run


@pytest.mark.parametrize(("count", "most", "wanted"), [(9, 16, 0), (25, 16, 2), (400, 16, 16), (400, 0, 0)])
def test_at_most_a_tenth_is_held_out_and_at_most_what_was_asked_for(count: int, most: int, wanted: int):
    rows = ppo_rollouts.held_out_rows(count, most, 7)
    assert len(set(rows)) == wanted and rows == ppo_rollouts.held_out_rows(count, most, 7)
    assert not wanted or rows != ppo_rollouts.held_out_rows(count, most, 8)


def test_held_out_prompts_are_answered_by_the_weights_that_drew_the_batch(tmp_path: Path, model: Path, monkeypatch):
    """Else the gap between the two scores compares two policies, where rollout processes are a step behind."""
    Threads(monkeypatch)
    measured: list[tuple[dict, dict, dict]] = []
    measure, collect = ppo_held_out.measure, ppo_rollouts.PPO.collect_all

    def weights_of(trainer):
        return {name: parameter.detach().clone() for name, parameter in trainer.policy.parameters().items()}

    def noted_measure(trainer, state, batch, drawn):
        assert drawn is None  # the batch was drawn elsewhere
        measured.append((dict(state.drawn_by), weights_of(trainer), {}))
        return measure(trainer, state, batch)

    def noted_collect(self, asked, *given):
        if any(one.held_out for one in asked):
            measured[-1][2].update(weights_of(self))
        return collect(self, asked, *given)

    monkeypatch.setattr(ppo_held_out, "measure", noted_measure)
    monkeypatch.setattr(ppo_rollouts.PPO, "collect_all", noted_collect)
    carry_out(make_run(tmp_path, model, actors=1, samples_every=1, sample_prompts=0, minibatches=1))
    behind = [(drawn_by, now) for drawn_by, now, _ in measured if drawn_by]
    assert len(measured) == 4 and any(not torch.equal(now[name], drew[name]) for drew, now in behind for name in drew)
    for drawn_by, now, answered_by in measured:
        assert all(torch.equal(answered_by[name], weight) for name, weight in (drawn_by or now).items())


def test_held_out_prompts_are_answered_at_each_evaluation_and_at_no_other_time(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model)
    asked: list[tuple[bool, tuple[str, ...]]] = []
    original = ppo_rollouts.PPO.collect_all

    def collect_all(self, wanted, *given):
        for one, found in zip(wanted, original(self, wanted, *given), strict=True):
            asked.append((one.held_out, tuple(m[-1]["content"] for m in found.prompts)))
            yield found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo_rollouts.PPO, "collect_all", collect_all)
        carry_out(run)
    apart = [prompts for is_held_out, prompts in asked if is_held_out]
    assert len(apart) == 3 and len(set(apart)) == 1 and len(apart[0]) == 2  # at steps 0, 2 and 3
    trained = {prompt for is_held_out, prompts in asked if not is_held_out for prompt in prompts}
    assert not trained & set(apart[0]) and len(trained) > 12
    rows = metrics(run)
    assert [("held_out_score" in row) for row in rows] == [True, False, True, True]
    for row in (rows[0], rows[2], rows[3]):
        assert row["held_out_gap"] == pytest.approx(row["score_mean"] - row["held_out_score"])
    assert rows[0]["held_out_gap_lower"] < rows[0]["held_out_gap"] < rows[0]["held_out_gap_upper"]
    assert run.result()["final"]["held_out_score"] == rows[3]["held_out_score"]


def test_the_first_of_these_answers_are_the_samples_that_are_shown(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model, sample_prompts=1)
    answered: list[list[tuple[str, str]]] = []
    measure = ppo_held_out.measure

    def noted(*arguments):
        found = measure(*arguments)
        pairs = zip(found.episodes.prompts, found.episodes.texts, strict=True)
        answered.append([(prompt[-1]["content"], text) for prompt, text in pairs])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo_held_out, "measure", noted)
        carry_out(run)
    shown = list(read_lines(run.path / "samples.jsonl"))
    assert [row["step"] for row in shown] == [0, 2, 3]
    assert [(row["prompt"][-1]["content"], row["completion"]) for row in shown] == [pairs[0] for pairs in answered]


def test_where_fewer_are_held_out_samples_are_drawn_of_prompts_that_are_trained_on(tmp_path: Path, model: Path):
    run = carry_out(make_run(tmp_path, model, sample_prompts=3, steps=1))
    shown = [row["prompt"][-1]["content"] for row in read_lines(run.path / "samples.jsonl")]
    apart = {PROMPTS[i]["messages"][0]["content"] for i in ppo_rollouts.held_out_rows(len(PROMPTS), 16, 3)}
    assert len(shown) == 6 and len(set(shown)) == 3 and not apart & set(shown)


def test_samples_that_are_drawn_for_it_are_of_the_policy_that_drew_the_batch(tmp_path: Path, model: Path, monkeypatch):
    """At step 0 they are the parent's, whether enough prompts are held out or not."""
    weights: list[dict[str, torch.Tensor]] = []
    collect, drawn = ppo_rollouts.PPO.collect_all, ppo.samples

    def noted(trainer, *given):
        weights.append({name: p.detach().clone() for name, p in trainer.policy.parameters().items()})
        return drawn(trainer, *given)

    def noted_collect(self, asked, *given):  # a step's batch or samples: the latter come after the former
        weights.append({name: p.detach().clone() for name, p in self.policy.parameters().items()})
        return collect(self, asked, *given)

    monkeypatch.setattr(ppo, "samples", noted)
    monkeypatch.setattr(ppo_rollouts.PPO, "collect_all", noted_collect)
    carry_out(make_run(tmp_path, model, PROMPTS[:9], sample_prompts=2, samples_every=1, steps=2))
    of_steps = weights[-9:]  # batch, samples asked for, samples drawn: three steps
    for batch, asked, shown in zip(of_steps[::3], of_steps[1::3], of_steps[2::3], strict=True):
        assert all(torch.equal(batch[name], asked[name]) and torch.equal(batch[name], shown[name]) for name in batch)
    assert any(not torch.equal(of_steps[0][name], of_steps[3][name]) for name in of_steps[0])


def test_they_are_drawn_beside_the_batch_that_has_room_for_them(tmp_path: Path, model: Path, monkeypatch):
    draw, drawn = ppo_rollouts.PPO.draw_prompts, []

    def noted(self, prompts, *given):
        drawn.append(len(prompts))
        return draw(self, prompts, *given)

    monkeypatch.setattr(ppo_rollouts.PPO, "draw_prompts", noted)
    beside = carry_out(make_run(tmp_path / "beside", model))
    size = CONFIG["batch_size"]
    assert drawn[-4:] == [size + 2, size, size + 2, size + 2]  # steps 0 to 3
    monkeypatch.setattr(ppo_rollouts.PPO, "rows_at_once", lambda *_: size)
    apart = carry_out(make_run(tmp_path / "apart", model))
    assert drawn[-7:] == [size, 2, size, size, 2, size, 2]
    assert list(read_lines(beside.path / "samples.jsonl")) == list(read_lines(apart.path / "samples.jsonl"))


def test_looking_at_them_changes_no_weight(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    """Prompts are of one length here: rows of other widths may change the last digits of a batch that they stand by."""
    looked = carry_out(make_run(tmp_path / "looked", model))
    monkeypatch.setattr(ppo_held_out, "FEWEST", 1000)
    blind = carry_out(make_run(tmp_path / "blind", model))
    assert same_weights(looked, blind) and "held_out_score" not in metrics(blind)[0]


def test_few_prompts_are_all_trained_on(tmp_path: Path, model: Path):
    rows = metrics(carry_out(make_run(tmp_path, model, PROMPTS[:9])))
    assert not any(name.startswith("held_out") for row in rows for name in row)


def test_a_run_that_ends_at_a_bound_tells_of_the_policy_that_it_keeps(tmp_path: Path, model: Path):
    away = {
        "steps": 20, "learning_rate": 2e-2, "stop_kl": 1.0, "kl_coef": 0.0, "kl_target": 0.0, "max_approx_kl": 0.0,
        "learning_rate_schedule": "constant", "samples_every": 50, "at_bound": "finish",
    }  # fmt: skip
    run = carry_out(make_run(tmp_path, model, **away))
    assert run.result()["stopped"]["code"] == "kl_limit"
    assert {"held_out_score", "held_out_gap"} <= run.result()["final"].keys()


@pytest.mark.thorough
@pytest.mark.parametrize("last_step", [1, 2])
def test_killed_before_a_look_or_after_one_it_ends_with_the_same_weights_and_scores(
    tmp_path: Path, model: Path, last_step: int
):
    """Prompts differ in length, so that who stands beside whom is seen in the last digits."""
    texts = ["say " + "again " * (i % 5) + chr(97 + i) for i in range(25)]
    prompts = [{"id": i, "messages": [{"role": "user", "content": text}]} for i, text in enumerate(texts)]
    whole = carry_out(make_run(tmp_path / "whole", model, prompts))
    cut = make_run(tmp_path / "cut", model, prompts)
    with killed_after(last_step):
        entry.attempt(ppo.main, cut)
    assert entry.attempt(ppo.main, cut) == 0
    assert same_weights(whole, cut)
    scores = [[row.get("held_out_score") for row in metrics(run)] for run in (whole, cut)]
    assert scores[0] == scores[1] and [score is not None for score in scores[0]] == [True, False, True, True]
    assert list(read_lines(whole.path / "samples.jsonl")) == list(read_lines(cut.path / "samples.jsonl"))


@pytest.mark.thorough
def test_a_run_that_an_earlier_version_began_goes_on_with_all_prompts(tmp_path: Path, model: Path):
    run = make_run(tmp_path, model)
    with killed_after(1):
        entry.attempt(ppo.main, run)
    state = run.latest_checkpoint() / "state.pt"
    saved = torch.load(state, weights_only=True)
    assert len(saved.pop("held_out")) == 2
    torch.save(saved, state)
    assert entry.attempt(ppo.main, run) == 0
    assert "held_out_score" in metrics(run)[0] and "held_out_score" not in metrics(run)[-1]


def test_the_interval_is_welchs():
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(32, generator=generator) + 1, 2 * torch.randn(9, generator=generator)
    gap_interval = ppo_held_out.gap_interval(
        Mean(float(a.mean()), float(a.std()), 32), Mean(float(b.mean()), float(b.std()), 9)
    )
    assert gap_interval is not None
    low, high = gap_interval
    wanted = stats.ttest_ind(a.numpy(), b.numpy(), equal_var=False).confidence_interval(0.95)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-4)
    assert ppo_held_out.gap_interval(Mean(1.0, 0.0, 32), Mean(0.0, 0.0, 9)) is None


# On the page


def test_the_page_draws_score_held_out_score_and_second_head_in_one_picture():
    rows = [
        (0, {"score_mean": 0.0, "held_out_score": 0.1, "gold_score": 0.0, "held_out_gap": -0.1,
             "held_out_gap_lower": -0.5, "held_out_gap_upper": 0.3}),
        (1, {"score_mean": 0.8, "gold_score": 0.3, "gold_behind": 0.24, "gold_behind_lower": -0.06,
             "gold_behind_upper": 0.54}),
    ]  # fmt: skip
    shown = score_trust.of_rows(rows)
    assert shown["score_picture"].count("<title>") == 3
    first, second = shown["score_lines"]
    assert first.scores == ("0.00", "0.10", "0.00") and first.held_out_gap == "−0.10 [−0.50, 0.30]"
    assert second.scores == ("0.80", "", "0.30") and second.gold_behind == "0.24 [−0.06, 0.54]"
    assert score_trust.of_rows([(0, {"score_mean": 0.1})]) == {}
