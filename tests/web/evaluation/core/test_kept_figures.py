"""Figures of many annotations: computed by the background worker, kept, and the same as those computed at once."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.core.db import long_work
from annotate.models import AuditEntry
from evaluation.annotator_quality import exclusion, findings
from evaluation.annotator_quality.loading import rows_of
from evaluation.core import kept_figures
from evaluation.models import KeptFigures
from tests.support.api_client import Program
from tests.support.evaluation.annotating import annotate_all, compare, make_items, make_judges
from tests.support.factories import make_user

COMPUTATIONS = {"quality": findings.compute_kept, "own quality": findings.compute_kept_own}


@pytest.fixture
def manager(project):
    return make_user(project, role="manager", username="mia")


@pytest.fixture
def judges(project, monkeypatch):
    monkeypatch.setattr(findings, "FEW", 0)
    judges = make_judges(project, "anna", "bob", "cem", "dora")
    annotate_all(project, judges, make_items(project, 30))
    return judges


@pytest.fixture
def worker():
    return kept_figures.figure_worker(COMPUTATIONS)


def quality(project) -> KeptFigures:
    return KeptFigures.objects.get(project=project, what="quality")


def test_the_quality_of_many_is_computed_in_the_background_and_the_same(client, project, judges, manager, worker):
    client.force_login(manager)
    address = reverse("quality", args=[project.slug])
    waiting = client.get(address)
    assert waiting.status_code == 202 and "It has not begun yet" in waiting.content.decode()
    assert client.get(reverse("quality-pairs-file", args=[project.slug, "csv"])).status_code == 202
    assert Program(manager).get(f"projects/{project.slug}/quality/").json()["percent"] == 0
    assert worker.do_now() and not worker.do_now(), "many look and one computes"
    page = client.get(address).content.decode()
    assert ">dora</a>" in page and "Agreement of pairs" in page and "computed in the background" in page
    kept, now = findings.findings(project, "person"), findings.computed(rows_of(project, "person"))
    assert (kept.scales, kept.judges, kept.pairs) == (now.scales, now.judges, now.pairs)
    assert b"anna" not in bytes(quality(project).body), "compressed, so only a hint; names are blank before that"
    assert not any(judge.name for judge in findings.compute_kept(project, "person", lambda *_: None)[1].judges)
    assert Program(manager).get(f"projects/{project.slug}/quality/").status_code == 200


def test_new_rows_wait_a_while_and_a_change_of_a_status_for_less(client, project, judges, manager, worker, monkeypatch):
    client.force_login(manager)
    client.get(reverse("quality", args=[project.slug]))
    worker.do_now()
    shown = quality(project).computed_at
    monkeypatch.setattr(kept_figures, "KEPT", 1e6)
    compare(judges[0], make_items(project, 1)[0], "better")
    findings.findings(project, "person")
    assert quality(project).asked_at is None
    monkeypatch.setattr(kept_figures, "KEPT", 0)
    assert len(findings.findings(project, "person").judges) == 4 and quality(project).asked_at is not None
    worker.do_now()
    monkeypatch.setattr(kept_figures, "KEPT", 1e6)
    exclusion.exclude(project=project, person=judges[0], reason="a bot", by=manager)
    monkeypatch.setattr(kept_figures, "CHANGED", 1e6)
    findings.findings(project, "person")
    assert quality(project).asked_at is None, "it may be a status of any project: computed without end, if at once"
    monkeypatch.setattr(kept_figures, "CHANGED", 0)
    findings.findings(project, "person")
    assert quality(project).asked_at is not None
    worker.do_now()
    assert [judge.name for judge in findings.findings(project, "person").judges] == ["bob", "cem", "dora"]
    note = client.get(reverse("quality", args=[project.slug]), {"shown": shown.isoformat()}).content.decode()
    assert "Newer figures are there" in note and "<h1>" not in note
    for nonsense in ("2026-13-45T00:00:00", "yesterday", ""):
        assert client.get(reverse("quality", args=[project.slug]), {"shown": nonsense}).status_code == 404


def test_ones_own_figures_of_many_are_as_of_what_was_settled(client, project, judges, worker):
    client.force_login(judges[0])
    address = reverse("quality-mine", args=[project.slug])
    assert client.get(address).status_code == 202
    worker.do_now()
    row = KeptFigures.objects.get(what="own quality")
    assert row.problem == "" and row.computed_at is not None
    page = client.get(address)
    assert page.status_code == 200 and page.context["settled_at"] == findings.settled_at(project)


def test_work_that_was_cut_off_is_begun_anew_and_an_error_is_said(project, judges, manager, client):
    row = kept_figures.ask(project, "person", "quality")
    waiting = KeptFigures.objects.filter(asked_at__isnull=False)
    first = long_work.claim(waiting)
    first("reading", 0.5)
    first.keep()
    assert quality(project).stage == "reading" and quality(project).share == 0.5
    assert long_work.claim(waiting) is None, "somebody has it"
    waiting.update(claimed_until=timezone.now() - timedelta(seconds=1))  # killed: its lease has run out
    second = long_work.claim(waiting)
    assert (second.row.pk, second.row.share) == (row.pk, 0)
    with pytest.raises(long_work.Lost):
        first("comparing", 0.9)
    second.give_back()

    def breaks(project, judge, tell):
        raise ArithmeticError("no such figure")

    worker = kept_figures.figure_worker({"quality": breaks})
    client.force_login(manager)
    assert worker.do_now() and quality(project).problem == "ArithmeticError: no such figure"
    assert "no such figure" in client.get(reverse("quality", args=[project.slug])).content.decode()
    assert not worker.do_now(), "an open page asks again at once, and it waits all the same"
    waiting.update(claimed_until=timezone.now() - timedelta(seconds=1))  # ten minutes later
    assert kept_figures.figure_worker(COMPUTATIONS).do_now()
    assert quality(project).problem == "" and quality(project).asked_at is None


@pytest.mark.django_db(transaction=True)
def test_a_round_of_the_background_worker_does_not_wait_for_long_work(project):
    kept_figures.ask(project, "person", "quality")
    steps = []

    def slow(project, judge, tell):
        while True:
            steps.append(1)
            tell("reading", 0.1)

    worker = kept_figures.figure_worker({"quality": slow})
    assert worker.do() and worker.do() and steps
    worker.end()
    row = quality(project)
    assert row.claim is None and row.asked_at is not None, "given back: the next one begins at once"


def test_cancelled_figures_are_computed_by_nobody_until_somebody_goes_on(client, project, judges, manager, worker):
    client.force_login(manager)
    address = reverse("quality", args=[project.slug])
    assert "Cancel</button>" in client.get(address).content.decode()
    hold = long_work.claim(KeptFigures.objects.filter(asked_at__isnull=False))
    cancel = reverse("figures-cancel", args=[project.slug, quality(project).pk])
    assert client.post(cancel, {"back": address}).url == address
    with pytest.raises(long_work.Lost):
        hold("reading", 0.5), hold("counting", 0.6)
    assert client.post(cancel).status_code == 409, "cancelled already"
    page = client.get(address).content.decode()
    assert "It was cancelled" in page and "Compute now" in page and not worker.do_now()
    assert [entry.action for entry in AuditEntry.objects.filter(actor=manager)] == ["figures.cancelled"]

    program, figures = Program(manager), f"projects/{project.slug}/figures/{quality(project).pk}"
    assert program.get(f"projects/{project.slug}/quality/").json()["detail"] == "Cancelled."
    assert program.post(f"{figures}/go-on/").json()["detail"].startswith("The background worker")
    assert program.post(f"{figures}/cancel/").json()["detail"] == "Cancelled." and not worker.do_now()
    client.post(reverse("figures-go-on", args=[project.slug, quality(project).pk]), {"back": address})
    assert worker.do_now() and client.get(address).status_code == 200
    assert client.post(cancel).status_code == 409, "there is nothing to cancel"


def test_reviewers_see_no_button_and_cancel_nothing(client, project, judges, worker):
    client.force_login(make_user(project, role="reviewer"))
    assert "Cancel</button>" not in client.get(reverse("quality", args=[project.slug])).content.decode()
    answer = client.post(reverse("figures-cancel", args=[project.slug, quality(project).pk]))
    assert answer.status_code == 403 and worker.do_now()
