"""Ordering runs, and who may carry them out: refusals, claims, leases, losses."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import AuditEntry, LanguageModel
from tests.support.factories import make_project, make_user, sign_in
from tests.support.training.runs import in_a_thread, make_dataset, make_run, make_weights, register_fake
from training.core.endings import Ending
from training.core.run_directory import RunDirectory
from training.models import Attempt, Run
from training.runs.ordering import actions
from training.runs.ordering.actions import cancel, queue_run, resume
from training.runs.ordering.checks import check_order
from training.runs.queue import supervision
from training.runs.queue.ingest import Reader
from training.runs.queue.supervision import LeaseLost

pytestmark = pytest.mark.django_db


@pytest.fixture
def listed(settings):
    settings.REWARD_FUNCTIONS = {"short": "a.b"}


def order(project, researcher, **changes):
    """Queue a sampling run that is right, with some things changed."""
    right = {
        "kind": "sample", "project": project, "name": "answers", "by": researcher,
        "config": {"temperature": 0.8}, "seed": 5,
    }  # fmt: skip
    if "parent" not in changes:
        right["parent"] = make_weights()
    if "dataset" not in changes:
        right["dataset"] = make_dataset(project)
    return queue_run(**{**right, **changes})


def refusal(*args, **changes) -> Refused:
    before = Run.objects.count()
    with pytest.raises(Refused) as caught:
        order(*args, **changes)
    assert Run.objects.count() == before
    return caught.value


def test_a_queued_run_holds_its_whole_config_and_the_code_version(project, researcher):
    run = order(project, researcher)
    assert (run.state, run.seed, run.created_by) == ("queued", 5, researcher)
    assert run.config["temperature"] == 0.8 and run.config["top_p"] == 0.95
    assert run.code_version


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"kind": "alchemy"}, "kind", "sample, corpus, tokenizer"),
        ({"name": " "}, "name", "1 to 120 characters"),
        ({"config": {"temprature": 1}}, "config.temprature", "temperature"),
        ({"config": {"temperature": 9}}, "config.temperature", "between 0 and 5"),
        ({"seed": -1}, "seed", "whole number"),
        ({"seed": True}, "seed", "whole number"),
        ({"parent": None}, "parent", "Choose"),
        ({"dataset": None}, "dataset", "kind prompts"),
    ],
)
def test_a_wrong_order_names_its_field_and_what_would_be_right(project, researcher, changes, field, words):
    refused = refusal(project, researcher, **changes)
    assert refused.status == 400 and list(refused.errors) == [field]
    assert words in refused.errors[field]


def test_all_errors_are_told_at_once(project, researcher):
    refused = refusal(project, researcher, parent=None, dataset=None, seed="x", config={"top_p": 7})
    assert set(refused.errors) == {"parent", "dataset", "seed", "config.top_p"}


def test_a_retired_parent_is_a_conflict(project, researcher):
    parent = make_weights()
    parent.retire(reason="superseded")
    refused = refusal(project, researcher, parent=parent)
    assert refused.status == 409 and "superseded" in refused.errors["parent"]


def test_a_parent_must_be_a_policy_with_weights_here(project, researcher):
    reward = make_weights(kind="reward")
    far = LanguageModel.objects.create(name="far", endpoint="https://example.org/v1")
    assert "parent" in refusal(project, researcher, parent=reward).errors
    learning = {"kind": "sft", "dataset": make_dataset(project, kind="sft"), "config": {}}
    assert "parent" in refusal(project, researcher, parent=far, **learning).errors


def test_a_dataset_must_fit_the_kind_the_project_and_the_side(project, researcher):
    wrong = [make_dataset(project, kind="sft"), make_dataset(make_project())]
    for dataset in wrong:
        assert "dataset" in refusal(project, researcher, dataset=dataset).errors
    eval_side = make_dataset(project, side="eval")
    assert order(project, researcher, dataset=eval_side).state == "queued", "sampling may answer either side"
    reward = make_weights(kind="reward")
    refused = refusal(project, researcher, kind="ppo", dataset=eval_side, reward_model=reward, config={})
    assert "train split" in refused.errors["dataset"]


def test_ppo_takes_a_reward_model_or_a_function_and_not_both(project, researcher, listed):
    reward, policy = make_weights(kind="reward"), make_weights()
    both = {"reward_model": reward, "config": {"reward_function": "short"}}
    for wrong in ({"config": {}}, both, {"reward_model": policy, "config": {}}):
        assert list(refusal(project, researcher, kind="ppo", **wrong).errors) == ["reward_model"]
    assert order(project, researcher, kind="ppo", reward_model=reward, config={}).reward_model == reward
    assert order(project, researcher, kind="ppo", name="two", config={"reward_function": "short"}).reward_model is None
    assert "reward_model" in refusal(project, researcher, reward_model=reward).errors, "sampling takes none"


def test_too_few_telling_annotations_are_refused_in_words(project, researcher):
    dataset = make_dataset(project, kind="preferences")
    dataset.counts = {
        "enough": False,
        "sentence": "3 of 200 annotations tell one answer from another.",
        "reason": "Few.",
    }
    refused = refusal(project, researcher, kind="reward", dataset=dataset, config={})
    assert "3 of 200 annotations tell one answer from another. Few." in refused.errors["dataset"]


def test_a_name_is_promised_to_one_model_only(project, researcher, listed):
    make_run(project, name="tidy")
    refused = refusal(project, researcher, kind="ppo", name="tidy", config={"reward_function": "short"})
    assert refused.status == 409 and "already has this name" in refused.errors["name"]
    taken = make_weights(name="taken")
    refused = refusal(project, researcher, kind="ppo", name=taken.name, config={"reward_function": "short"})
    assert refused.status == 409
    assert order(project, researcher, name=taken.name).state == "queued", "sampling makes no model"


def test_only_researchers_start_and_stop_runs(project, researcher):
    annotator = make_user(project, role="annotator")
    assert refusal(project, annotator).status == 403
    run = make_run(project)
    for action in (cancel, resume):
        with pytest.raises(Refused) as caught:
            action(run=run, by=annotator)
        assert caught.value.status == 403


def test_the_same_key_gets_the_same_run_and_anothers_key_does_not(project, researcher):
    first = order(project, researcher, idempotency_key="k")
    assert order(project, researcher, idempotency_key="k", name="other") == first
    colleague = make_user(project, role="researcher")
    assert order(project, colleague, idempotency_key="k", name="third") != first
    for wrong in ("x" * 300, "a\x00b"):
        assert "idempotency_key" in refusal(project, researcher, idempotency_key=wrong).errors


def test_a_twin_that_comes_meanwhile_and_takes_the_name_is_the_same_run(project, researcher, monkeypatch):
    """Two processes that order one run: the other's stands when this one checks its name."""
    same = {"parent": make_weights(), "dataset": make_dataset(project), "idempotency_key": "k"}
    twins: list[Run] = []

    def check_after_the_twin(**fields):
        monkeypatch.setattr(actions, "check_order", check_order)
        twins.append(order(project, researcher, **same))
        return check_order(**fields)

    monkeypatch.setattr(actions, "check_order", check_after_the_twin)
    assert [order(project, researcher, **same)] == twins


