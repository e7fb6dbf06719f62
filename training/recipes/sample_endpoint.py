"""Completions in bulk from a model behind an endpoint: `python -m training.recipes.sample_endpoint RUN_DIR`.

Asks for `completions_per_prompt` completions of each row of data/prompts.jsonl, as many requests at one time as the
model's concurrency allows, and appends each answer to completions.jsonl, whole and on disk, before it is counted. So a
run that was killed asks for nothing again that has arrived. requests.jsonl names every request when it goes out and
says what became of it: one that was under way when the run was killed, or whose answer was cut off, may be on the bill
without an answer, and the result counts those. refused.jsonl holds questions that the server will never answer.

The bill is the sum of the `usage` that the server sent with each answer, by the model's prices. The key comes by a pipe
from the worker (`training.core.run_secrets`) and goes nowhere but into the requests. Needs no torch.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from annotate.core.chat_api.asking import Asker, Refusal, Stopped
from annotate.core.chat_api.refusals import Body, Kind
from common import atomic_files
from common.sampling import with_system_prompt
from common.seeds import sequence_seed
from training.configs import SampleConfig
from training.core import run_secrets
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec, read_lines
from training.recipes.common.endpoints import endpoint_words
from training.recipes.common.endpoints.asked_endpoint import endpoint_of
from training.recipes.common.endpoints.completion_rows import row_of
from training.recipes.common.endpoints.endpoint_budget import Budget
from training.recipes.common.endpoints.request_ledger import Ledger, append_rows
from training.recipes.common.entry import config_of, prompts_of, run_recipe

GIVE_UP_AFTER = 10  # questions in a row, from the first on, all of which were refused
MOST_UNANSWERED = 0.1  # of the completions: the run ends well without them, and says so
_PROGRESS_SECONDS = 1.0
_SEED_BITS = 0x7FFFFFFF  # more than some servers take


@dataclass(frozen=True)
class Task:
    """Completions to ask for in one request: those of one prompt with these indices."""

    prompt_id: int
    indices: tuple[int, ...]
    messages: tuple[Row, ...] = field(repr=False)


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: SampleConfig = config_of(spec)
    kept_rows = list(read_lines(run.path / "completions.jsonl"))
    budget = _budget(kept_rows, spec, config)
    settings = spec.endpoints["parent"]
    endpoint = endpoint_of(settings, run_secrets.key_for("parent", settings["url"]), config.request_timeout)
    tasks, total = _tasks(run, config, kept_rows)
    done = total - sum(len(task.indices) for task in tasks)
    run.progress("asking", done, total)
    answered_requests = {row["request"] for row in kept_rows}
    with Ledger(run.path / "requests.jsonl", answered_requests) as ledger, endpoint.client() as client:
        asker = Asker(endpoint, client, ledger.note, first_request=ledger.requests + 1)
        job = _Job(run, spec, config, asker, budget, total, done)
        started = time.perf_counter()
        job.work(tasks)
        run.progress("asking", total - job.not_asked, total)
        run.finish(_result(run, job, ledger, time.perf_counter() - started))


def _budget(kept_rows: Sequence[Row], spec: RunSpec, config: SampleConfig) -> Budget:
    """Return what may still be spent, with what earlier attempts have spent. Raises RecipeFailure without prices."""
    settings = spec.endpoints["parent"]
    if config.max_cost is not None and None in (settings.get("prompt_price"), settings.get("completion_price")):
        raise endpoint_words.no_prices()
    budget = Budget(None if config.max_cost is None else Decimal(str(config.max_cost)))
    budget.note(kept_rows)
    return budget


def _tasks(run: RunDirectory, config: SampleConfig, kept_rows: Sequence[Row]) -> tuple[list[Task], int]:
    """Return what is still to be asked, and how many completions there are to be in all."""
    prompts = prompts_of(run, "Add prompts to the project, then start the run again.")
    over = {(row["prompt_id"], row["index"]) for row in (*kept_rows, *read_lines(run.path / "refused.jsonl"))}
    tasks = []
    for row in prompts:
        missing = [i for i in range(config.completions_per_prompt) if (row["id"], i) not in over]
        messages = tuple(with_system_prompt(row["messages"], config.system_prompt))
        if missing:
            tasks.append(Task(row["id"], tuple(missing), messages))
    return tasks, len(prompts) * config.completions_per_prompt


@dataclass
class _Job:
    """One attempt at the questions that are left."""

    run: RunDirectory
    spec: RunSpec
    config: SampleConfig
    asker: Asker
    budget: Budget
    total: int
    done: int
    refused: int = 0  # completions
    unanswered: int = 0  # completions that the server failed at, again and again
    gives_many: bool = True  # of one request
    answered_count: int = 0  # requests
    not_asked: int = 0  # completions, for max_cost was reached
    _said: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _done_before: int = field(init=False)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._done_before = self.done

    def work(self, tasks: list[Task]) -> None:
        """Raises RecipeFailure when nothing more will come. What is under way then is still kept: it is paid for."""
        todo = deque(tasks)
        under_way: dict[Future[list[Row]], Task] = {}
        failure: RecipeFailure | None = None
        most = self.asker.endpoint.concurrency
        with ThreadPoolExecutor(most) as pool:
            try:
                while True:
                    while failure is None and todo and len(under_way) < most and self.budget.allows(len(under_way)):
                        task = self._next(todo)
                        under_way[pool.submit(self._ask, task)] = task
                    if not under_way:
                        break
                    ready, _ = wait(under_way, return_when=FIRST_COMPLETED)
                    failure = self._take(ready, under_way, todo) or failure
            finally:
                self.asker.stop_event.set()
        if failure is not None:
            raise failure
        self.not_asked = sum(len(task.indices) for task in todo)
        if self.unanswered > MOST_UNANSWERED * self.total:
            raise endpoint_words.too_many_unanswered(self.unanswered, self.total)

    def _ask(self, task: Task) -> list[Row]:
        """Return the rows of the answer, which the thread that got it has written already: it is paid for, and the
        process may be killed at any moment."""
        answer = self.asker.ask(self._options(task))
        rows = [
            row_of(self.spec, self.config, task.prompt_id, index, answer, number)
            for number, index in enumerate(task.indices[: len(answer.choices)])
        ]
        with self._writing:
            self.run.log_completions(*rows)
        return rows

    def _next(self, todo: deque[Task]) -> Task:
        """Return the next request's task: one completion each where the server gives one at a time."""
        task = todo.popleft()
        if self.gives_many and "n" not in self.asker.left_out:
            return task
        for index in reversed(task.indices[1:]):
            todo.appendleft(Task(task.prompt_id, (index,), task.messages))
        return Task(task.prompt_id, task.indices[:1], task.messages)

    def _options(self, task: Task) -> Body:
        config = self.config
        seed = sequence_seed(self.spec.seed, task.prompt_id, task.indices[0]) & _SEED_BITS
        options: Body = {
            "messages": list(task.messages),
            "max_tokens": config.max_new_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": seed,
        }
        options |= {"n": len(task.indices)} if len(task.indices) > 1 else {}
        return options | ({"logprobs": True} if config.logprobs else {})

    def _take(
        self, ready: set[Future[list[Row]]], under_way: dict[Future[list[Row]], Task], todo: deque[Task]
    ) -> RecipeFailure | None:
        """Count what came; what was not answered goes back to `todo`, or is counted, too."""
        failure: RecipeFailure | None = None
        rows: list[Row] = []
        for future in ready:
            task = under_way.pop(future)
            try:
                new_rows = future.result()
                rows += new_rows
                self._ask_for_the_rest(task, len(new_rows), todo)
            except Stopped:
                continue
            except Refusal as refusal:
                failure = self._refused(task, refusal) or failure
        if rows:
            self.run.sync_completions()
        self.done += len(rows)
        self.budget.note(rows)
        if failure is None and self.budget.is_blind:
            failure = endpoint_words.uncounted()
        if failure is not None:
            self.asker.stop_event.set()
        self._progress()
        return failure

    def _ask_for_the_rest(self, task: Task, received: int, todo: deque[Task]) -> None:
        """Put back what a server left out: one that was asked for several and gives fewer is asked for one at a time
        from now on."""
        self.answered_count += 1
        if received < len(task.indices):
            self.gives_many = False
            todo.appendleft(Task(task.prompt_id, task.indices[received:], task.messages))

    def _refused(self, task: Task, refusal: Refusal) -> RecipeFailure | None:
        if refusal.of_all:
            if refusal.kind == Kind.KEY:
                self._forget_refused_for_the_key()
            return endpoint_words.failure_of(refusal)
        if refusal.kind in (Kind.FAILED, Kind.TIME_OUT, Kind.CUT, Kind.THROTTLED):
            self.unanswered += len(task.indices)
            if not self.answered_count and not self.done and self.unanswered >= GIVE_UP_AFTER:
                return endpoint_words.failure_of(refusal)
            return None
        if not self.answered_count and not self.done and self.refused + 1 >= min(GIVE_UP_AFTER, self.total):
            # A setting, then, that is wrong for all: when it is put right and the run resumed, they are asked again.
            (self.run.path / "refused.jsonl").unlink(missing_ok=True)
            return endpoint_words.failure_of(refusal)
        self.refused += len(task.indices)
        append_rows(
            self.run.path / "refused.jsonl",
            [{"prompt_id": task.prompt_id, "index": index, "kind": refusal.kind} for index in task.indices],
        )
        return None

    def _forget_refused_for_the_key(self) -> None:
        """Have those asked again that were refused for a key which turned out to be blocked."""
        path = self.run.path / "refused.jsonl"
        rows = [row for row in read_lines(path) if row["kind"] != Kind.KEY]
        if path.exists():
            atomic_files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))

    def _progress(self) -> None:
        now = time.monotonic()
        if now < self._said + _PROGRESS_SECONDS or self.done == self._done_before:
            return
        self._said = now
        pace = (self.done - self._done_before) / (now - self._began)
        over = self.done + self.refused
        self.run.progress("asking", over, self.total)
        self.run.log_metrics(over, completions_per_second=pace, cost=float(self.budget.spent))


