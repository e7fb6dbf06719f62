"""Alerts: each cause is told once, to whom it concerns, and closes by itself when it is over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.core.background_worker import BackgroundWorker
from annotate.core.periodic_tasks import PERIODIC_TASKS
from annotate.models import Assignment, AuditEntry, Comparison, Delivery, Membership, QueueEntry, Status, Webhook
from evaluation.alerts import alert_kinds
from evaluation.alerts.alert_kinds import KINDS
from evaluation.alerts.alert_upkeep import look, run_has_ended, tell_of
from evaluation.alerts.causes import FINDERS
from evaluation.annotator_quality import explanations, findings
from evaluation.core import kept_figures, notices
from evaluation.models import Alert, Notice
from tests.support.annotate.voting import cast, make_battle
from tests.support.api_client import Program
from tests.support.evaluation.annotating import annotate_all, compare, make_items, make_judges
from tests.support.factories import make_project, make_prompt, make_user, sign_in
from tests.support.training.runs import make_run
from training.models import Attempt, Run
from training.runs.ordering import actions, pauses

pytestmark = pytest.mark.django_db
GUIDE = Path(settings.BASE_DIR) / "docs" / "guides" / "alerts.md"
CHOICE = {"name": "go on", "action": "go_on", "changes": {}, "label": "Go on"}


@pytest.fixture
def rita(project):
    return make_user(project, role="researcher")


@pytest.fixture
def hook(project, manager):
    return Webhook.objects.create(
        project=project, url="https://example.org/hook", secret="whsec_eA==", created_by=manager
    )


def failed(project, **fields) -> Run:
    return make_run(project, state="failed", finished_at=timezone.now(), reason="the disk is full", **fields)


def later(**since: float) -> None:
    """So much time goes by, as far as alerts are concerned."""
    for alert in Alert.objects.all():
        Alert.objects.filter(pk=alert.pk).update(created_at=alert.created_at - timedelta(**since))


def events() -> list[str]:
    return list(Delivery.objects.order_by("id").values_list("event", flat=True))


def now_lines(client, project) -> list[str]:
    return [alert.words for alert in client.get(reverse("project", args=[project.slug])).context["alerts"]]


# The catalogue


def test_each_kind_has_a_finder_and_a_line_in_the_guide_and_the_events_a_line_in_theirs():
    assert list(FINDERS) == list(KINDS)
    guide = GUIDE.read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip(" `") for line in guide.splitlines() if line.startswith("| `")]
    assert rows == list(KINDS)
    webhooks = GUIDE.with_name("webhooks.md").read_text(encoding="utf-8")
    assert "`alert.opened`" in webhooks and "`alert.closed`" in webhooks


def test_the_background_worker_looks_for_each_kind():
    names = {f"alerts {key}" for key in KINDS}
    assert names <= PERIODIC_TASKS.keys() and "mails of notices" in PERIODIC_TASKS


def test_the_background_worker_opens_what_there_is(project, rita):
    failed(project)
    BackgroundWorker([task for name, task in PERIODIC_TASKS.items() if name.startswith("alerts ")]).work(once=True)
    assert [alert.kind for alert in Alert.objects.open()] == ["run.failed"]


# Runs


def test_a_failed_run_is_told_once_to_researchers_and_managers_and_to_webhooks(project, manager, rita, hook):
    annotator = make_user(project)
    run = failed(project, created_by=rita)
    for _ in range(3):
        look(alert_kinds.RUN_FAILED)
    researchers = Membership.objects.filter(role="researcher").values_list("user", flat=True)
    notified = list(Notice.objects.values_list("user", flat=True))
    assert sorted(notified) == sorted([manager.pk, *researchers]) and rita.pk in notified
    assert annotator.pk not in notified
    notice = rita.notices.get()
    assert notice.text == f"Fake {run.name} failed. the disk is full" and notice.url == f"/runs/{run.pk}/"
    delivery = Delivery.objects.get()
    assert delivery.event == "alert.opened"
    data = delivery.body["data"]
    assert (data["project"], data["kind"], data["about"]) == (project.slug, "run.failed", str(run.pk))
    assert data["url"] == settings.SITE_URL + notice.url


def test_it_is_told_as_soon_as_the_run_has_failed(project, rita):
    run_has_ended(make_run(project, state="succeeded"))
    assert not Alert.objects.exists()
    run_has_ended(failed(project))
    assert Notice.objects.filter(user=rita).count() == 1


def test_it_is_over_when_the_run_is_resumed_and_a_second_failure_is_told_again(project, rita, hook):
    run = failed(project)
    look(alert_kinds.RUN_FAILED)
    actions.resume(run=run, by=rita)
    look(alert_kinds.RUN_FAILED)
    assert not Alert.objects.open().exists()
    assert notices.unseen(rita).count() == 0, "what is over waits for nobody"
    assert events() == ["alert.opened", "alert.closed"]
    Run.objects.update(state="failed", finished_at=timezone.now())
    look(alert_kinds.RUN_FAILED)
    assert notices.unseen(rita).count() == 1 and events()[2:] == ["alert.opened"]


def test_it_is_over_when_the_run_is_queued_again_with_changes_or_long_ago(project, rita):
    run, old = failed(project), failed(project)
    look(alert_kinds.RUN_FAILED)
    make_run(project, cloned_from=run)
    Run.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(days=8))
    look(alert_kinds.RUN_FAILED)
    assert not Alert.objects.open().exists() and Alert.objects.count() == 2


def test_a_seen_notice_of_a_closed_alert_stays_seen_when_it_was(client, project, rita):
    run = failed(project)
    look(alert_kinds.RUN_FAILED)
    notices.mark_seen(user=rita)
    seen_at = rita.notices.get().seen_at
    actions.resume(run=run, by=rita)
    look(alert_kinds.RUN_FAILED)
    assert rita.notices.get().seen_at == seen_at
    client.force_login(rita)
    assert '<span class="tag">over</span>' in client.get(reverse("notices")).content.decode()


def test_a_paused_run_is_told_until_somebody_chooses(project, rita):
    pause = {"code": "kl_limit", "message": "The KL bound is reached.", "remedy": "", "step": 3, "choices": [CHOICE]}
    run = make_run(project, state="paused", pause=pause)
    look(alert_kinds.RUN_PAUSED)
    text = rita.notices.get().text
    assert text == f"Fake {run.name} is paused and waits for a decision. The KL bound is reached."
    pauses.choose(run=run, by=rita, choice="go on")
    look(alert_kinds.RUN_PAUSED)
    assert not Alert.objects.open().exists()


def test_runs_that_wait_for_a_worker_are_told_after_ten_minutes_and_once_for_all(project, rita):
    make_run(project), make_run(project)
    look(alert_kinds.RUN_WAITS)
    assert not Notice.objects.exists() and not Alert.objects.open().exists()
    later(minutes=9)
    look(alert_kinds.RUN_WAITS)
    assert not Notice.objects.exists()
    later(minutes=1)
    look(alert_kinds.RUN_WAITS), look(alert_kinds.RUN_WAITS)
    assert rita.notices.get().text == "2 runs wait, and no worker is alive: start `manage.py run_worker`."
    run = Run.objects.first()
    lease = {"worker": "w", "launcher": "l", "lease_expires_at": timezone.now() + timedelta(seconds=30)}
    Attempt.objects.create(run=run, number=1, **lease)
    look(alert_kinds.RUN_WAITS)
    assert not Alert.objects.open().exists()


def test_a_worker_that_comes_in_time_leaves_no_trace(project, hook):
    run = make_run(project)
    look(alert_kinds.RUN_WAITS)
    Run.objects.filter(pk=run.pk).update(state="succeeded")
    look(alert_kinds.RUN_WAITS)
    assert not Alert.objects.exists() and events() == []


def test_a_worker_that_was_cut_off_is_none(project):
    run = make_run(project, state="running")
    lease = {"worker": "w", "launcher": "l", "lease_expires_at": timezone.now() - timedelta(seconds=30)}
    Attempt.objects.create(run=run, number=1, **lease)
    assert [cause.project for cause in FINDERS["run.waits"]()] == [project]


# Queues


def submitted(project, days: float, **fields) -> Assignment:
    pair = make_items(project, 1)[0]
    assignment = compare(make_user(project, **fields), pair, "better")
    Assignment.objects.filter(pk=assignment.pk).update(closed_at=timezone.now() - timedelta(days=days))
    return assignment


def waits(project) -> QueueEntry:
    return QueueEntry.objects.create(project=project, prompt=make_prompt(project), kind="rate", items=2, lot=0.5)


def test_a_queue_that_stands_still_is_told_until_somebody_annotates(project, rita):
    waits(project), submitted(project, 3)
    look(alert_kinds.QUEUE_IDLE)
    text = rita.notices.get().text
    assert text.startswith("1 prompt waits for annotation. Nobody has annotated since ")
    submitted(project, 0)
    look(alert_kinds.QUEUE_IDLE)
    assert not Alert.objects.open().exists()


@pytest.mark.parametrize(
    ("days", "is_waiting", "is_simulated"), [(1, True, False), (31, True, False), (3, False, False), (3, True, True)]
)
def test_a_queue_at_work_one_that_is_long_over_an_empty_and_a_simulated_one_are_no_alert(
    project, days, is_waiting, is_simulated
):
    submitted(project, days, is_simulated=is_simulated)
    if is_waiting:
        waits(project)
    assert list(FINDERS["queue.idle"]()) == []


def test_a_queue_nobody_ever_worked_in_is_no_alert(project):
    waits(project)
    assert list(FINDERS["queue.idle"]()) == []


# People and votes


def test_a_flagged_annotator_is_told_until_the_flag_is_gone(client, project, rita, monkeypatch):
    items = make_items(project, 60)
    annotate_all(project, make_judges(project, "anna", "bob", "cem", "dora", "emil", "finn"), items)
    zoe = make_user(project, username="zoe")
    for number, pair in enumerate(items):  # always the first answer, at once
        compare(zoe, pair, "better" if number % 2 else "worse", swapped=bool(number % 2), seconds=0.4)
    look(alert_kinds.ANNOTATOR_FLAGGED), look(alert_kinds.ANNOTATOR_FLAGGED)
    notice = rita.notices.get()
    assert notice.text.startswith("zoe is flagged: ") and notice.text.endswith(".")
    client.force_login(rita)
    assert client.get(notice.url).status_code == 200
    Comparison.objects.update(created_at=timezone.now() - timedelta(days=30))
    look(alert_kinds.ANNOTATOR_FLAGGED)
    assert Alert.objects.open().count() == 1, "where nobody annotates any more the flag stands"
    Comparison.objects.filter(author=zoe).update(status=Status.EXCLUDED)
    monkeypatch.setattr(findings, "FEW", 0)
    look(alert_kinds.ANNOTATOR_FLAGGED)
    assert Alert.objects.open().count() == 1, "of many the background worker computes, and until then the flag stands"
    assert kept_figures.figure_worker({"quality": findings.compute_kept}).do_now()
    look(alert_kinds.ANNOTATOR_FLAGGED)
    assert not Alert.objects.open().exists()


def test_a_flagged_annotator_whom_somebody_has_looked_at_is_dismissed(client, project, rita, hook, monkeypatch):
    """It stays away as long as the same is said of them."""
    items = make_items(project, 60)
    annotate_all(project, make_judges(project, "anna", "bob", "cem", "dora", "emil", "finn"), items)
    zoe = make_user(project, username="zoe")
    for number, pair in enumerate(items):
        compare(zoe, pair, "better" if number % 2 else "worse", swapped=bool(number % 2), seconds=0.4)
    look(alert_kinds.ANNOTATOR_FLAGGED)
    alert = Alert.objects.open().get()
    act = reverse("alert-dismiss", args=[project.slug, alert.pk])
    sign_in(client, project, "reviewer")
    assert act not in client.get(alert.url).content.decode() and client.post(act).status_code == 403
    client.force_login(rita)
    assert act in client.get(alert.url).content.decode()
    assert client.post(act).url == alert.url and act not in client.get(alert.url).content.decode()
    look(alert_kinds.ANNOTATOR_FLAGGED)
    assert not Alert.objects.open().exists() and rita.notices.count() == 1
    assert not rita.notices.filter(seen_at=None).exists() and now_lines(client, project) == []
    assert AuditEntry.objects.get(action="alert.dismissed").about.startswith("zoe is flagged: ")
    assert [each.event for each in Delivery.objects.order_by("pk")] == ["alert.opened", "alert.closed"]
    assert client.post(act).status_code == 409
    reasons = explanations.reasons
    monkeypatch.setattr(explanations, "reasons", lambda figures: reasons(figures)[::-1])
    look(alert_kinds.ANNOTATOR_FLAGGED)
    assert not Alert.objects.open().exists(), "the same reasons, another one the strongest, are no other reasons"
    Alert.objects.update(text="zoe is flagged: something else.", signs=["something else"])
    look(alert_kinds.ANNOTATOR_FLAGGED)
    assert Alert.objects.open().count() == 1 and rita.notices.count() == 2, "other reasons are told anew"


def test_a_program_dismisses_an_alert_and_its_end_is_told_once(project, rita, hook):
    run = failed(project)
    look(alert_kinds.RUN_FAILED)
    alert = Alert.objects.get()
    address = f"projects/{project.slug}/alerts/"
    dismissed = Program(rita).post(f"{address}{alert.pk}/dismiss/", {})
    assert dismissed.status_code == 200 and dismissed.json()["dismissed_at"]
    assert Program(rita).get(address, open="1").json() == []
    assert Program(rita).post(f"{address}999999/dismiss/", {}).status_code == 404
    actions.resume(run=run, by=rita)
    look(alert_kinds.RUN_FAILED)
    assert [each.event for each in Delivery.objects.order_by("pk")] == ["alert.opened", "alert.closed"]


def test_held_votes_are_told_to_managers_alone_after_an_hour(client, project, pair, manager, rita):
    cast(make_battle(project, pair, visitor="1" * 64, hold_reason="a model named itself"), address="1")
    look(alert_kinds.VOTES_HELD)
    assert not Notice.objects.exists()
    later(hours=1)
    look(alert_kinds.VOTES_HELD)
    assert [notice.user for notice in Notice.objects.all()] == [manager]
    client.force_login(rita)
    assert "1 arena vote is held for review." not in now_lines(client, project)
    client.force_login(manager)
    assert "1 arena vote is held for review." in now_lines(client, project)
    cast(make_battle(project, pair, visitor="2" * 64, hold_reason="a model named itself"), address="2")
    look(alert_kinds.VOTES_HELD)
    assert "2 arena votes are held for review." in now_lines(client, project)
    assert Notice.objects.count() == 1, "one more of them is no news"
    Comparison.objects.filter(battle__isnull=False).update(status=Status.COUNTED)
    look(alert_kinds.VOTES_HELD)
    assert not Alert.objects.open().exists()


# Where they are read


def test_the_project_s_page_shows_each_once_and_what_is_bad_first(client, project):
    sign_in(client, project, "researcher")
    waits(project), submitted(project, 3)
    run = failed(project)
    for kind in KINDS.values():
        look(kind)
    response = client.get(reverse("project", args=[project.slug]))
    alerts = response.context["alerts"]
    assert [(alert.address, alert.state) for alert in alerts] == [
        (reverse("run", args=[run.pk]), "bad"),
        (reverse("annotate", args=[project.slug]), "bad"),
    ]
    assert "Nobody has annotated since" in alerts[1].words
    assert reverse("guide", args=["alerts"]) in response.content.decode()


def test_newer_alerts_for_managers_leave_a_researcher_theirs(client, project, rita, manager):
    fields = {"project": project, "opened_at": timezone.now()}
    Alert.objects.create(kind="queue.idle", about="queue", text="Idle.", url="/idle/", **fields)
    for number in range(9):
        Alert.objects.create(kind="webhook.off", about=str(number), text=f"Off {number}.", url=f"/{number}/", **fields)
    client.force_login(rita)
    assert now_lines(client, project) == ["Idle."]
    client.force_login(manager)
    assert now_lines(client, project) == [f"Off {number}." for number in range(8, 0, -1)] + ["Idle."]


@pytest.mark.parametrize("role", ["annotator", "reviewer"])
def test_nobody_else_is_shown_any(client, project, role):
    failed(project), look(alert_kinds.RUN_FAILED)
    sign_in(client, project, role)
    assert now_lines(client, project) == []
    assert Program(make_user(project, role=role)).get(f"projects/{project.slug}/alerts/").status_code == 403


def test_a_program_lists_them(project, manager, rita):
    run, other = failed(project), failed(project)
    Alert.objects.create(project=project, kind="votes.held", about="votes", text="x", url="/", opened_at=timezone.now())
    Alert.objects.create(project=project, kind="run.waits", about="worker", text="not yet", url="/")
    Alert.objects.create(project=make_project(), kind="run.failed", about="1", text="x", url="/")
    look(alert_kinds.RUN_FAILED)
    actions.resume(run=other, by=rita)
    look(alert_kinds.RUN_FAILED)
    address = f"projects/{project.slug}/alerts/"
    rows = Program(rita).get(address).json()
    assert {row["about"] for row in rows} == {str(other.pk), str(run.pk)}
    assert [row["about"] for row in Program(rita).get(address, open="1").json()] == [str(run.pk)]
    assert {row["kind"] for row in Program(manager).get(address).json()} == {"run.failed", "votes.held"}


def test_a_look_asks_no_more_of_many_than_of_few(project, rita):
    def asked(kind) -> int:
        look(kind)
        with CaptureQueriesContext(connection) as seen:
            look(kind)
        return len(seen)

    failed(project)
    few = asked(alert_kinds.RUN_FAILED)
    for _ in range(5):
        failed(project), failed(make_project())
    assert asked(alert_kinds.RUN_FAILED) == few


def test_two_background_workers_tell_it_once(project, rita, hook):
    """The other one opens it between our read and our write."""
    failed(project)
    cause = next(iter(FINDERS["run.failed"]()))
    stale = Alert.objects.create(project=project, kind="run.failed", about=cause.about, text="x", url="/")
    look(alert_kinds.RUN_FAILED)
    tell_of(stale, cause, alert_kinds.RUN_FAILED)
    assert Notice.objects.filter(user=rita).count() == 1 and events() == ["alert.opened"]


def test_who_leaves_the_project_is_told_no_more(project, rita):
    Membership.objects.filter(user=rita).delete()
    failed(project), look(alert_kinds.RUN_FAILED)
    assert not rita.notices.exists()
    assert Alert.objects.open().count() == 1


def test_a_long_reason_is_cut(project, rita):
    failed(project, name="n" * 120)
    Run.objects.update(reason="x" * 900)
    look(alert_kinds.RUN_FAILED)
    look(alert_kinds.RUN_FAILED)
    assert len(rita.notices.get().text) == 300
