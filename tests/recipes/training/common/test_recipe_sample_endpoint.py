"""Completions in bulk from somebody's API: every answer once, the bill right, whatever the server does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from annotate.core.chat_api import asking
from annotate.core.chat_api.pace import Pace, _duration, backoff
from annotate.core.chat_api.refusals import Kind, adapted, kind_of
from tests.support.annotate.keyed_api import KeyedApi, Trouble, keyed_api, throttle
from training.core import run_secrets
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes import sample_endpoint
from training.recipes.common import entry

KEY = "sk-secret-of-a-laboratory"
PRICES = {"prompt_price": "2.5", "completion_price": "10"}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("annotate.core.chat_api.pace.BACKOFF", 0.01)


def make(
    path: Path, api: KeyedApi, n: int = 3, *, concurrency: int = 8, told: Any = None, **config: Any
) -> RunDirectory:
    run = RunDirectory(path)
    prompts = [{"id": 100 + i, "messages": [{"role": "user", "content": f"question {i}"}]} for i in range(n)]
    endpoint = {"name": "theirs", "url": api.url, "model": "small", "concurrency": concurrency,
                "allowed": ["127.0.0.1"], **PRICES, **(told or {})}  # fmt: skip
    spec = RunSpec("sample", {"completions_per_prompt": 1, **config}, seed=5, endpoints={"parent": endpoint})
    run.create(spec, {"prompts": iter(prompts)})
    return run


def attempt(run: RunDirectory, key: str = KEY) -> int:
    os.environ[run_secrets.BY_HAND] = key
    return entry.attempt(sample_endpoint.main, run)


def rows_of(run: RunDirectory) -> list[dict[str, Any]]:
    return sorted(read_lines(run.path / "completions.jsonl"), key=lambda row: (row["prompt_id"], row["index"]))


def cost(prompt_tokens: int, completion_tokens: int) -> float:
    return (2.5 * prompt_tokens + 10 * completion_tokens) / 1e6


def assert_whole(run: RunDirectory, api: KeyedApi, n: int, each: int = 1) -> None:
    rows = rows_of(run)
    assert [(r["prompt_id"], r["index"]) for r in rows] == [(100 + p, i) for p in range(n) for i in range(each)]
    assert all(r["text"] == f"Answer to question {r['prompt_id'] - 100}" for r in rows)
    assert run.result()["completions"] == n * each


def assert_secret(folder: Path, key: str = KEY) -> None:
    for path in folder.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path


def test_every_prompt_is_answered_once_and_billed(tmp_path):
    with keyed_api(key=KEY, reasoning="Hmm.", seconds=0.005) as api:
        run = make(tmp_path, api, 200, max_new_tokens=99, temperature=0.5, top_p=0.9)
        began = time.monotonic()
        assert attempt(run) == 0
        assert time.monotonic() - began < 20
        assert_whole(run, api, 200)
        assert 2 <= api.most_at_once <= 8
    row, result = rows_of(run)[0], run.result()
    assert row["reasoning"] == "Hmm." and row["finish_reason"] == "stop"
    assert row["sampling"] == {"max_new_tokens": 99, "temperature": 0.5, "top_p": 0.9}
    assert (row["prompt_tokens"], row["tokens"]) == (2, 4) and float(row["cost"]) == cost(2, 4)
    assert (result["prompt_tokens"], result["completion_tokens"]) == api.bill == (400, 800)
    assert result["cost"] == pytest.approx(cost(400, 800)) and result["requests"] == 200
    assert result["may_be_billed"] == 0 and run.current_progress()["step"] == 200
    assert_secret(tmp_path)


def test_a_server_in_trouble_is_asked_until_every_answer_is_there(tmp_path, capfd):
    def every(number: int) -> Trouble | None:
        if number % 7 == 3:
            return throttle("0.02")
        if number % 11 == 5:
            return Trouble(cut=True)
        if number % 13 == 6:
            return Trouble(500)
        return Trouble(drip_seconds=0.05) if number % 17 == 8 else None

    with keyed_api(key=KEY, every=every) as api:
        run = make(tmp_path, api, 120)
        assert attempt(run) == 0
        assert_whole(run, api, 120)
        result, cut = run.result(), len(api.billed) - 120
    assert (result["prompt_tokens"], result["completion_tokens"]) == (240, 480)
    assert result["throttled"] > 10 and result["requests"] == len(api.requests)
    assert result["may_be_billed"] == cut > 3  # answers that were cut off: the provider may bill them
    assert KEY not in "".join(capfd.readouterr())


def test_a_time_out_is_asked_again(tmp_path):
    with keyed_api(key=KEY) as api:
        api.trouble.append(Trouble(hang_seconds=3))
        run = make(tmp_path, api, 2, request_timeout=1)
        assert attempt(run) == 0
        assert_whole(run, api, 2)
        assert run.result()["may_be_billed"] == 1


def test_an_answer_that_drips_for_ever_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(asking.Endpoint, "longest", 0.2)
    with keyed_api(key=KEY) as api:
        endpoint = asking.Endpoint(api.url, "small", KEY, allowed=("127.0.0.1",), longest=0.2)
        api.every = lambda number: Trouble(drip_seconds=0.5)
        notes: list[str] = []
        with endpoint.client() as client:
            asker = asking.Asker(endpoint, client, lambda _, state: notes.append(str(state)))
            with pytest.raises(asking.Refusal) as refused:
                asker.ask({"messages": [{"role": "user", "content": "x"}], "max_tokens": 5})
    assert refused.value.kind == Kind.TIME_OUT and notes.count("time-out") == asking.TRIES


def test_nobody_asks_before_the_time_that_the_server_names(tmp_path):
    with keyed_api(key=KEY) as api:
        api.trouble.append(throttle("0.6"))
        run = make(tmp_path, api, 6, concurrency=2)
        began = time.monotonic()
        assert attempt(run) == 0
        assert time.monotonic() - began > 0.55
        assert len(api.requests) <= 6 + 2


def test_what_is_left_is_known_before_it_is_used_up():
    pace = Pace()
    assert not pace.hear({"x-ratelimit-remaining-requests": "3"}, is_throttled=False) and pace._left() <= 0
    used_up = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}
    assert pace.hear(used_up, is_throttled=False) and 350 < pace._left() < 361
    assert _duration("1h2m3.5s") == 3723.5 and _duration("20ms") == 0.02 and _duration("soon") is None
    assert Pace().hear({"retry-after": "Sat, 28 Nov 2043 10:00:00 GMT"}, is_throttled=True)
    assert 0.005 <= backoff(1) <= 0.5


def test_what_arrived_is_not_asked_again(tmp_path):
    with keyed_api(key=KEY) as api:
        api.every = lambda number: None if number <= 5 else Trouble(401, '{"error": "the key has run out"}')
        run = make(tmp_path, api, 12, concurrency=2)
        assert attempt(run) == 1
        assert run.failure()["code"] == "endpoint_key" and "resume" in run.failure()["remedy"]
        assert len(rows_of(run)) == 5
        api.every = lambda number: None
        assert attempt(run) == 0
        assert_whole(run, api, 12)
        assert len(api.billed) == 12 and run.result()["completion_tokens"] == 48


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": "wrong"}, "endpoint_key"),
        ({"told": {"model": "unknown"}}, "endpoint_name"),
        ({"told": {"url": "http://127.0.0.1:9/v1"}}, "endpoint_address"),
        ({"told": {"allowed": []}}, "endpoint_private"),
        ({"is_secure": True}, "endpoint_tls"),
        ({"context": 3}, "endpoint_context"),
        ({"trouble": Trouble(429, '{"error": {"code": "insufficient_quota"}}')}, "endpoint_quota"),
        ({"trouble": Trouble(200, "<html>Welcome</html>")}, "endpoint_protocol"),
    ],
)
def test_what_cannot_be_asked_fails_in_words(tmp_path, monkeypatch, change, code):
    monkeypatch.setattr(asking, "TRIES", 2)
    with keyed_api(key=KEY) as api:
        api.context = change.get("context", api.context)
        api.every = lambda number: change.get("trouble")
        if "is_secure" in change:  # the stub speaks plain HTTP
            api.url = api.url.replace("http:", "https:")
        run = make(tmp_path, api, 12, told=change.get("told", {}))
        assert attempt(run, change.get("key", KEY)) == 1
        assert (run.failure()["code"] == code and "page" in run.failure()["remedy"]) or code in (
            "endpoint_quota", "endpoint_context", "endpoint_private",
        )  # fmt: skip
        assert not api.billed


def test_what_an_attempt_before_was_refused_does_not_slow_the_next(tmp_path):
    with keyed_api(key=KEY) as api:
        run = make(tmp_path, api, 4)
        (run.path / "refused.jsonl").write_text(json.dumps({"prompt_id": 100, "index": 0, "kind": "context"}) + "\n")
        assert attempt(run) == 0
    result = run.result()
    assert result["completions_per_second"] * result["seconds"] == pytest.approx(3)


def test_one_prompt_that_is_refused_costs_no_other_its_answer(tmp_path):
    with keyed_api(key=KEY, context=12) as api:  # "question 10" and later are shorter than that no more
        api.context = 10
        run = make(tmp_path, api, 11)
        assert attempt(run) == 0
        assert run.result()["completions"] == 10 and run.result()["refused"] == 1
        asked = len(api.requests)
        (run.path / "result.json").unlink()
        assert attempt(run) == 0
        assert len(api.requests) == asked  # nor is it asked again


def test_several_completions_come_of_one_request_where_the_server_gives_them(tmp_path):
    with keyed_api(key=KEY) as api:
        run = make(tmp_path, api, 5, completions_per_prompt=4)
        assert attempt(run) == 0
        assert_whole(run, api, 5, 4)
        assert len(api.requests) == 5 and {body["n"] for body in api.requests} == {4}
        assert (run.result()["prompt_tokens"], run.result()["completion_tokens"]) == api.bill == (10, 80)
    assert sum(float(row["cost"]) for row in rows_of(run)) == pytest.approx(run.result()["cost"])


@pytest.mark.parametrize("how", [{"gives_n": False}, {"refuses": ("n",)}])
def test_one_at_a_time_where_it_does_not(tmp_path, how):
    with keyed_api(key=KEY, **how) as api:
        run = make(tmp_path, api, 5, completions_per_prompt=4)
        assert attempt(run) == 0
        assert_whole(run, api, 5, 4)
        assert (run.result()["prompt_tokens"], run.result()["completion_tokens"]) == api.bill == (40, 80)


def test_logprobs_are_kept_where_they_are_offered(tmp_path):
    with keyed_api(key=KEY) as api:
        run = make(tmp_path / "1", api, 2, logprobs=True)
        assert attempt(run) == 0
        assert rows_of(run)[0]["logprobs"] == [-0.5] * 4 and run.result()["logprob_mean"] == -0.5
        api.refuses = ("logprobs",)
        run = make(tmp_path / "2", api, 2, logprobs=True)
        assert attempt(run) == 0
        assert "logprobs" not in rows_of(run)[0] and run.result()["not_taken"] == "logprobs"


def test_options_that_a_server_does_not_take_are_kept_from_the_record(tmp_path):
    with keyed_api(key=KEY, refuses=("max_tokens", "temperature", "seed")) as api:
        run = make(tmp_path, api, 4, max_new_tokens=7, told={"template_options": {"enable_thinking": False}})
        assert attempt(run) == 0
    row = rows_of(run)[0]
    assert row["sampling"] == {"top_p": 0.95, "max_new_tokens": 7, "template_options": {"enable_thinking": False}}
    assert row["seed"] is None and run.result()["not_taken"] == "seed, temperature"
    assert api.billed[0]["chat_template_kwargs"] == {"enable_thinking": False}


def test_refusals_are_told_apart():
    assert kind_of(404, '{"error": {"message": "The model `x` does not exist"}}') == Kind.NAME
    assert kind_of(404, "<html>nginx</html>") == Kind.ADDRESS
    assert kind_of(400, "This model's maximum context length is 4096 tokens") == Kind.CONTEXT
    assert kind_of(400, '{"error": {"message": "Conversation roles must alternate user/assistant"}}') == Kind.TEMPLATE
    assert kind_of(429, "slow down") == Kind.THROTTLED and kind_of(402, "pay") == Kind.QUOTA
    assert adapted({"max_tokens": 1}, "use 'max_completion_tokens'") == {"max_completion_tokens": 1}
    assert adapted({"temperature": 1, "n": 2}, "nothing here") is None


def test_an_answer_is_written_before_anything_else_happens_to_it(tmp_path, monkeypatch):
    """As if the process were killed when it hears of its first answers."""

    def killed(self, *_):
        raise KeyboardInterrupt

    with keyed_api(key=KEY) as api:
        run = make(tmp_path, api, 4, concurrency=4)
        with monkeypatch.context() as once:
            once.setattr(sample_endpoint._Job, "_take", killed)
            with pytest.raises(KeyboardInterrupt):
                attempt(run)
        assert len(rows_of(run)) == len(api.billed) >= 1
        assert attempt(run) == 0
        assert_whole(run, api, 4)
        assert len(api.billed) == 4 and run.result()["may_be_billed"] == 0


def kill_within(process: subprocess.Popen[bytes], api: KeyedApi, answers: int) -> None:
    until = time.monotonic() + 60
    while len(api.billed) < answers:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.wait()


def killed_and_resumed(tmp_path: Path, n: int, at: list[int], concurrency: int, **api_options: Any) -> None:
    """As a worker starts it: the key by a pipe; killed with signal 9 when it had so many answers, and begun again."""
    with keyed_api(key=KEY, **api_options) as api:
        run = make(tmp_path, api, n, concurrency=concurrency)

        def start() -> subprocess.Popen[bytes]:
            pipe = run_secrets.pipe_with({"parent": (api.url, KEY)})
            log = (tmp_path / "log.txt").open("ab")
            process = subprocess.Popen(
                [sys.executable, "-m", "training.recipes.sample_endpoint", str(run.path)],
                env={**os.environ, run_secrets.DESCRIPTOR: str(pipe)}, pass_fds=[pipe], stdout=log, stderr=log,
            )  # fmt: skip
            os.close(pipe)
            return process

        for kills, answers in enumerate(at, 1):
            kill_within(start(), api, answers)
            kept = len(rows_of(run))
            assert kept >= answers - 2 * concurrency * kills  # nothing but what was under way at each of them
        assert start().wait(300) == 0, (tmp_path / "log.txt").read_text()[-2000:]
        assert_whole(run, api, n)
        result, surplus = run.result(), len(api.billed) - n
        lost_at_most = len(at) * concurrency
    assert (result["prompt_tokens"], result["completion_tokens"]) == (2 * n, 4 * n)
    assert result["cost"] == pytest.approx(cost(2 * n, 4 * n))
    assert 0 <= surplus <= result["may_be_billed"]  # what was paid without an answer is counted
    if not api_options:
        assert result["may_be_billed"] <= lost_at_most
    assert_secret(tmp_path)


def test_killed_in_the_middle_it_loses_nothing_that_was_paid(tmp_path):
    killed_and_resumed(tmp_path, 200, [60, 140], 4, seconds=0.02)


@pytest.mark.thorough
def test_two_thousand_prompts_from_a_server_in_trouble_and_a_kill(tmp_path):
    def every(number: int) -> Trouble | None:
        if number % 29 == 3:
            return throttle("0.05")
        if number % 101 == 5:
            return Trouble(cut=True)
        if number % 97 == 6:
            return Trouble(500)
        if number % 499 == 6:
            return Trouble(hang_seconds=1)
        return Trouble(drip_seconds=0.05) if number % 61 == 8 else None

    killed_and_resumed(tmp_path, 2000, [700, 1400], 16, every=every, reasoning="Hmm.", seconds=0.005)


def test_a_key_comes_by_the_pipe_once(monkeypatch):
    pipe = run_secrets.pipe_with({"parent": ("http://x/v1", KEY)})
    monkeypatch.setenv(run_secrets.DESCRIPTOR, str(pipe))
    assert [run_secrets.key_for("parent", "http://x/v1") for _ in range(2)] == [KEY, ""]
    with pytest.raises(ValueError, match="at most"):
        run_secrets.pipe_with({"parent": ("", "x" * 70_000)})


def test_the_key_has_no_representation():
    assert KEY not in repr(asking.Endpoint("http://x/v1", "small", KEY)) and json.dumps({"a": 1})
