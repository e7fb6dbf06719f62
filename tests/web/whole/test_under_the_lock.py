"""What runs while SQLite's one write lock is held: few statements, and nothing that could be done before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from annotate.arena.battles import votes
from annotate.arena.vote_guard import actions as vote_guard
from annotate.core import counting
from annotate.data.datasets.actions import freeze
from annotate.data.prompts import actions as prompts
from annotate.labelling import actions as feedback
from annotate.models import Completion, FirstAnswer, Prompt
from common import splits
from tests.support.annotate import voting
from tests.support.annotate.voting import make_battle
from tests.support.api_client import Program
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_model,
    make_pair,
    make_project,
    make_prompt,
    make_user,
)

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Those that run within a transaction."""
    seen: list[str] = []

    def note(execute: Callable, sql: str, *rest: Any) -> Any:
        if connection.in_atomic_block:
            seen.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        yield seen


def noted(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> list[bool]:
    """Whether each call of `place.name` came within a transaction."""
    work, seen = getattr(place, name), []

    def note(*args: Any, **kwargs: Any) -> Any:
        seen.append(connection.in_atomic_block)
        return work(*args, **kwargs)

    monkeypatch.setattr(place, name, note)
    return seen


def test_a_try_is_counted_in_one_statement() -> None:
    with statements() as seen:
        tries = [counting.count("door", seconds=60) for _ in range(3)]
    assert tries == [1, 2, 3] and len(seen) == 3


def test_a_vote_reads_of_its_battle_before_the_lock() -> None:
    project = make_project()
    battle = make_battle(project, [make_model(), make_model()])
    token, origin = votes.issue_token(battle), vote_guard.Origin((("a" * 32, 1), ("b" * 32, 4), ("c" * 32, 16)))
    with statements() as seen:
        voting.vote(battle=battle, origin=origin, winner="tie", token=token, visitor=battle.visitor)
    read = [sql for sql in seen if sql.startswith("SELECT")]
    for table in ("annotate_project", "annotate_prompt", "annotate_completion", "annotate_guideline"):
        assert not [sql for sql in read if f'FROM "{table}"' in sql], table
    assert len(seen) <= 14, seen


@pytest.mark.parametrize("key", ["k", ""])
def test_a_judgement_is_read_and_checked_before_the_lock(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    project = make_project()
    client = Program(make_user(project))
    task = make_assignment(client.user, *make_pair(project))
    checks = noted(monkeypatch, feedback, "check")
    with statements() as seen:
        answer = client.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key=key)
    assert answer.status_code == 201 and checks == [False]
    assert FirstAnswer.objects.count() == bool(key)
    assert len(seen) <= 7, seen


def test_a_judgement_that_was_closed_after_its_check_is_refused() -> None:
    project = make_project()
    user = make_user(project)
    task = make_assignment(user, *make_pair(project))
    late = feedback.prepare(assignment=task, by=user, winner="tie")
    feedback.submit(assignment=task, by=user, winner="model_a")
    with pytest.raises(Exception, match="already submitted this item"):
        late()


def test_a_judgement_that_was_stored_under_its_key_after_its_check_is_found() -> None:
    project = make_project()
    user = make_user(project)
    task = make_assignment(user, *make_pair(project))
    late = feedback.prepare(assignment=task, by=user, winner="tie", idempotency_key="k")
    first = feedback.submit(assignment=task, by=user, winner="tie", idempotency_key="k")
    assert late() == first


def test_a_list_of_prompts_is_checked_before_the_lock_and_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    client = Program(make_user(project, role="researcher"))
    hashed = noted(monkeypatch, splits, "text_hash")
    parts = noted(monkeypatch, Prompt, "tell_queue")
    body = [{"project": project.slug, "text": f"What is {n}?"} for n in range(250)]
    answer = client.post("prompts/", body, key="k")
    assert answer.status_code == 201 and len(answer.json()) == Prompt.objects.count() == 250
    assert len(hashed) == 250 and not any(hashed)
    assert len(parts) == -(-250 // prompts._AT_ONCE)
    assert client.post("prompts/", body, key="k").json() == answer.json()
    assert Prompt.objects.count() == 250


def test_completions_are_prepared_before_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    client = Program(make_user(project, role="researcher"))
    checks = noted(monkeypatch, prompts, "_check_completion")
    body = [{"prompt": make_prompt(project).pk, "text": text} for text in ("one", "two")]
    assert client.post("completions/", body, key="k").status_code == 201
    assert checks == [False, False] and Completion.objects.count() == 2


def test_a_token_is_issued_in_one_statement() -> None:
    battle = make_battle(make_project(), [make_model(), make_model()])
    writes: list[str] = []

    def note(execute: Callable, sql: str, *rest: Any) -> Any:
        writes.extend([sql] if sql.startswith("UPDATE") else [])
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        tokens = {votes.issue_token(battle) for _ in range(2)}
    assert len(tokens) == 1 and len(writes) == 2
    first = battle.begun_at
    battle.refresh_from_db()
    assert first is None and battle.begun_at is not None and battle.vote_token_hash


def test_a_dataset_is_frozen_in_as_few_statements_however_much_it_holds() -> None:
    counts = []
    for size in (3, 40):
        project = make_project()
        user = make_user(project)
        for _ in range(size):
            make_comparison(*make_pair(project), author=user)
        with statements() as seen:
            dataset = freeze(project=project, kind="preferences", name="all", by=None)
        assert dataset.comparisons.count() == size
        counts.append(len(seen))
        assert not [sql for sql in seen if "dataset_comparisons" in sql and len(sql) > 300]
    assert counts[0] == counts[1] <= 5
