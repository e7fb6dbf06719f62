"""What an endpoint may do to a run that asks it: no hot loop, no false end, no bill that nobody agreed to."""

from __future__ import annotations

import json
import resource

import pytest

from annotate.core.chat_api import asking
from annotate.core.chat_api.refusals import Kind, adapted, kind_of
from tests.recipes.training.common.test_recipe_sample_endpoint import KEY, assert_whole, attempt, cost, make, rows_of
from tests.support.annotate.keyed_api import KeyedApi, Trouble, keyed_api
from training.core import run_secrets
from training.core.run_directory import RunDirectory, read_lines
from training.recipes import sample_endpoint
from training.recipes.common import entry
from training.recipes.common.endpoints.request_ledger import Ledger

QUESTION = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
UNCOUNTED = json.dumps({"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]})


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("annotate.core.chat_api.pace.BACKOFF", 0.01)


def refusal_of(api: KeyedApi) -> asking.Refusal:
    """Return how one question, asked alone, ends."""
    endpoint = asking.Endpoint(api.url, "small", KEY, allowed=("127.0.0.1",))
    with endpoint.client() as client, pytest.raises(asking.Refusal) as refused:
        asking.Asker(endpoint, client, lambda *_: None).ask(dict(QUESTION))
    return refused.value


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0"},
        {"Retry-After": "Sat, 28 Nov 2015 10:00:00 GMT"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "0s"},
    ],
)
def test_a_server_that_names_no_wait_is_asked_later_each_time(monkeypatch, headers):
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.4)
    with keyed_api(key=KEY, every=lambda number: Trouble(429, "slow down", headers)) as api:
        assert refusal_of(api).kind == Kind.THROTTLED
        assert len(api.requests) < 25


def test_ordinary_throttling_that_names_billing_is_no_quota():
    throttled = "Rate limit reached. Add a payment method at https://platform.example/account/billing to raise it."
    assert kind_of(429, throttled) == Kind.THROTTLED
    for said in ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"):
        assert kind_of(429, f'{{"error": {{"code": "{said}"}}}}') == Kind.QUOTA
    assert kind_of(429, "You exceeded your current quota") == Kind.QUOTA
    assert kind_of(400, "The word insufficient_quota stands in the prompt") == Kind.REFUSED


def test_one_moderated_prompt_costs_no_other_its_answer(tmp_path):
    with keyed_api(key=KEY) as api:
        api.every = lambda number: Trouble(403, '{"error": {"message": "no"}}') if number == 4 else None
        run = make(tmp_path, api, 8, concurrency=1)
        assert attempt(run) == 0
        assert len(rows_of(run)) == 7 and run.result()["refused"] == 1


def test_a_moderated_first_prompt_is_told_from_a_wrong_key():
    flagged = '{"error": {"code": 403, "message": "Input was flagged", "metadata": {"reasons": ["violence"]}}}'
    assert kind_of(403, flagged) == Kind.REFUSED and kind_of(403, "Forbidden") == Kind.KEY
    with keyed_api(key=KEY, every=lambda number: Trouble(403, "Forbidden")) as api:
        assert refusal_of(api).of_all


def test_a_key_that_is_blocked_midway_ends_the_run(tmp_path):
    with keyed_api(key=KEY) as api:
        api.every = lambda number: Trouble(403, "Forbidden") if number > 3 else None
        run = make(tmp_path, api, 60, concurrency=1)
        assert attempt(run) == 1 and run.failure()["code"] == "endpoint_key"
        assert len(api.requests) < 20
        api.every = lambda number: None
        assert attempt(run) == 0
        assert_whole(run, api, 60)  # what was refused with the blocked key is asked again


def test_out_of_patience_nobody_hammers(tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.3)
    with keyed_api(key=KEY, every=lambda number: Trouble(429, "slow down", {"Retry-After": "0.1"})) as api:
        run = make(tmp_path, api, 60, concurrency=2)
        assert attempt(run) == 1 and run.failure()["code"] == "endpoint_throttled"
        assert len(api.requests) < 20


def test_an_option_is_left_out_where_it_is_refused_and_not_where_it_is_quoted():
    body = {"temperature": 0.5, "n": 2, "seed": 1}
    quoting = f'{{"error": {{"message": "Prompt rejected by policy. Your request was {json.dumps(body)!r:.200}"}}}}'
    assert adapted(body, quoting.replace('\\"', "'")) is None and adapted(body, json.dumps(body)) is None
    extra = "[{'type': 'extra_forbidden', 'loc': ('body', 'n'), 'msg': 'Extra inputs are not permitted'}]"
    assert adapted(body, extra) == {"temperature": 0.5, "seed": 1}
    named = json.dumps({"error": {"message": "It is wrong here.", "param": "seed"}})
    assert adapted(body, named) == {"temperature": 0.5, "n": 2}
    other = json.dumps({"error": {"message": "Unsupported value in messages; 'temperature'", "param": "messages"}})
    assert adapted({**body, "messages": []}, other) is None


def test_an_option_stays_for_the_others_when_leaving_it_out_did_not_help(tmp_path):
    """One prompt that is refused whatever is left out must not change what all others are asked with."""
    bad = '{"error": {"message": "Unsupported parameter: \'temperature\'."}}'
    with keyed_api(key=KEY) as api:
        api.every = lambda number: Trouble(400, bad) if number in (3, 4) else None
        run = make(tmp_path, api, 8, concurrency=1)
        assert attempt(run) == 0
        assert len(rows_of(run)) == 7 and "not_taken" not in run.result()
        assert all("temperature" in body for body in api.billed)


