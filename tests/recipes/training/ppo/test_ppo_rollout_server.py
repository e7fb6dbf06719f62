"""PPO with rollouts from a server on another host."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from safetensors.torch import save

from tests.support import tiny_model
from tests.support.training import ppo_runs, sharded_runs
from tests.support.training.ppo_runs import carry_out, metrics, same_weights
from tests.support.training.rollout_servers import serve as serve
from tests.support.training.thread_actors import lines
from training import configs
from training.core.run_directory import RunDirectory
from training.recipes.common import entry
from training.recipes.ppo import __main__ as ppo
from training.recipes.ppo import server_pool

SHORT = {"reward_function": "tests.support.training.ppo_runs.share_of_vowels", "steps": 1, "sample_prompts": 0}


def make_run(path: Path, model: Path, **config) -> RunDirectory:
    return ppo_runs.make_run(path, model, **{**SHORT, **config})


def fail(run: RunDirectory) -> dict[str, str]:
    assert entry.attempt(ppo.main, run) == 1
    return run.failure()


async def break_down(request: Request) -> Response:
    return Response(status_code=500)


async def send_garbage(request: Request) -> Response:
    return Response(b"<html>Sign in</html>")


async def forget_weights(request: Request) -> Response:
    """As a server does whose file was cut: it refuses to draw by it."""
    failure = {"code": "weights_refused", "message": "The file holds another version.", "remedy": "Resume."}
    return JSONResponse({"failure": failure}, 422)


async def hang(request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.usefixtures("frozen_layers_run_again")
def test_a_server_draws_what_the_learner_would_have_drawn(tmp_path, model, serve, monkeypatch):
    """With its key; answers that are none, and weights that it refuses, are asked for again."""
    own = carry_out(make_run(tmp_path / "own", model, importance_cap=2.0, steps=2))
    server = serve(break_down, forget_weights, key="a-key")
    monkeypatch.setenv("ASSAY_ROLLOUT_KEY", "a-key")
    run = make_run(tmp_path / "apart", model, rollout_server=server.url, staleness=0, steps=2)
    assert fail(run)["code"] == "rollout_server_key", "a key goes to its own address alone"
    monkeypatch.setenv("ASSAY_ROLLOUT_URL", server.url)
    carry_out(run)
    assert same_weights(own, run)
    assert [line["deaths"] for line in lines(run)] == [2, 0, 0]
    assert len({line["version"] for line in lines(run)}) == 3
    assert all("sampler_gap" in m and m["truncated_share"] == 0 for m in metrics(run))
    assert not (run.path / "rollouts").exists()


def test_a_server_a_step_behind_is_corrected_and_logged(tmp_path, model, serve):
    run = carry_out(make_run(tmp_path / "run", model, rollout_server=serve().url, steps=3))
    assert [line["drawn_at"] for line in lines(run)] == [0, 0, 1, 3]
    assert [m["staleness"] for m in metrics(run)] == [0, 1, 1, 0]
    gaps = [m["sampler_gap"] for m in metrics(run)]
    assert min(gaps[1:3]) > 3 * max(gaps[0], gaps[3])


@pytest.mark.parametrize("fault", [hang, break_down, send_garbage])
def test_a_server_that_gives_no_answers_fails_the_run_or_the_learner_draws(tmp_path, model, serve, monkeypatch, fault):
    monkeypatch.setattr(server_pool, "TRIES", 1)
    options = {"rollout_server": serve(fault, fault).url, "rollout_timeout": 2 if fault is hang else 600}
    failure = fail(make_run(tmp_path / "failed", model, **options))
    assert failure["code"] == "rollout_server_lost" and "rollout_server_lost local" in failure["remedy"]
    run = carry_out(make_run(tmp_path / "run", model, **options, rollout_server_lost="local"))
    assert lines(run)[0]["actor"] == "learner" and metrics(run)[0]["staleness"] == 0


def test_a_server_with_another_model_is_refused(tmp_path, model, serve):
    other = tiny_model.make(tmp_path / "other", seed=5)
    failure = fail(make_run(tmp_path / "run", model, rollout_server=serve(of=other).url))
    assert failure["code"] == "rollout_server_model" and "folder of the run's parent" in failure["remedy"]


def test_an_address_that_only_this_network_reaches_is_not_asked(tmp_path, model, serve, monkeypatch):
    server = serve()
    monkeypatch.delenv("ASSAY_PRIVATE_ENDPOINTS")
    assert fail(make_run(tmp_path / "run", model, rollout_server=server.url))["code"] == "rollout_server_refused"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", torch.full((2, 3), 999)),
        ("tokens", torch.zeros(2, 3)),
        ("lengths", torch.tensor([0, 3])),
        ("logprobs", torch.full((2, 3), float("nan"))),
        ("finished", torch.zeros(3, dtype=torch.bool)),
    ],
)
def test_numbers_that_no_sampler_gives_are_no_answers(name: str, value: torch.Tensor):
    right = {
        "tokens": torch.ones(2, 3, dtype=torch.long), "lengths": torch.tensor([1, 3]),
        "finished": torch.zeros(2, dtype=torch.bool), "logprobs": torch.full((2, 3), -1.0),
    }  # fmt: skip
    assert len(server_pool.completions_of(save(right), 2, 3, 50).tokens) == 2
    with pytest.raises(server_pool.NoAnswer):
        server_pool.completions_of(save(right | {name: value}), 2, 3, 50)


@pytest.mark.parametrize("url", ["gpu-2:8010", "http://name:word@gpu-2:8010", "ftp://gpu-2", "http://[", "http://"])
def test_what_is_no_address_is_refused_with_the_fields_name(url: str):
    with pytest.raises(configs.ConfigError) as refused:
        configs.parse("ppo", {"rollout_server": url})
    assert list(refused.value.errors) == ["rollout_server"]


def test_actors_and_a_server_are_not_both_asked():
    with pytest.raises(configs.ConfigError, match="rollout_server: draws all answers"):
        configs.parse("ppo", {"rollout_server": "http://gpu-2:8010", "actors": 1})
    assert configs.parse("ppo", {"rollout_server": "http://gpu-2:8010"}).weights_cap == 2


@pytest.mark.thorough
@pytest.mark.slow
def test_two_processes_with_shares_learn_from_answers_of_a_server_or_an_actor(tmp_path, model, serve, monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    options = {"importance_cap": 2.0, "review_every": 0, "adapters": "lora"}
    one = sharded_runs.lay_ppo(tmp_path / "one", model, **options)
    shared = {**options, "processes": 2, "sharding": "full", "staleness": 0}
    served = sharded_runs.lay_ppo(tmp_path / "served", model, **shared, rollout_server=serve().url)
    acted = sharded_runs.lay_ppo(tmp_path / "acted", model, **shared, actors=1)
    for run, count in ((one, 1), (served, 2), (acted, 2)):
        assert sharded_runs.carry_out(run, "training.recipes.ppo", count) == 0, (run.path / "log.txt").read_text()[
            -3000:
        ]
    for two in (served, acted):
        for name in sharded_runs.PPO_FIGURES:
            expected = pytest.approx(sharded_runs.curve(one, name), rel=1e-4, abs=1e-5)
            assert sharded_runs.curve(two, name) == expected, (two, name)
        assert len({line["version"] for line in lines(two)}) == 3
