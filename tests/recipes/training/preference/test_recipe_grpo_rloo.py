"""GRPO and RLOO: that scores rise, what an interruption costs, and which rewards they take."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.support import tiny_model
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import preference_runs, reward_of_two_penalties
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes import grpo, rloo
from training.recipes.common import entry
from training.recipes.group import group_policy
from training.recipes.reward import __main__ as reward

pytestmark = pytest.mark.usefixtures("one_thread")

MAIN = {"grpo": grpo.main, "rloo": rloo.main}
CONFIG = {"steps": 12, "batch_size": 32, "group_size": 8, "max_new_tokens": 6, "learning_rate": 3e-3, "beta": 0.01}
CONFIG |= {"checkpoint_every": 4, "sample_every": 100, "learning_rate_schedule": "constant"}
FUNCTION = f"{__name__}.vowels"


def vowels(prompts, texts):
    """What is rewarded: the share of an answer's letters that are a, e, i, o or u."""
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in texts]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def make(folder, kind, parent, *, reward_model="", prompts=8, **config) -> RunDirectory:
    run = RunDirectory(folder)
    rows = [{"id": n, "messages": preference_runs.prompt(n)} for n in range(prompts)]
    spec = RunSpec(kind, CONFIG | config, seed=3, parent=str(parent), reward_model=reward_model)
    run.create(spec, {"prompts": iter(rows)})
    return run


@pytest.fixture(scope="module")
def done(parent, tmp_path_factory) -> dict[str, RunDirectory]:
    """A finished run of each kind, trained when a test first asks for it."""

    class Runs(dict):
        def __missing__(self, kind):
            self[kind] = run = make(tmp_path_factory.mktemp("runs") / kind, kind, parent, reward_function=FUNCTION)
            assert entry.attempt(MAIN[kind], run) == 0, run.failure()
            return run

    return Runs()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", MAIN)
def test_scores_rise_by_more_than_noise(done, kind):
    scores = [m["values"]["score_mean"] for m in preference_runs.metrics(done[kind])]
    assert len(scores) == CONFIG["steps"]
    # 32 answers of six letters: a batch's mean has a standard error of about 0.02 where a tenth of letters are vowels.
    assert sum(scores[-3:]) / 3 > sum(scores[:3]) / 3 + 0.15
    assert done[kind].result()["episodes"] == 12 * 32


@pytest.mark.parametrize("kind", plain_run_tries("grpo", of=MAIN))
def test_length_kl_and_sameness_are_logged_beside_the_score(done, kind):
    last = preference_runs.metrics(done[kind])[-1]["values"]
    assert {"score_mean", "score_std", "kl", "length_mean", "distinct", "grad_norm", "learning_rate"} <= last.keys()
    assert last["kl"] > 0


def test_an_interrupted_run_ends_in_the_same_bits(done, parent, tmp_path, monkeypatch):
    """Both kinds, each killed three times: test_every_kind_killed."""
    kind = "grpo"
    cut = make(tmp_path / "cut", kind, parent, reward_function=FUNCTION)
    honest = group_policy.after_step

    def dies_after_the_sixth(engine, optimiser, standing):
        honest(engine, optimiser, standing)
        if standing.step == 6:
            raise KeyboardInterrupt  # as abrupt as a signal

    with monkeypatch.context() as patch:
        patch.setattr(group_policy, "after_step", dies_after_the_sixth)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(MAIN[kind], cut)
    assert cut.latest_checkpoint().name == "step-000004"
    assert entry.attempt(MAIN[kind], cut) == 0, cut.failure()
    ours, theirs = (load_file(run.model / "adapter_model.safetensors") for run in (cut, done[kind]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert cut.result()["fast_decoder"] is True


@pytest.mark.parametrize("kind", ["grpo", pytest.param("rloo", marks=pytest.mark.thorough)])
def test_a_reward_model_is_followed(parent, tmp_path, monkeypatch, kind):
    reward_of_two_penalties.try_few(monkeypatch)
    reward_of_two_penalties.draw_few(monkeypatch)
    config = {"method": "head", "features": "last", "curve": False}
    judged = preference_runs.make(tmp_path / "judged", "reward", parent, prompts=48, **config)
    assert entry.attempt(reward.main, judged) == 0, judged.failure()
    run = make(tmp_path / "run", kind, parent, reward_model=str(judged.model))
    assert entry.attempt(MAIN[kind], run) == 0, run.failure()
    scores = [m["values"]["score_mean"] for m in preference_runs.metrics(run)]
    assert sum(scores[-3:]) > sum(scores[:3])


@pytest.mark.parametrize(("given", "code"), [({}, "no_reward"), ({"reward_function": "no.such"}, "no_reward_function")])
def test_without_a_reward_it_says_what_to_give(parent, tmp_path, given, code):
    run = make(tmp_path / "none", "grpo", parent, **given)
    assert entry.attempt(grpo.main, run) == 1
    assert run.failure()["code"] == code


def test_a_function_that_gives_no_number_is_named(parent, tmp_path):
    run = make(tmp_path / "nan", "rloo", parent, reward_function=f"{__name__}.nothing")
    assert entry.attempt(rloo.main, run) == 1
    assert run.failure()["code"] == "bad_scores" and "nothing" in run.failure()["message"]


def nothing(prompts, texts):
    return [float("nan")] * len(texts)


def test_prompts_that_are_too_long_are_left_out_and_counted(parent, tmp_path):
    run = make(tmp_path / "long", "grpo", parent, reward_function=FUNCTION, steps=1, max_prompt_tokens=40)
    path = run.path / "data" / "prompts.jsonl"
    path.write_text(path.read_text().replace("Say 7", "Say " + "so " * 40))
    assert entry.attempt(grpo.main, run) == 0, run.failure()
    assert (run.result()["prompts"], run.result()["prompts_too_long"]) == (7, 1)