def test_what_has_ended_cannot_be_cancelled_nor_what_is_under_way_resumed(project, researcher):
    ended, waiting = make_run(project, state="succeeded"), make_run(project)
    for action, run in ((cancel, ended), (resume, ended), (resume, waiting)):
        with pytest.raises(Refused) as caught:
            action(run=run, by=researcher)
        assert caught.value.status == 409


def test_a_run_whose_name_was_taken_is_resumed_under_a_free_one_which_page_and_api_say(project, client):
    sign_in(client, project, "researcher")
    asked, sent = (make_run(project, name=name, state="failed") for name in ("tidy", "short"))
    make_weights(name="tidy")
    make_weights(name="short")
    page = client.post(f"/runs/{asked.pk}/resume/", follow=True).content.decode()
    assert "The name tidy was taken meanwhile; this run is called tidy (2) now." in page and "<h1>tidy (2)" in page
    answer = client.post(f"/api/v1/runs/{sent.pk}/resume/").json()
    assert (answer["state"], answer["name"]) == ("queued", "short (2)")
    told = AuditEntry.objects.filter(action="run.resumed").values_list("changes", flat=True)
    assert list(told) == [{"name": ["short", "short (2)"]}, {"name": ["tidy", "tidy (2)"]}]


def test_resuming_is_refused_once_the_parent_is_retired(project, researcher):
    run = make_run(project, state="failed")
    run.parent.retired_at = timezone.now()
    run.parent.save()
    with pytest.raises(Refused, match="is retired") as caught:
        resume(run=run, by=researcher)
    assert (caught.value.status, list(caught.value.errors)) == (409, ["parent"])
    run.refresh_from_db()
    assert run.state == "failed"


