"""What takes long is done before a transaction, not in it: on SQLite nobody else writes meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.db import connection, transaction
from django.utils import timezone

from annotate.arena.battles import actions as arena
from annotate.data import frozen_rows
from annotate.data.datasets.actions import freeze
from annotate.simulation import accounts
from common import atomic_files
from evaluation.annotator_quality import exclusion
from evaluation.leaderboard import snapshots as leaderboard
from evaluation.leaderboard.votes import ledger
from evaluation.leaderboard.votes.counts import catch_up
from evaluation.measures import item_store as items
from evaluation.measures import recording
from evaluation.models import Candidacy, Decision
from evaluation.promotion import actions, candidate_review, checks, enrolment
from evaluation.promotion import arena_sampling as sampling
from tests.support.factories import make_completion, make_prompt, make_user
from tests.support.training.runs import make_weights
from training.core.run_directory import RunDirectory
from training.models import Run
from training.runs.ordering import actions as runs

pytestmark = pytest.mark.django_db(transaction=True)
Watch = Callable[[Any, str], list[str]]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """`outside(module, name)` notes each call of that function, and fails one within a transaction."""

    def watch(module: Any, name: str) -> list[str]:
        calls: list[str] = []
        original = getattr(module, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            assert not connection.in_atomic_block, f"{name} was called within a transaction"
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)
        return calls

    return watch


@pytest.fixture
def ready(project, base, child, vote, manager) -> Candidacy:
    """A candidacy that meets its rule, not looked at yet."""
    actions.set_rule(project=project, by=manager, first_votes_only=False)
    candidacy = Candidacy.objects.create(project=project, model=child)
    vote(child, base, "model_a", 60)
    return candidacy


@pytest.mark.parametrize("asked", [{"is_drawn": True}, {"text": "Why is the sky blue?"}])
def test_a_battle_fits_no_ratings_under_the_lock(project, base, child, vote, outside: Watch, asked) -> None:
    vote(base, child)
    prompt = make_prompt(project, side="eval")
    for model in (base, child):
        make_completion(prompt, model=model)
    cache.clear()
    fitted = outside(leaderboard, "_computed")
    battle = arena.start_battle(project=project, visitor="v", **asked)
    assert fitted and battle.pk and battle.is_drawn == ("is_drawn" in asked)


def test_a_look_at_candidates_computes_first_and_writes_then(ready, outside: Watch) -> None:
    fitted, checked = outside(leaderboard, "_computed"), outside(checks, "check")
    candidate_review.look(ready.project)
    ready.refresh_from_db()
    assert fitted and checked and ready.state == "ready"


def test_two_looks_at_once_find_one_change(ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have computed before either writes."""
    both, original = threading.Barrier(2, timeout=10), checks.check

    def meet(*args: Any, **kwargs: Any) -> checks.Standing:
        found = original(*args, **kwargs)
        both.wait()
        return found

    monkeypatch.setattr(checks, "check", meet)

    def look() -> None:
        candidate_review.look(ready.project)
        connection.close()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert Decision.objects.filter(candidacy=ready, what="ready").count() == 1


def test_a_manager_who_promotes_or_rolls_back_holds_no_lock_meanwhile(
    ready, project, base, child, manager, outside: Watch
) -> None:
    fitted, checked = outside(leaderboard, "_computed"), outside(checks, "check")
    actions.promote(project=project, model=base, reason="first", by=manager)
    made = actions.promote(project=project, model=child, reason="better", by=manager)
    assert fitted and checked and made.leaderboard is not None
    assert actions.roll_back(project=project, reason="worse", by=manager).model == base


def test_whoever_is_excluded_is_taken_out_of_the_ratings_before_the_lock(
    project, base, child, vote, manager, outside: Watch
) -> None:
    [cast] = vote(base, child)
    computed = outside(exclusion, "touched_by")
    assert exclusion.exclude(project=project, person=cast.author, reason="bursts", by=manager).touched["votes"] == 1
    assert computed


def test_a_new_candidate_freezes_its_prompts_before_the_lock(project, base, outside: Watch) -> None:
    make_prompt(project, side="eval")
    made, by = make_weights(name="tide-new", parent=base), make_user(project, role="researcher")
    run = Run.objects.create(
        kind="sft", name="tide-new", project=project, parent=base, output_model=made, state="succeeded",
        created_by=by, finished_at=timezone.now(),
    )  # fmt: skip
    written, described = outside(frozen_rows, "write"), outside(atomic_files, "sync_folder")
    assert enrolment.enrol(run) is not None
    assert written and described and Run.objects.filter(kind="sample").exists()


def test_a_run_is_checked_and_its_code_described_before_the_lock(project, outside: Watch) -> None:
    described, checked = outside(runs, "code_version"), outside(runs, "check_order")
    make_prompt(project)
    by = make_user(project, role="researcher")
    prompts = freeze(project=project, kind="prompts", name="asked", by=by)
    runs.queue_run(kind="sample", project=project, name="new", by=by, parent=make_weights(), dataset=prompts)
    assert checked and described


def test_votes_are_added_up_before_the_lock(project, base, child, vote, outside: Watch) -> None:
    vote(base, child, n=3)
    read = outside(ledger, "new_votes")
    catch_up()
    assert read and leaderboard.current(project=project, judge="person").votes == 3


def test_the_index_of_items_is_made_after_the_lock(project, base, outside: Watch) -> None:
    run = Run.objects.create(kind="evaluate", name="e", project=project, parent=base, state="running")
    indexed = outside(items, "index_of")
    with transaction.atomic():
        recording.record_measure(run, RunDirectory(run.path))
        assert not indexed
    assert indexed


def test_a_password_is_hashed_before_the_lock(outside: Watch, project) -> None:
    hashed = outside(accounts, "make_password")
    account = accounts.kept("simulated-1", is_simulated=True)
    assert hashed and authenticate(username=account.username, password=account.password) is not None


def test_one_caller_computes_rates_and_the_others_do_not_wait(project, base, child, monkeypatch) -> None:
    models = [base, child]
    known = sampling.weights(project, models)
    begun, ended = threading.Event(), threading.Event()

    def slow(*_: Any) -> dict[frozenset[int], float]:
        begun.set()
        ended.wait(10)
        return dict(known)

    monkeypatch.setattr(sampling, "_pair_weights", slow)
    monkeypatch.setattr(sampling.time, "time", lambda now=time.time: now() + sampling.KEPT_SECONDS + 1)
    thread = threading.Thread(target=sampling.weights, args=(project, models))
    thread.start()
    assert begun.wait(5)
    monkeypatch.setattr(sampling, "_pair_weights", lambda *_: pytest.fail("computed twice at once"))
    assert sampling.weights(project, models) == known
    ended.set()
    thread.join(5)