def _result(run: RunDirectory, job: _Job, ledger: Ledger, seconds: float) -> dict[str, Any]:
    rows = list(read_lines(run.path / "completions.jsonl"))
    if not rows:
        raise endpoint_words.too_many_unanswered(job.unanswered, job.total)
    usage = {row["request"]: row["request_tokens"] for row in rows}  # each request once, however many it answered
    counted = [tokens for tokens in usage.values() if None not in tokens]
    answers_counted = sum(None not in row["request_tokens"] for row in rows)
    prompt_tokens, completion_tokens = (sum(tokens[side] for tokens in counted) if counted else None for side in (0, 1))
    logprobs = [value for row in rows for value in row.get("logprobs", ())]
    new = job.done - job._done_before
    return {
        "completions": len(rows),
        "tokens_mean": None if completion_tokens is None else completion_tokens / answers_counted,
        "stopped_share": sum(row["finish_reason"] == "stop" for row in rows) / len(rows),
        "distinct": len({row["text"] for row in rows}) / len(rows),
        "completions_per_second": new / seconds if new > 0 else None,
        "seconds": seconds,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "cost": float(job.budget.spent) if job.budget.priced else None,
        "requests": ledger.ends["asked"],
        "throttled": ledger.ends[Kind.THROTTLED],
        "may_be_billed": ledger.may_be_billed,
        "unanswered": job.unanswered,
        "refused": sum(1 for _ in read_lines(run.path / "refused.jsonl")),
        **({"uncounted": len(usage) - len(counted)} if len(counted) < len(usage) else {}),
        **({"not_asked": job.not_asked} if job.not_asked else {}),
        **({"logprob_mean": sum(logprobs) / len(logprobs)} if logprobs else {}),
        **({"not_taken": ", ".join(sorted(job.asker.left_out))} if job.asker.left_out else {}),
        "how_to_read": "the server counts prompt_tokens and completion_tokens; cost follows from the "
        "model's prices, in dollars; uncounted are answers without token counts; "
        "requests counts all requests, throttled those that the server delayed; "
        "may_be_billed are requests without a complete answer, which the provider may still bill; "
        "unanswered and refused are missing completions, because the server failed or refused; not_asked "
        "are those that were left when the run reached max_cost; not_taken "
        "are options that the server does not know; stopped_share is the share of complete completions.",
    }


if __name__ == "__main__":
    run_recipe(main)