def test_a_run_ends_at_its_max_cost_with_what_it_has(tmp_path):
    with keyed_api(key=KEY) as api:
        run = make(tmp_path, api, 60, concurrency=4, max_cost=20 * cost(2, 4))
        assert attempt(run) == 0
        result, progress = run.result(), run.current_progress()
        assert 20 <= len(api.billed) <= 24 and len(rows_of(run)) == len(api.billed)
        assert result["completions"] + result["not_asked"] == 60 and "max_cost" in result["how_to_read"]
        assert (progress["step"], progress["total"]) == (result["completions"], 60)


def test_a_max_cost_counts_what_the_attempts_before_have_cost(tmp_path):
    with keyed_api(key=KEY) as api:
        api.every = lambda number: Trouble(401, "{}") if number > 10 else None
        run = make(tmp_path, api, 60, concurrency=1, max_cost=20 * cost(2, 4))
        assert attempt(run) == 1 and len(rows_of(run)) == 10
        api.every = lambda number: None
        assert attempt(run) == 0
        assert 20 <= len(rows_of(run)) == len(api.billed) <= 21


def test_a_max_cost_that_cannot_be_kept_is_refused_before_anything_is_asked(tmp_path):
    with keyed_api(key=KEY) as api:
        run = make(tmp_path, api, 3, told={"prompt_price": None}, max_cost=1.0)
        assert attempt(run) == 1 and run.failure()["code"] == "no_prices" and "prices" in run.failure()["remedy"]
        assert not api.requests


def test_a_max_cost_is_not_kept_blindly_where_the_server_counts_no_tokens(tmp_path):
    with keyed_api(key=KEY) as api:
        api.every = lambda number: Trouble(200, UNCOUNTED)
        run = make(tmp_path, api, 40, concurrency=2, max_cost=1.0)
        assert attempt(run) == 1 and run.failure()["code"] == "endpoint_uncounted"
        assert len(api.requests) < 6


def test_a_key_goes_to_no_other_address_than_its_own(tmp_path, monkeypatch):
    """As if the model's address were changed between the writing of config.json and the opening of its key."""
    with keyed_api(key=KEY) as api:
        run = make(tmp_path, api, 3)
        for address, status in (("https://another.example/v1", 1), (api.url, 0)):
            monkeypatch.setenv(run_secrets.DESCRIPTOR, str(run_secrets.pipe_with({"parent": [address, KEY]})))
            assert entry.attempt(sample_endpoint.main, run) == status
            if status:
                assert run.failure()["code"] == "endpoint_moved" and "resume" in run.failure()["remedy"].lower()
                assert not api.requests
        assert_whole(run, api, 3)


def test_a_request_number_is_used_once_whichever_file_knows_it(tmp_path):
    """A torn requests.jsonl may lack requests whose answers arrived."""
    path = tmp_path / "requests.jsonl"
    path.write_text('{"request": 1, "state": "asked"}\n')
    assert Ledger(path, {2, 7}).requests == 7


def test_one_answer_without_usage_leaves_the_others_their_cost(tmp_path):
    with keyed_api(key=KEY) as api:
        api.every = lambda number: Trouble(200, UNCOUNTED) if number == 2 else None
        run = make(tmp_path, api, 6, concurrency=1)
        assert attempt(run) == 0
    result = run.result()
    assert result["completions"] == 6 and result["uncounted"] == 1
    assert result["cost"] == pytest.approx(5 * cost(2, 4)) and result["tokens_mean"] == 4
    assert (result["prompt_tokens"], result["completion_tokens"]) == (10, 20) and "uncounted" in result["how_to_read"]


def test_without_any_usage_nothing_is_said_of_tokens(tmp_path):
    with keyed_api(key=KEY, every=lambda number: Trouble(200, UNCOUNTED)) as api:
        run = make(tmp_path, api, 2)
        assert attempt(run) == 0
    result = run.result()
    assert result["cost"] is result["prompt_tokens"] is result["tokens_mean"] is None and result["uncounted"] == 2


@pytest.mark.parametrize(
    "body",
    [
        '{"choices": ' + "[" * 100_000,
        '{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"logprob": 1' + "0" * 400 + "}]}}]}",
    ],
)
def test_what_no_reader_takes_is_no_answer(body):
    with keyed_api(key=KEY, every=lambda number: Trouble(200, body)) as api:
        assert refusal_of(api).kind == Kind.PROTOCOL


def test_half_a_surrogate_pair_is_kept_out_of_the_files(tmp_path):
    half = '{"choices": [{"message": {"content": "\\ud800", "reasoning": "\\ud800"}, "finish_reason": "\\ud800"}]}'
    with keyed_api(key=KEY, every=lambda number: Trouble(200, half)) as api:
        run = make(tmp_path, api, 1)
        assert attempt(run) == 0
    assert rows_of(run)[0]["text"] == "?"


def test_a_full_disk_leaves_the_lines_before_readable(tmp_path):
    run = RunDirectory(tmp_path)
    run.log_completions({"prompt_id": 1, "text": "kept"})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "completions.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))  # half a line more has room
    try:
        with pytest.raises(OSError):
            run.log_completions({"prompt_id": 2, "text": "no room " * 5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run.log_completions({"prompt_id": 3, "text": "kept, too"})
    rows = list(read_lines(tmp_path / "completions.jsonl"))
    assert [(row["sequence"], row["prompt_id"]) for row in rows] == [(1, 1), (2, 3)]
