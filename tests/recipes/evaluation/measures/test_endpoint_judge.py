"""A judge model behind an endpoint: what its words mean, and what happens when it does not answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time

import pytest

from common.judging.verdicts import verdict_of
from evaluation.recipes.judging import endpoint_judge
from evaluation.recipes.judging.endpoint_judge import Ask, ask_all
from evaluation.recipes.judging.judge_access import Endpoint, checked_url, key_from
from tests.support.evaluation.judge_server import judge_server
from training.core.run_directory import RecipeFailure, read_lines

HELLO = [{"role": "user", "content": "Say hello."}]


def likes_kind(shown: str) -> str:
    """Whatever the order, it prefers the answer with a smiling word; else it has no preference."""
    answers = dict(re.findall(r"<answer ([AB])>\n(.*?)\n</answer", shown, re.DOTALL))
    kind = [name for name in "AB" if "kind" in answers[name]]
    return f"Both greet.\n[[{kind[0] if len(kind) == 1 else 'C'}]]"


def asks(n: int = 3) -> list[Ask]:
    return [Ask(str(i), HELLO, f"kind hello {i}" if i % 2 else f"hello {i}", f"hello, {i}") for i in range(n)]


def ask(judge, questions, path, **options):
    seen: list[tuple[int, int]] = []
    rows = ask_all(Endpoint(judge.url, "judge-1", **options), questions, path, lambda *at: seen.append(at))
    return rows, seen


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(endpoint_judge, "BACKOFF", 0.01)


@pytest.mark.parametrize("reply, meant", [
    ("A is warmer.\n[[A]]", "first"),
    ("[[A]] at first sight, but B is true.\n\n[[B]]", "second"),
    ("Equal. [[C]]", "tie"),
    ("[[tie]]", "tie"),
    ("[[A>>B]]", "first"),
    ("My final verdict is: [[B > A]]", "second"),
    ("[[A<B]]", "second"),
    ("[[A=B]]", "tie"),
    ("[[A>A]]", None),
    ("<think>[[A]] perhaps</think>\n[[B]]", "second"),
    ("<think>cut off in the middle of [[A]]", None),
    ('{"reason": "clear", "winner": "B"}', "second"),
    ('```json\n{"verdict": "Answer A"}\n```', "first"),
    ("B does what was asked.\n\n**Verdict: B**", "second"),
    ("Answer A is better", "first"),
    ("A", "first"),
    ("Tie.", "tie"),
    ("A good answer names both sides.", None),
    ("Answer A names two and answer B three", None),
    ("", None),
])  # fmt: skip
def test_the_last_verdict_of_a_reply_is_what_it_means(reply, meant):
    assert verdict_of(reply) == meant


def test_each_question_is_asked_once_with_the_rubric_and_told_with_its_progress(tmp_path):
    with judge_server(likes_kind) as judge:
        said, seen = ask(judge, asks(5), tmp_path / "verdicts.jsonl")
    assert [said[str(i)]["verdict"] for i in range(5)] == ["tie", "first", "tie", "first", "tie"]
    assert seen[0] == (0, 5) and seen[-1] == (5, 5)
    assert set(judge.paths) == {"/v1/chat/completions"}
    body = judge.requests[0]
    assert (body["model"], body["temperature"]) == ("judge-1", 0)
    assert body["messages"][0]["content"] == endpoint_judge.SYSTEM
    assert len(judge.requests) == len(list(read_lines(tmp_path / "verdicts.jsonl"))) == 5


def test_the_rubrics_words_belong_to_its_version():
    """A change of either must change the other: a figure's signature names the version alone."""
    import hashlib

    shown = Ask("1", HELLO, "one", " ").messages
    digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
    assert (endpoint_judge.RUBRIC, digest) == ("assay-pair-1", "c378753a57e2a1c9")


