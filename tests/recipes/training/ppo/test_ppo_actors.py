"""PPO with rollouts from processes beside the learner."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from tests.support.training import ppo_runs
from tests.support.training.ppo_runs import carry_out, choose, killed_after, metrics, same_weights
from tests.support.training.thread_actors import Threads, die, lines
from training import configs
from training.core import batch_planner
from training.core.run_directory import RecipeFailure, RunDirectory
from training.recipes.common import entry
from training.recipes.ppo import __main__ as ppo
from training.recipes.ppo import actor_pool, rollout_actor, rollout_source
from training.recipes.ppo.rollout_actor import request_of
from training.recipes.ppo.weights_handover import read_weights, write_weights
from training.rl.decode import LlamaDecoder
from training.rl.sampler import Sampling

SHORT = {"reward_function": "tests.support.training.ppo_runs.share_of_vowels", "steps": 2, "sample_prompts": 0}


def make_run(path: Path, model: Path, **config) -> RunDirectory:
    return ppo_runs.make_run(path, model, **{**SHORT, **config})


def steps_and_rows(run: RunDirectory) -> list[tuple[int, int, int]]:
    return [(line["step"], *line["rows"]) for line in lines(run)]


@pytest.mark.usefixtures("frozen_layers_run_again")
def test_actors_that_wait_for_each_update_draw_what_the_learner_would_have_drawn(tmp_path, model, monkeypatch):
    own = carry_out(make_run(tmp_path / "own", model, importance_cap=2.0))
    threads = Threads(monkeypatch)
    apart = carry_out(make_run(tmp_path / "apart", model, actors=2, staleness=0))
    assert threads.started == 2 and same_weights(own, apart)
    assert steps_and_rows(apart) == [(step, *rows) for step in (0, 1, 2) for rows in ((0, 2), (2, 4))]
    assert [line["drawn_at"] for line in lines(apart)[::2]] == [0, 1, 2]
    assert len({line["version"] for line in lines(apart)}) == 3, "each step has its weights, the same for all its parts"
    assert [m["staleness"] for m in metrics(apart)] == [0, 0, 0]
    assert not (apart.path / "rollouts").exists() and not (own.path / "rollouts.jsonl").exists()
    assert "truncated_share" in metrics(own)[0]


def test_an_actor_draws_as_many_rows_at_once_as_have_room_for_their_caches(tmp_path, model, monkeypatch):
    opened, original = [], LlamaDecoder.open
    monkeypatch.setattr(batch_planner, "rows_at_once", lambda *_, **__: 2)
    monkeypatch.setattr(
        LlamaDecoder, "open", lambda one, count, *rest: opened.append(count) or original(one, count, *rest)
    )
    actor = rollout_actor.Actor(make_run(tmp_path / "run", model).spec())
    weights = write_weights(tmp_path, 0, actor.policy.parameters())
    opened.clear()
    request = request_of({}, weights, [[5, 6, n] for n in range(7, 12)], [1, 2, 3, 4, 5], Sampling(3), [])
    assert actor.draw(json.loads(request)).tokens.shape == (5, 3) and opened == [2]


def test_actors_a_step_behind_killed_and_resumed(tmp_path, model, monkeypatch):
    """The last step is drawn by the weights that are kept: it measures them."""
    Threads(monkeypatch)
    whole, cut = (make_run(tmp_path / name, model, actors=1, steps=3) for name in ("whole", "cut"))
    carry_out(whole)
    assert [line["drawn_at"] for line in lines(whole)] == [0, 0, 1, 3]
    assert [m["staleness"] for m in metrics(whole)] == [0, 1, 1, 0]
    assert abs(metrics(whole)[1]["kl"]) < 0.1, "the parent drew these answers, whatever has been learnt since"
    gaps = [m["sampler_gap"] for m in metrics(whole)]
    assert min(gaps[1:3]) > 3 * max(gaps[0], gaps[3])
    with killed_after(2):
        entry.attempt(ppo.main, cut)
    carry_out(cut)
    assert same_weights(whole, cut) and lines(whole) == lines(cut)


def test_a_part_is_drawn_again_where_its_actor_dies_or_names_another_version(tmp_path, model, monkeypatch):
    def misname(actor, request):
        request["ticket"]["version"] = "0" * 64

    Threads(monkeypatch)
    whole = carry_out(make_run(tmp_path / "whole", model, actors=1, steps=1))
    threads = Threads(monkeypatch, die, misname)
    cut = carry_out(make_run(tmp_path / "cut", model, actors=1, steps=1))
    assert threads.started == 3 and same_weights(whole, cut)
    assert [line["deaths"] for line in lines(cut)] == [2, 0]
    assert steps_and_rows(whole) == steps_and_rows(cut)


@pytest.mark.usefixtures("frozen_layers_run_again")
def test_an_actor_that_hangs_is_started_again(tmp_path, model, monkeypatch):
    """The clock of the pool goes on while an actor hangs, and stands while one draws."""
    hangs, may_die = threading.Event(), threading.Event()
    clock, original = {"now": 0.0}, actor_pool.wait

    def hang(actor, request):
        hangs.set()
        may_die.wait()
        die(actor, request)

    def wait(connections, seconds):
        if not hangs.is_set():
            return original(connections, 0.02)
        clock["now"] += seconds
        hangs.clear()
        may_die.set()
        return []

    whole = carry_out(make_run(tmp_path / "whole", model, importance_cap=2.0, steps=1))
    monkeypatch.setattr(actor_pool, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
    monkeypatch.setattr(actor_pool, "wait", wait)
    threads = Threads(monkeypatch, hang)
    cut = carry_out(make_run(tmp_path / "cut", model, actors=1, staleness=0, steps=1, rollout_timeout=60))
    assert threads.started == 2 and same_weights(whole, cut) and clock["now"] == 60
    assert [line["deaths"] for line in lines(cut)] == [1, 0]


def test_an_actor_that_dies_each_time_fails_the_run_in_words(tmp_path, model, monkeypatch):
    threads = Threads(monkeypatch, die, die, die)
    run = make_run(tmp_path, model, actors=1, steps=1)
    assert entry.attempt(ppo.main, run) == 1
    assert run.failure()["code"] == "actor_lost" and "actors to 0" in run.failure()["remedy"]
    assert threads.started == 3


def test_what_an_actor_says_went_wrong_is_the_runs_failure(tmp_path, model, monkeypatch):
    def fail(actor, request):
        raise MemoryError

    Threads(monkeypatch, fail)
    run = make_run(tmp_path, model, actors=1, steps=1)
    assert entry.attempt(ppo.main, run) == 1
    assert run.failure()["code"] == "out_of_memory"


def test_what_an_actor_proposes_as_options_is_offered_with_the_failure(tmp_path, model, monkeypatch):
    failure = RecipeFailure("no_room", "It does not fit.", "Lower batch_size.", {"batch_size": 2})

    def fail(actor, request):
        raise failure

    Threads(monkeypatch, fail)
    run = make_run(tmp_path, model, actors=1, steps=1)
    assert entry.attempt(ppo.main, run) == 1
    assert run.failure() == failure.row


def test_weights_of_another_version_are_refused(tmp_path):
    weights = {"a": torch.nn.Parameter(torch.arange(6.0).view(2, 3))}
    handover = write_weights(tmp_path, 1, weights)
    taken = {"a": torch.nn.Parameter(torch.zeros(2, 3))}
    read_weights(handover, taken)
    assert torch.equal(taken["a"], weights["a"])
    write_weights(tmp_path, 1, {"a": weights["a"] + 1})  # under the same name
    with pytest.raises(RecipeFailure, match="holds version"):
        read_weights(handover, taken)
    Path(handover.path).write_bytes(Path(handover.path).read_bytes()[:-4])
    with pytest.raises(RecipeFailure, match="cannot be read"):
        read_weights(handover, taken)


def test_no_more_actors_than_answers():
    with pytest.raises(configs.ConfigError, match="actors: must be at most batch_size, 2"):
        configs.parse("ppo", {"batch_size": 2, "actors": 3})


def test_weights_are_truncated_at_two_with_actors_and_left_out_without():
    caps = [
        configs.parse("ppo", given).weights_cap for given in ({}, {"actors": 1}, {"actors": 1, "importance_cap": 0})
    ]
    assert caps == [0, 2, 0]


@pytest.mark.thorough
def test_every_weight_is_handed_over_too(tmp_path, model, monkeypatch):
    Threads(monkeypatch)
    own = carry_out(make_run(tmp_path / "own", model, adapters="full", importance_cap=2.0))
    apart = carry_out(make_run(tmp_path / "apart", model, adapters="full", actors=1, staleness=0))
    assert same_weights(own, apart)


@pytest.mark.thorough
def test_a_pause_a_step_behind_goes_on_as_if_it_had_not_been(tmp_path, model, monkeypatch):
    Threads(monkeypatch)
    runaway = {**ppo_runs.RUNAWAY, "steps": 5, "learning_rate": 1e-3, "stop_kl": 1e6, "actors": 1}
    free = carry_out(make_run(tmp_path / "free", model, **runaway))
    kl = [step["kl_robust"] for step in metrics(free)]  # rounding of this processor decides how far each step goes
    limit_at = next(step for step in (4, 3, 2) if kl[step] > 1.1 * max(kl[:step]))
    stop_kl = (max(kl[:limit_at]) + kl[limit_at]) / 2
    run = carry_out(make_run(tmp_path / "run", model, **{**runaway, "stop_kl": stop_kl}))
    pause = run.paused()
    assert pause is not None and (pause["step"], pause["kept_step"]) == (limit_at, limit_at - 2)
    kept = [line["drawn_at"] for line in lines(run) if line["step"] == pause["step"] - 1]
    assert [pause["kept_step"]] == kept, "the weights that drew the last answers within bounds"
    choose(run, "on", stop_kl=1e6)
    assert same_weights(run, free) and lines(run) == lines(free)


@pytest.mark.thorough
def test_going_back_has_the_kept_weights_draw(tmp_path, model, monkeypatch):
    Threads(monkeypatch)
    run = carry_out(make_run(tmp_path / "run", model, **{**ppo_runs.RUNAWAY, "steps": 5, "actors": 1}))
    step = run.paused()["step"]
    choose(run, "back", stop_kl=1e6)
    assert [line["drawn_at"] for line in lines(run) if line["step"] == step] == [step]


# --- processes


@pytest.mark.thorough
@pytest.mark.usefixtures("forked_programs")
def test_an_actor_that_is_killed_is_started_again_and_nothing_is_lost(tmp_path, model, monkeypatch):
    with monkeypatch.context() as in_threads:
        Threads(in_threads)
        whole = carry_out(make_run(tmp_path / "whole", model, actors=2, staleness=0, steps=3))
    original = rollout_source.ActorRollouts.episodes
    killed = []

    def kill_and_collect(self, state, step, **given):
        if step in (0, 2):  # one that still loads, and one that has drawn
            killed.append(self.pool.pids[-1])
            os.kill(killed[-1], signal.SIGKILL)
        return original(self, state, step, **given)

    monkeypatch.setattr(rollout_source.ActorRollouts, "episodes", kill_and_collect)
    cut = carry_out(make_run(tmp_path / "cut", model, actors=2, staleness=0, steps=3))
    assert len(set(killed)) == 2 and sum(line["deaths"] for line in lines(cut)) == 2
    assert same_weights(whole, cut)
    rows = steps_and_rows(cut)
    assert len(rows) == len(set(rows)) == 4 * 2


@pytest.mark.thorough
def test_actors_end_with_the_run_and_a_resumed_one_gets_the_same_answers(tmp_path, model, monkeypatch):
    """Ended by SIGTERM, resumed and killed in processes of its own; the rest of it is carried out here."""
    whole, cut = (make_run(tmp_path / name, model, actors=1, steps=12) for name in ("whole", "cut"))
    for number, steps in ((signal.SIGTERM, 2), (signal.SIGKILL, 6)):
        process = start(cut)
        wait_for(lambda: (cut.path / "metrics.jsonl").exists() and len(metrics(cut)) > steps)  # noqa: B023
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 1
        process.send_signal(number)
        assert process.wait(60) == -number
        wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))  # noqa: B023
        assert steps < len(metrics(cut)) < 13, "it was ended before its end"
    Threads(monkeypatch)
    for run in (whole, cut):
        carry_out(run)
    assert same_weights(whole, cut) and lines(whole) == lines(cut)


def start(run: RunDirectory) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with (run.path / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "training.recipes.ppo", str(run.path)], env=environment, stdout=log, stderr=log
        )


def wait_for(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_request_is_plain_json(tmp_path):
    """Nothing that an actor reads is unpickled."""
    from training.recipes.ppo.rollout_actor import request_of
    from training.rl.sampler import Sampling

    handover = write_weights(tmp_path, 0, {"a": torch.ones(1)})
    request = json.loads(request_of({"step": 0}, handover, [[1, 2]], [3], Sampling(4), [5]))
    assert request["prompts"] == [[1, 2]] and request["sampling"]["max_new_tokens"] == 4
