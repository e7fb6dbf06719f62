"""A judge behind an OpenAI-compatible address, asked which of two answers is better, in both orders.

A judge that likes what it reads first has no opinion of the answers (Zheng et al. 2023, 2306.05685). So each pair is
shown twice, A and B exchanged; a verdict counts when both say the same, and a disagreement is a tie, said as position
bias. Without a rubric of one's own it is ours, which has a version: change its words and you must change its number.

Every verdict is appended to `verdicts.jsonl` and on disk before the next is counted, {"key", "verdict", "reply", …}: a
run that was killed asks nothing twice but what held no verdict. What a server refuses for now (429, 5xx, time-outs) is
asked again, each time later, as long as `Retry-After` says; what it refuses for good ends the run in words.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import httpx

from annotate.core.chat_api import refusals
from annotate.core.chat_api.asking import valid_text
from annotate.core.network import outbound
from common.judging import rubrics
from common.judging.verdicts import grade_of, verdict_of
from evaluation.recipes.judging.judge_access import Endpoint
from training.core.run_directory import RecipeFailure, Row, drop_torn_line, read_lines

RUBRIC = "assay-pair-1"
SYSTEM = rubrics.system_text(rubrics.PAIRWISE)
TRIES = 6
BACKOFF = 1.0  # seconds before the second try; doubled each time, a minute at most
LONGEST_WAIT = 60.0
GIVE_UP_AFTER = 10  # replies in a row, from the first on, none of which holds a verdict
_INSIDE = f"Use a public judge, or ask the operator to add this one to {outbound.VARIABLE}."
_KEPT = 2000  # characters of a reply

Messages = list[dict[str, str]]


class Question(Protocol):
    """What is asked once: its messages, and how the reply is read (None: it holds no verdict)."""

    @property
    def key(self) -> str: ...
    @property
    def messages(self) -> Messages: ...
    def read(self, reply: str) -> str | float | None: ...


@dataclass(frozen=True)
class Ask:
    """One question: which of two answers to a conversation is better, in this order."""

    key: str
    prompt: Messages
    first: str
    second: str
    system: str = SYSTEM

    @property
    def messages(self) -> Messages:
        answers = {"answer A": self.first, "answer B": self.second}
        return rubrics.messages_of(rubrics.PAIRWISE, self.system, self.prompt, answers)

    def read(self, reply: str) -> str | None:
        return verdict_of(reply)


@dataclass(frozen=True)
class ScaleAsk:
    """One question: how good an answer to a conversation is, from 1 to 10."""

    key: str
    prompt: Messages
    answer: str
    system: str

    @property
    def messages(self) -> Messages:
        return rubrics.messages_of(rubrics.SCALE, self.system, self.prompt, {"answer": self.answer})

    def read(self, reply: str) -> float | None:
        return grade_of(reply, rubrics.LOWEST, rubrics.HIGHEST)


def ask_all(
    endpoint: Endpoint, asks: Sequence[Question], path: Path, progress: Callable[[int, int], None]
) -> dict[str, Row]:
    """Return the verdict of every ask by its key: {"verdict": first | second | tie | a grade | null, "reply",
    "prompt_tokens", "completion_tokens", "seconds"}. Tokens are null where the server does not count them.

    Raises RecipeFailure when the judge cannot be reached, refuses, or says nothing that can be read.
    """
    drop_torn_line(path)
    row_by_key = {row["key"]: row for row in read_lines(path) if row["verdict"] is not None}
    waiting = [ask for ask in asks if ask.key not in row_by_key]
    done, was_read, unread = len(asks) - len(waiting), bool(row_by_key), 0
    progress(done, len(asks))
    with path.open("a", encoding="utf-8") as file, _client(endpoint) as client:
        for row in _ask_at_once(_Asker(endpoint, client), waiting):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            row_by_key[row["key"]] = row
            done += 1
            progress(done, len(asks))
            was_read, unread = was_read or row["verdict"] is not None, unread + 1
            if unread == GIVE_UP_AFTER and not was_read:
                raise unreadable(row["reply"], unread, unread)
    return {ask.key: row_by_key[ask.key] for ask in asks}


def unreadable(reply: str, unread: int, n_asked: int) -> RecipeFailure:
    print(f"A reply of the judge without a verdict: {reply[:200]!r}", file=sys.stderr, flush=True)
    return RecipeFailure(
        "judge_unreadable",
        f"{unread} of {n_asked} replies of the judge have no verdict; the log has an example.",
        "Choose a judge that follows the rubric (it must end with [[A]], [[B]] or [[C]]), or allow more "
        "judge_tokens for its reasoning.",
    )


def _ask_at_once(asker: _Asker, asks: Sequence[Question]) -> Iterator[Row]:
    """Yield verdicts as they come, some asked at once. After a failure nothing more is asked, and what was under way is
    still told before it is raised: it has been paid for."""
    todo = iter(asks)
    under_way: set[Future[Row]] = set()
    failure: BaseException | None = None
    with ThreadPoolExecutor(asker.endpoint.at_once) as pool:
        try:
            while True:
                if failure is None:
                    free = asker.endpoint.at_once - len(under_way)
                    under_way |= {pool.submit(asker, ask) for ask in islice(todo, free)}
                if not under_way:
                    break
                ready, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in ready:
                    if error := future.exception():
                        failure = failure or error
                        asker.stop_event.set()
                    else:
                        yield future.result()
        finally:
            asker.stop_event.set()
    if failure is not None:
        raise failure


class _Asker:
    """Ask one question, again and again until there is an answer; keep to the pace with all its threads."""

    def __init__(self, endpoint: Endpoint, client: httpx.Client) -> None:
        self.endpoint, self.client = endpoint, client
        self.stop_event = threading.Event()
        self._lock, self._next = threading.Lock(), 0.0
        self._body: Row = {"temperature": 0, "max_tokens": endpoint.max_tokens}

    def __call__(self, ask: Question) -> Row:
        failure = ""
        for number in range(TRIES):
            self._wait_for_turn()
            started = time.monotonic()
            try:
                with self.client.stream("POST", "chat/completions", json=self._request(ask)) as response:
                    body = outbound.body_of(response)
            except outbound.Refused as error:
                raise RecipeFailure("judge_refused", f"judge_url: {error}", _INSIDE) from error
            except httpx.HTTPError as error:
                failure = type(error).__name__
                self._later(number, None)
                continue
            failure = f"HTTP {response.status_code}"
            if response.status_code == 200:
                return _row(ask, body, time.monotonic() - started)
            text = body.decode("utf-8", "replace")
            print(f"The judge said, with {failure}: {self._safe(text)}", file=sys.stderr, flush=True)
            if response.status_code == 400 and self._without(text):
                continue
            if response.status_code not in (408, 409, 425, 429) and response.status_code < 500:
                return _refused(ask, response.status_code, failure)
            self._later(number, response.headers.get("retry-after"))
        raise RecipeFailure(
            "judge_unreachable",
            f"The judge gave no answer in {TRIES} tries; the last one ended with {failure}",
            "Check judge_url and that its server runs, then resume this run; its replies are kept.",
        )

    def _request(self, ask: Question) -> Row:
        options = self.endpoint.template_options
        template_fields = {"chat_template_kwargs": dict(options)} if options else {}
        return {"model": self.endpoint.model, "messages": ask.messages, **self._body, **template_fields}

    def _without(self, refusal: str) -> bool:
        """Return the body without what the server refuses. Newer servers take another name for the limit, and some no
        temperature: what they name is changed, once."""
        with self._lock:
            if "max_tokens" in self._body and "max_completion_tokens" in refusal:
                self._body = {**self._body, "max_completion_tokens": self._body["max_tokens"]}
                del self._body["max_tokens"]
                return True
            if "temperature" in self._body and "temperature" in refusal:
                self._body = {name: value for name, value in self._body.items() if name != "temperature"}
                return True
        return False

    def _wait_for_turn(self) -> None:
        apart = 60 / self.endpoint.per_minute if self.endpoint.per_minute else 0.0
        with self._lock:
            begin = max(time.monotonic(), self._next)
            self._next = begin + apart
        self.stop_event.wait(max(0.0, begin - time.monotonic()))
        if self.stop_event.is_set():
            raise RecipeFailure("judge_stopped", "Another question to the judge failed.", "The log has that failure.")

    def _later(self, number: int, retry_after: str | None) -> None:
        """Wait before asking again. Nobody asks before the server's own time; without one, this question waits twice as
        long each time."""
        try:
            wait = float(retry_after or "")
        except ValueError:
            wait = BACKOFF * 2**number * random.uniform(0.75, 1.25)
        seconds = min(max(wait, 0.0), LONGEST_WAIT)
        if retry_after is not None:
            with self._lock:
                self._next = max(self._next, time.monotonic() + seconds)
        if number + 1 < TRIES:
            self.stop_event.wait(seconds)

    def _safe(self, text: str) -> str:
        return refusals.without_key(text, self.endpoint.key)[:300]


def _row(ask: Question, body: bytes, seconds: float) -> Row:
    try:
        told = json.loads(body)
        reply, usage = told["choices"][0]["message"].get("content") or "", told.get("usage")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise RecipeFailure(
            "judge_not_understood",
            "The server at judge_url has no OpenAI-compatible API.",
            "Check the address: it usually ends with /v1.",
        ) from error
    reply_text = valid_text(reply)
    counts = usage if isinstance(usage, dict) else {}
    tokens = {name: counts.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return {
        "key": ask.key,
        "verdict": ask.read(reply_text),
        "reply": reply_text[-_KEPT:],
        **{name: count if type(count) is int and count >= 0 else None for name, count in tokens.items()},
        "seconds": round(seconds, 3),
    }


def _refused(ask: Question, code: int, text: str) -> Row:
    """Return the failure of one question, which may be too long, or of all: the key, the address or the model is
    wrong."""
    if code in (401, 403):
        raise RecipeFailure(
            "judge_refuses", f"The judge does not accept the key ({text}).",
            "Enter the variable with its key as judge_key_variable, or renew the key.",
        )  # fmt: skip
    if code in (404, 405) or 300 <= code < 400:
        raise RecipeFailure(
            "judge_unknown", f"The server does not know this address or model ({text}).",
            "Check judge_url, which usually ends with /v1, and judge_model.",
        )  # fmt: skip
    return {"key": ask.key, "verdict": None, "reply": text}


def _client(endpoint: Endpoint) -> httpx.Client:
    """Make a client. The key goes to the address that was given, and no further: redirects are not followed."""
    by_environment = outbound.read_list(os.environ.get(outbound.VARIABLE, ""))
    return outbound.client(
        endpoint.url,
        allowed=by_environment if endpoint.allowed is None else endpoint.allowed,
        timeout=httpx.Timeout(10, read=endpoint.timeout, pool=None),
        key=endpoint.key,
        connections=endpoint.at_once,
    )