# Claims and leases


def claim(worker: str = "one") -> Attempt | None:
    return supervision.claim(worker=worker, launcher="test")


def test_the_oldest_run_is_claimed_first_and_each_once():
    first, second = make_run(), make_run()
    assert claim().run == first
    assert claim().run == second
    assert claim() is None
    first.refresh_from_db()
    assert first.state == "running" and first.started_at


@pytest.mark.django_db(transaction=True)
def test_workers_that_race_claim_every_run_exactly_once():
    runs = [make_run() for _ in range(12)]
    claimed: list[int] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        while attempt := claim(worker=threading.current_thread().name):
            claimed.append(attempt.run_id)

    threads = [threading.Thread(target=in_a_thread(work)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # A claimer that finds the row locked looks away and may leave before the last one: nobody is left behind.
    while attempt := claim():
        claimed.append(attempt.run_id)
    assert sorted(claimed) == [run.pk for run in runs]
    assert Attempt.objects.count() == 12


def expire(attempt: Attempt) -> None:
    attempt.lease_expires_at = timezone.now() - timedelta(seconds=1)
    attempt.save()


def release(**gone) -> None:
    supervision.release_lost(is_gone=lambda worker: gone.get(worker, False))


def test_an_expired_lease_is_taken_over_and_its_holder_writes_nothing_more(tmp_path):
    run = make_run()
    old = claim("old")
    expire(old)
    release()
    new = claim("new")
    assert (new.run, new.number) == (run, 2) and new.lease != old.lease
    assert not supervision.renew(old) and supervision.renew(new)
    directory = RunDirectory(tmp_path)
    directory.log_metrics(1, score=1.0)
    with pytest.raises(LeaseLost):
        Reader(old, directory).ingest()
    with pytest.raises(LeaseLost):
        supervision.conclude(old, Ending("succeeded"), lambda run: pytest.fail("recorded without a lease"))
    run.refresh_from_db()
    assert run.state == "running" and run.metrics.count() == 0
    assert Reader(new, directory).ingest() and run.metrics.count() == 1


def test_a_living_worker_keeps_its_run_and_a_dead_one_loses_it_at_once():
    make_run()
    attempt = claim("one")
    release(one=False)
    attempt.refresh_from_db()
    assert attempt.state == "running"
    release(one=True)
    attempt.refresh_from_db()
    assert (attempt.state, attempt.reason) == ("lost", "the worker was lost")
    assert Run.objects.get().state == "queued"


def test_a_lease_that_was_renewed_meanwhile_is_not_taken():
    make_run()
    attempt = claim()
    expire(attempt)
    stale = Attempt.objects.get()
    supervision.renew(attempt)
    supervision._release(stale, "expired")
    assert Attempt.objects.get().state == "running"


def test_a_lost_run_that_was_to_be_cancelled_is_cancelled():
    run = make_run()
    expire(claim())
    cancel(run=run, by=run.created_by)
    release()
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("cancelled", "cancelled")
    assert claim() is None


def test_a_run_is_given_up_after_so_many_losses_and_a_person_may_begin_anew(settings):
    settings.RUN_MAX_ATTEMPTS = 2
    run = make_run()
    for _ in range(2):
        expire(claim())
        release()
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "lost_too_often") and run.remedy
    resume(run=run, by=run.created_by)
    expire(claim())
    release()
    run.refresh_from_db()
    assert run.state == "queued", "the count begins again when a person resumes"


def test_losses_count_only_while_there_is_no_progress(settings):
    settings.RUN_MAX_ATTEMPTS = 2
    run = make_run()
    for checkpoint in (None, 20, 40):
        attempt = claim()
        attempt.resumed_from_step = checkpoint
        expire(attempt)
        release()
        assert Run.objects.get().state == "queued"
    attempt = claim()
    attempt.resumed_from_step = 40
    expire(attempt)
    release()
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "lost_too_often")


