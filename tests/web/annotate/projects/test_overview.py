"""The page of a project: the loop with its counts, what runs, failed and waits, the checklist, and what happened."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.core import audit
from annotate.core.permissions import held_rights
from annotate.models import AuditEntry, Completion, Dataset, QueueEntry
from annotate.projects.next_step import checklist
from annotate.projects.overview.loop_stations import counted_annotations
from annotate.projects.overview.overview_parts import OVERVIEW
from annotate.projects.overview.present import overview
from annotate.projects.overview.recent_activity import WORDS, annotations_by_day
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_guideline,
    make_pair,
    make_prompt,
    make_rating,
    make_user,
    sign_in,
)
from tests.support.html_page import HtmlPage
from training.models import Run

pytestmark = pytest.mark.django_db


def context(client, project):
    return client.get(reverse("project", args=[project.slug])).context


def loop(client, project):
    return {each.name: each for each in context(client, project)["loop"]}


def run(project, state: str, **fields):
    return Run.objects.create(project=project, kind="sft", name=f"a run that {state}", state=state, **fields)


def test_the_loop_has_seven_stations_in_order_and_each_is_a_link_that_opens(client, project):
    response = client.get(reverse("project", args=[project.slug]))
    names = [each.name for each in response.context["loop"]]
    assert names == ["prompts", "completions", "annotations", "datasets", "runs", "models", "leaderboard"]
    links = HtmlPage(response.content.decode()).links
    for station in response.context["loop"]:
        assert station.address in links and client.get(station.address).status_code == 200


def test_the_stations_count_what_there_is(client, project):
    model = make_contestant(project).model
    make_completion(make_prompt(project), model=model)
    make_comparison(*make_pair(project, side="eval"))
    Dataset.objects.create(project=project, kind="sft", name="the newest", side="train", content_hash="x")
    Dataset.objects.create(project=project, kind="prompts", name="prompts", side="train", content_hash="y")
    run(project, "failed"), run(project, "running"), run(project, "succeeded")
    stations = loop(client, project)
    assert (stations["datasets"].count, stations["datasets"].line) == (1, "the newest")
    assert (stations["runs"].count, stations["runs"].line, stations["runs"].state) == (3, "1 running, 1 failed", "live")
    assert stations["models"].count == 1 and stations["leaderboard"].count == 1
    assert stations["annotations"].count == 1


def test_frozen_prompts_are_named_where_nothing_else_is_frozen(client, project):
    assert loop(client, project)["datasets"].line == "none frozen"
    Dataset.objects.create(project=project, kind="prompts", name="prompts", side="train", content_hash="y")
    datasets = loop(client, project)["datasets"]
    assert (datasets.count, datasets.line) == (0, "only 1 of prompts")


def test_only_prompts_of_kinds_that_are_asked_for_wait_for_annotation(client, project):
    sign_in(client, project, "researcher")
    QueueEntry.objects.create(project=project, prompt=make_prompt(project), kind="write", items=1, lot=0.5)
    assert context(client, project)["alerts"] == [], "nobody is asked to write answers here"
    project.asks_answers = True
    project.save()
    assert [alert.link for alert in context(client, project)["alerts"]] == ["Annotate"]


def test_an_empty_split_is_marked(client, project):
    make_prompt(project)
    prompts = loop(client, project)["prompts"]
    assert prompts.state == "bad" and prompts.line == "1 to train, 0 to evaluate"
    make_prompt(project, side="eval")
    assert loop(client, project)["prompts"].state == ""


def test_retired_prompts_are_counted_in_no_split(client, project):
    make_prompt(project), make_prompt(project, side="eval", out_since=timezone.now())
    prompts = loop(client, project)["prompts"]
    assert (prompts.count, prompts.line, prompts.state) == (1, "1 to train, 0 to evaluate", "bad")


def test_what_runs_what_failed_and_what_waits_is_listed_for_researchers(client, project):
    running, failed = run(project, "running", step=3, total_steps=9), run(project, "failed", finished_at=timezone.now())
    paused = run(project, "paused")
    run(project, "succeeded", finished_at=timezone.now())
    QueueEntry.objects.create(project=project, prompt=make_prompt(project), kind="rate", items=2, lot=0.5)
    assert context(client, project)["alerts"] == [], "a visitor is told nothing of failures"
    sign_in(client, project, "researcher")
    alerts = {alert.link: alert for alert in context(client, project)["alerts"]}
    assert alerts[running.name].words.endswith("runs, step 3 of 9.")
    assert (alerts[failed.name].state, alerts[paused.name].state) == ("bad", "bad")
    assert alerts["Annotate"].words == "1 prompt waits for annotation."
    assert len(alerts) == 4


def test_the_checklist_ticks_what_is_done_and_leads_to_what_is_not(client, project):
    manager = sign_in(client, project, "manager")
    steps = checklist(project, is_manager=True)
    assert not any(step.is_done for step in steps) and steps[0].title == "Add prompts"
    make_completion(make_prompt(project), model=make_contestant(project).model)
    make_guideline(project)
    html = client.get(reverse("project", args=[project.slug])).content.decode()
    done = [step.title for step in checklist(project, is_manager=True) if step.is_done]
    assert done == ["Add prompts", "Add a model", "Answer the training prompts", "Write guidelines"]
    assert f'<a href="{reverse("people", args=[project.slug])}">Invite annotators</a>' in html
    assert context(client, project)["next"].address == reverse("people", args=[project.slug])
    for step in steps:
        assert client.get(step.next.address).status_code in (200, 302), (manager, step.title)


def test_imports_tick_neither_training_nor_voting(client, project):
    """An imported model was not trained here, and a comparison of brought answers ranks no model."""
    prompt = make_prompt(project, side="eval")
    make_comparison(*(Completion.objects.create(prompt=prompt, text=text) for text in "ab"))
    run(project, "succeeded", output_model=make_contestant(project).model)  # from no dataset
    with CaptureQueriesContext(connection) as seen:
        assert {"Train a model", "Vote in the arena"}.isdisjoint(ticked(project))
    joined = [each["sql"] for each in seen if "annotate_comparison" in each["sql"] and "model_id" in each["sql"]]
    assert not joined, "of millions of brought pairs the database would look at each"
    dataset = Dataset.objects.create(project=project, kind="sft", name="d", side="train", content_hash="x")
    run(project, "succeeded", dataset=dataset, output_model=make_contestant(project).model)
    make_comparison(*make_pair(project, side="eval"))
    assert {"Train a model", "Vote in the arena"} <= ticked(project)


def ticked(project) -> set[str]:
    return {step.title for step in checklist(project, is_manager=True) if step.is_done}


def test_annotators_and_visitors_are_given_no_checklist(client, project):
    assert context(client, project)["steps"] == []
    assert context(client, project)["loop"], "a visitor of a public project sees what comes of votes"
    sign_in(client, project, "annotator")
    shown = context(client, project)
    assert shown["steps"] == [] and shown["events"] == [] and shown["loop"] == [], "no page of researchers"


def test_recent_activity_has_runs_for_researchers_and_changes_for_managers(client, project):
    ended = run(project, "succeeded", finished_at=timezone.now())
    who = make_user(project, role="manager")
    audit.record(action="dataset.frozen", about="votes", by=who, project=project)
    audit.record(action="token.made", about="x", by=who, project=project)
    sign_in(client, project, "researcher")
    assert [event.link for event in context(client, project)["events"]] == [ended.name]
    client.force_login(who)
    events = context(client, project)["events"]
    assert [event.words for event in events] == [f"{who.username} froze a dataset: votes", "succeeded."]


def test_the_days_are_the_last_fourteen_and_count_people(project):
    a, b = make_pair(project)
    assert annotations_by_day(counted_annotations(project)) == []
    make_rating(a), make_rating(b), make_rating(b, make_user(is_simulated=True))
    days = annotations_by_day(counted_annotations(project))
    assert len(days) == 14 and (days[-1].count, days[-1].share) == (2, 100) and days[0].count == 0


def test_the_questions_to_the_database_do_not_grow_with_the_project(client, project):
    sign_in(client, project, "manager")
    address = reverse("project", args=[project.slug])

    def asked() -> int:
        client.get(address)
        with CaptureQueriesContext(connection) as seen:
            client.get(address)
        return len(seen)

    for state in ("running", "failed", "succeeded"):
        run(project, state, finished_at=timezone.now())
    make_rating(make_completion(make_prompt(project), model=make_contestant(project).model))
    AuditEntry.objects.create(project=project, action="project.made", about="it")
    few = asked()
    for _ in range(12):
        run(project, "failed", finished_at=timezone.now()), run(project, "queued")
        make_rating(make_completion(make_prompt(project), model=make_contestant(project).model))
        AuditEntry.objects.create(project=project, action="project.settings", about="it")
    assert asked() == few


def test_the_checklist_and_the_next_step_ask_the_database_once(project):
    manager = make_user(project, role="manager")
    with OVERVIEW.holding(), CaptureQueriesContext(connection) as seen:
        overview(project, manager, held_rights(manager, project))
    asked = [each["sql"] for each in seen]
    assert len(set(asked)) == len(asked)


def test_without_the_apps_above_the_page_still_stands(client, project):
    with OVERVIEW.holding():
        assert list(loop(client, project)) == ["prompts", "completions", "annotations", "datasets", "models"]


def test_every_word_of_an_action_is_a_part_of_a_sentence():
    assert all(words[0].islower() and not words.endswith(".") for words in WORDS.values())