def test_what_has_been_said_is_not_asked_again_and_a_torn_line_is(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    said_before = [{"key": "0", "verdict": "second", "reply": "[[B]]"}, {"key": "1", "verdict": None, "reply": "?"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in said_before) + '{"key": "2", "ver')
    with judge_server(likes_kind) as judge:
        said, seen = ask(judge, asks(3), path)
    assert said["0"]["verdict"] == "second", "kept, though it would now be a tie"
    assert (said["1"]["verdict"], said["2"]["verdict"]) == ("first", "tie")
    assert len(judge.requests) == 2 and seen[0] == (1, 3)
    assert all(line.startswith("{") for line in path.read_text().splitlines())


def test_a_killed_run_keeps_every_verdict_that_came(tmp_path):
    """kill -9 of a real process in the middle: what stands in the file is all that the judge has answered, but one."""
    path = tmp_path / "verdicts.jsonl"
    script = (
        "import sys; from pathlib import Path\n"
        "from evaluation.recipes.judging.endpoint_judge import Ask, ask_all\n"
        "from evaluation.recipes.judging.judge_access import Endpoint\n"
        "asks = [Ask(str(i), [{'role': 'user', 'content': 'x'}], 'a', 'b') for i in range(400)]\n"
        "ask_all(Endpoint(sys.argv[1], 'm', at_once=1), asks, Path(sys.argv[2]), lambda *at: None)\n"
    )
    with judge_server(likes_kind) as judge:
        child = subprocess.Popen([sys.executable, "-c", script, judge.url, str(path)])
        deadline = time.monotonic() + 30
        while len(judge.requests) < 20 and time.monotonic() < deadline:
            time.sleep(0.005)
        child.kill()
        child.wait()
        asked = len(judge.requests)
        kept = len(list(read_lines(path)))
        assert 18 <= asked - 2 <= kept <= asked < 400
        said, _ = ask(judge, [Ask(str(i), HELLO, "a", "b") for i in range(asked + 3)], path)
    assert len(judge.requests) == asked + (asked + 3 - kept)
    assert all(row["verdict"] == "tie" for row in said.values())


@pytest.mark.parametrize("status, headers", [(503, {}), (429, {"Retry-After": "0.05"}), (500, {}), (408, {})])
def test_a_judge_that_is_busy_is_asked_again(tmp_path, status, headers):
    with judge_server(likes_kind) as judge:
        judge.trouble += [(status, headers, "busy")] * 3
        said, _ = ask(judge, asks(2), tmp_path / "verdicts.jsonl", at_once=1)
    assert [row["verdict"] for row in said.values()] == ["tie", "first"]
    assert len(judge.requests) == 5


def test_nobody_asks_before_the_time_that_the_server_named(tmp_path):
    with judge_server(likes_kind) as judge:
        judge.trouble.append((429, {"Retry-After": "0.4"}, "slowly"))
        begun = time.monotonic()
        ask(judge, asks(4), tmp_path / "verdicts.jsonl", at_once=1)
        assert time.monotonic() - begun >= 0.4


def test_a_judge_that_stays_away_ends_the_run_in_words_and_keeps_what_was_said(tmp_path, capfd):
    path = tmp_path / "verdicts.jsonl"
    with judge_server(likes_kind) as judge:
        ask(judge, asks(2), path)
        judge.trouble += [(503, {}, "down for the night")] * 50
        with pytest.raises(RecipeFailure) as caught:
            ask(judge, asks(9), path, at_once=2)
    assert caught.value.code == "judge_unreachable"
    assert "HTTP 503" in caught.value.message and "resume" in caught.value.remedy
    assert "down for the night" not in caught.value.message and "down for the night" in capfd.readouterr().err
    assert len(list(read_lines(path))) == 2
    with pytest.raises(RecipeFailure) as gone:  # the server has ended
        ask(judge, asks(3), path)
    assert gone.value.code == "judge_unreachable" and "ConnectError" in gone.value.message


def test_verdicts_that_were_under_way_when_another_failed_are_kept(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    slow = threading.Event()

    def opinion(shown: str) -> str:
        slow.wait(0.3)
        return "[[A]]"

    with judge_server(opinion) as judge:
        judge.trouble.append((401, {}, "no"))
        with pytest.raises(RecipeFailure, match="does not accept the key"):
            ask(judge, asks(8), path, at_once=4)
    assert 1 <= len(list(read_lines(path))) <= 3
    assert len(judge.requests) <= 4, "nothing was begun after the failure"


@pytest.mark.parametrize("status, body, code", [
    (401, "no", "judge_refuses"),
    (403, "no", "judge_refuses"),
    (404, "no such model", "judge_unknown"),
    (307, "", "judge_unknown"),
    (200, "<html>hello</html>", "judge_not_understood"),
    (200, '{"choices": []}', "judge_not_understood"),
    (200, '["x"]', "judge_not_understood"),
])  # fmt: skip
def test_what_will_not_change_by_asking_again_ends_the_run_at_once(tmp_path, status, body, code):
    with judge_server(likes_kind) as judge:
        judge.trouble += [(status, {}, body)] * 9
        with pytest.raises(RecipeFailure) as caught:
            ask(judge, asks(1), tmp_path / "verdicts.jsonl")
    assert caught.value.code == code
    assert len(judge.requests) == 1


def test_one_question_that_is_too_long_has_no_verdict_and_the_others_have_theirs(tmp_path, capfd):
    with judge_server(likes_kind) as judge:
        judge.trouble.append((400, {}, "the prompt is too long"))
        said, _ = ask(judge, asks(4), tmp_path / "verdicts.jsonl", at_once=1)
    assert said["0"]["verdict"] is None and said["0"]["reply"] == "HTTP 400"
    assert "too long" in capfd.readouterr().err
    assert said["1"]["verdict"] == "first"


def test_half_a_character_in_a_reply_is_replaced(tmp_path):
    with judge_server(lambda shown: "Warm \ud83d\n[[A]]") as judge:
        said, _ = ask(judge, asks(1), tmp_path / "verdicts.jsonl")
    assert (said["0"]["verdict"], said["0"]["reply"]) == ("first", "Warm ?\n[[A]]")


def test_a_judge_that_never_says_a_verdict_is_given_up_early(tmp_path, capfd):
    with judge_server(lambda shown: "They are both lovely.") as judge, pytest.raises(RecipeFailure) as caught:
        ask(judge, asks(50), tmp_path / "verdicts.jsonl", at_once=1)
    assert caught.value.code == "judge_unreadable" and "lovely" not in caught.value.message
    assert "lovely" in capfd.readouterr().err
    assert len(judge.requests) == endpoint_judge.GIVE_UP_AFTER


def test_a_server_with_other_names_for_its_options_is_asked_in_its_own(tmp_path):
    with judge_server(likes_kind) as judge:
        judge.refuses = ("max_tokens", "temperature")
        said, _ = ask(judge, asks(3), tmp_path / "verdicts.jsonl", at_once=1)
    assert said["1"]["verdict"] == "first"
    assert "max_completion_tokens" in judge.requests[-1] and "temperature" not in judge.requests[-1]
    assert len(judge.requests) == 5


def test_no_more_is_asked_at_once_or_in_a_minute_than_was_allowed(tmp_path):
    def opinion(shown: str) -> str:
        time.sleep(0.03)
        return "[[A]]"

    with judge_server(opinion) as judge:
        begun = time.monotonic()
        ask(judge, asks(12), tmp_path / "verdicts.jsonl", at_once=3, per_minute=1200)
        assert judge.most_at_once <= 3
        assert time.monotonic() - begun >= 11 * 60 / 1200


def test_a_silent_server_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint_judge, "TRIES", 2)
    hold = threading.Event()
    with judge_server(lambda shown: (hold.wait(5) and "") or "[[A]]") as judge:
        begun = time.monotonic()
        with pytest.raises(RecipeFailure, match="ReadTimeout"):
            ask(judge, asks(1), tmp_path / "verdicts.jsonl", timeout=0.1)
        assert time.monotonic() - begun < 4
        hold.set()


# The key and the address


def test_the_key_opens_the_door_and_stands_nowhere(tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("ASSAY_JUDGE_KEY_LAB", "sk-secret-1")
    with caplog.at_level("DEBUG"), judge_server(likes_kind) as judge:
        judge.key = "sk-secret-1"
        monkeypatch.setenv("ASSAY_JUDGE_URL_LAB", judge.url)
        key = key_from("ASSAY_JUDGE_KEY_LAB", judge.url)
        ask(judge, asks(2), tmp_path / "verdicts.jsonl", key=key)
        judge.trouble += [(500, {}, "you sent Bearer sk-secret-1")] * 9
        with pytest.raises(RecipeFailure) as caught:
            ask(judge, asks(3), tmp_path / "verdicts.jsonl", key=key)
        log = capfd.readouterr().err
        assert "you sent" in log and "you sent" not in caught.value.message
        text = (tmp_path / "verdicts.jsonl").read_text() + caplog.text + log + caught.value.message
        assert "sk-secret-1" not in text + repr(Endpoint(judge.url, "m", key=key))


def test_a_wrong_key_is_told_without_its_letters(tmp_path):
    with judge_server(likes_kind) as judge:
        judge.key = "right"
        with pytest.raises(RecipeFailure) as caught:
            ask(judge, asks(1), tmp_path / "verdicts.jsonl", key="wrong-key")
    assert caught.value.code == "judge_refuses" and "wrong-key" not in caught.value.message


@pytest.mark.parametrize("variable, told", [
    ("DATABASE_URL", "could hold another secret"),
    ("ASSAY_JUDGE_KEY_NOBODY", "is not set"),
    ("ASSAY_JUDGE_KEY_BOUND", "is not for"),
    ("ASSAY_JUDGE_KEY_FREE", "ASSAY_JUDGE_URL_FREE must name the address"),
])  # fmt: skip
def test_a_key_that_is_none_is_refused(monkeypatch, variable, told):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("ASSAY_JUDGE_KEY_BOUND", "sk-1")
    monkeypatch.setenv("ASSAY_JUDGE_KEY_FREE", "sk-1")
    monkeypatch.setenv("ASSAY_JUDGE_URL_BOUND", "https://judge.example/v1")
    with pytest.raises(RecipeFailure, match=told) as caught:
        key_from(variable, "http://localhost:1/v1")
    assert "sk-1" not in caught.value.message and "secret" not in caught.value.message.replace("another secret", "")
    assert key_from("", "http://localhost:1/v1") == ""
    assert key_from("ASSAY_JUDGE_KEY_BOUND", "https://judge.example/v1/") == "sk-1"


@pytest.mark.parametrize("url, told", [
    ("localhost:8100", "is not an address"), ("ftp://x/v1", "is not an address"),
    ("http://me:pass@host/v1", "password"),
    ("http://[::1", "is not an address"), ("http://me:pass@host:99999/v1", "is not an address"),
])  # fmt: skip
def test_an_address_that_is_none_or_tells_a_password_is_refused(url, told):
    with pytest.raises(RecipeFailure, match=told) as caught:
        checked_url(url)
    assert "pass@" not in caught.value.message


def test_blanks_around_an_address_are_not_part_of_it():
    assert checked_url(" http://localhost:8100/v1/ ") == "http://localhost:8100/v1"