def test_outputs_and_the_end_are_written_together_or_not_at_all():
    run = make_run()
    attempt = claim()

    def record(run: Run) -> None:
        LanguageModel.objects.create(name="half", folder="models/half")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        supervision.conclude(attempt, Ending("succeeded"), record)
    run.refresh_from_db()
    assert run.state == "running" and not LanguageModel.objects.filter(name="half").exists()


def test_the_database_itself_allows_one_attempt_under_way():
    from django.db import IntegrityError, transaction

    run = make_run()
    claim()
    with pytest.raises(IntegrityError), transaction.atomic():
        Attempt.objects.create(
            run=run, number=9, lease=uuid.uuid4(), lease_expires_at=timezone.now(), worker="w", launcher="l"
        )


# What a recipe writes


def test_each_line_arrives_once_however_often_it_is_read(tmp_path):
    run = make_run()
    attempt = claim()
    directory = RunDirectory(tmp_path)
    reader = Reader(attempt, directory)
    for step in range(3):
        directory.log_metrics(step, score=float(step))
        directory.log_sample(step, [{"role": "user", "content": "Why?"}], f"{step}", 0.5)
    assert reader.ingest() and not reader.ingest()
    assert Reader(attempt, directory).ingest(), "a new reader begins at the beginning"
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"sequence": 4, "step": 3, "ti')  # a torn line is not there yet
    assert not reader.ingest()
    assert list(run.metrics.values_list("step", flat=True)) == [0, 1, 2] and run.samples.count() == 3


def test_progress_becomes_the_runs_own(tmp_path):
    run = make_run()
    directory = RunDirectory(tmp_path)
    directory.progress("training", 4, 10, eta_seconds=60)
    Reader(claim(), directory).ingest()
    run.refresh_from_db()
    assert (run.phase, run.step, run.total_steps) == ("training", 4, 10)
    assert timedelta(seconds=50) < run.ends_at - timezone.now() <= timedelta(seconds=60)


def test_a_resumed_recipe_replaces_the_steps_that_it_takes_again(tmp_path):
    run = make_run()
    first, directory = claim(), RunDirectory(tmp_path)
    for step in (1, 2, 3, 4):
        directory.log_metrics(step, score=1.0)
    reader = Reader(first, directory)
    reader.ingest()
    again = RunDirectory(tmp_path)
    again.truncate_logs(2)
    again.log_metrics(3, score=2.0)
    reader.ingest()
    assert [(m.step, m.values["score"]) for m in run.metrics.all()] == [(1, 1.0), (2, 1.0), (3, 2.0)]
    again.truncate_logs(0)
    reader.ingest()
    assert run.metrics.count() == 0


def test_kinds_of_other_apps_are_ordered_like_the_rest(project, researcher):
    register_fake()
    run = queue_run(kind="fake", project=project, name="f", by=researcher, parent=make_weights(), config={"steps": 2})
    assert run.config["steps"] == 2 and connection.vendor in ("sqlite", "postgresql")
