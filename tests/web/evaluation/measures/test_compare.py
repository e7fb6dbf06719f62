"""The page that sets models beside each other, and the numbers behind it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from django.core.cache import cache
from django.urls import reverse

from evaluation.measures import measured_tasks, paired_comparison, paired_differences
from evaluation.metrics import paired_tests
from tests.support.evaluation.measured import items, measured, right
from tests.support.factories import make_model, make_user

BASE = right([1, 0, 0, 0] * 10)
CHILD = right([1, 1, 1, 0] * 10)


@pytest.fixture(autouse=True)
def without_memory():
    cache.clear()


@pytest.fixture
def runs(project, base, child):
    return [measured(project, m, "riddles", items(c)) for m, c in ((base, BASE), (child, CHILD))]


@pytest.fixture
def url(project):
    return reverse("compare", args=[project.slug])


def only_task(project) -> measured_tasks.Task:
    (task,) = measured_tasks.tasks(measured_tasks.measured(project))
    return task


def test_a_task_counts_the_models_that_were_measured_on_it(project, runs):
    assert only_task(project) == measured_tasks.Task("riddles", "choices", 2)


def test_differences_are_those_of_the_paired_maths(project, runs):
    found = paired_comparison.compare(only_task(project), runs)
    (line,) = found.lines
    first, second = line.tested
    assert first is None
    assert second is not None
    assert second.difference.value == pytest.approx(0.5)
    assert second.difference.p == paired_tests.mcnemar(20, 0)
    assert second.verdict == "better"
    assert (found.n, found.tests, found.clean_lines) == (40, 1, [])


def test_many_tests_at_once_are_corrected(project, base, child, runs):
    third = measured(project, make_model(name="tide-ppo", parent=child), "riddles", items(right([1, 1, 0, 0] * 10)))
    found = paired_comparison.compare(only_task(project), [*runs, third])
    tested = [t for t in found.lines[0].tested if t]
    assert found.tests == 2
    assert [t.adjusted for t in tested] == paired_tests.holm([t.difference.p for t in tested])
    assert tested[1].adjusted > 0.0019
    assert tested[0].adjusted == pytest.approx(2 * tested[0].difference.p)


def test_each_can_be_set_against_its_own_parent(project, base, child, runs):
    third = measured(project, make_model(name="tide-ppo", parent=child), "riddles", items(BASE))
    found = paired_comparison.compare(only_task(project), [*runs, third], measured_tasks.PARENT)
    assert found.against == [None, 0, 1]
    assert [t and t.verdict for t in found.lines[0].tested] == [None, "better", "worse"]


def test_other_items_are_left_out_and_said(client, project, base, child, runs, url):
    other = make_model(name="elsewhere")
    stranger = measured(project, other, "riddles", items(CHILD)[:-1])
    found = paired_comparison.compare(only_task(project), [*runs, stranger])
    assert [model for model, _ in found.refused] == [other]
    page = client.get(url, {"models": [base.pk, child.pk, other.pk]}).content.decode()
    assert "elsewhere is left out" in page
    assert "1 stand in the first alone (39)" in page


def test_what_either_had_seen_is_left_out_of_the_clean_table(project, base, child, tmp_path):
    asked = items(BASE)
    folders = []
    for name, texts in (("one", asked[0:2]), ("two", asked[1:4])):
        folder = tmp_path / name
        folder.mkdir()
        folder.joinpath("rows.jsonl").write_text("".join(json.dumps({"text": item.text}) + "\n" for item in texts))
        folders.append(str(folder))
    runs = [
        measured(project, m, "riddles", items(c), trained_on=(folder,))
        for m, c, folder in ((base, BASE, folders[0]), (child, CHILD, folders[1]))
    ]
    found = paired_comparison.compare(only_task(project), runs)
    assert (found.n, found.n_clean) == (40, 36)
    tested = found.clean_lines[0].tested[1]
    assert tested is not None
    assert tested.difference.n == 36
    assert tested.difference.value == pytest.approx(18 / 36)


def test_the_newest_run_on_the_items_that_most_share_is_taken(project, base, child, runs):
    measured(project, base, "riddles", items(BASE)[:-1])  # newer, and on other items
    again = measured(project, child, "riddles", items(CHILD))
    assert measured_tasks.one_each(measured_tasks.measured(project)) == [runs[0], again]


def test_items_that_are_gone_are_said_until_they_are_back(client, project, runs):
    file = runs[1].path / "items.jsonl"
    away = file.rename(file.with_name("away"))
    address = reverse("compare-items", args=[project.slug])
    page = client.get(address, {"first": runs[0].pk, "second": runs[1].pk})
    assert f"The items of run {runs[1].pk} are no longer on the disk" in page.content.decode()
    away.rename(file)
    assert paired_differences.pair(*runs).refused == ""


def test_settings_that_differ_are_said(project, base, child):
    runs = [
        measured(
            project,
            m,
            "answers",
            items([{"METEOR": [0.1 * i, 1.0]} for i in range(9)]),
            measure="overlap",
            max_new_tokens=n,
        )
        for m, n in ((base, 64), (child, 128))
    ]
    (note,) = paired_comparison.compare(only_task(project), runs).notes
    assert "max_new_tokens was 64 for tide-base, 128 for tide-sft" in note


def test_parts_of_the_task_say_at_what_a_model_is_better(client, project, base, child, url):
    def by_part(marks) -> list:
        return [replace(item, group="sums" if i < 20 else "names") for i, item in enumerate(items(right(marks)))]

    runs = [
        measured(project, m, "riddles", by_part(marks))
        for m, marks in ((base, [0] * 20 + [1, 0] * 10), (child, [1] * 18 + [0] * 2 + [1, 0] * 10))
    ]
    found = paired_comparison.compare(only_task(project), runs)
    verdicts = {line.group: (line.n, line.tested[1] and line.tested[1].verdict) for line in found.groups}
    assert verdicts == {"sums": (20, "better"), "names": (20, "undecided")}
    page = client.get(url, {"models": [base.pk, child.pk]}).content.decode()
    assert "By part of the task" in page
    assert "+90 points" in page


def test_another_way_of_measuring_is_said(project, base, child, runs):
    run = runs[1]
    run.result = {**run.result, "signature": run.result["signature"].replace("made in a test", "another library")}
    run.save()
    (note,) = paired_comparison.compare(only_task(project), runs).notes
    assert "The settings differ: tide-base by “made in a test”; tide-sft by “another library”" in note


def test_the_page_says_it_in_words(client, project, base, child, runs, url):
    page = client.get(url, {"models": f"{base.pk},{child.pk}"}).content.decode()
    assert "better beyond doubt" in page
    assert "+50 points" in page
    assert "McNemar" in page


def test_runs_can_be_named_and_the_first_chosen(client, project, runs, base, child, url):
    named = client.get(url, {"runs": f"{runs[0].pk},{runs[1].pk}"}).context
    assert [run.pk for run in named["found"].runs] == [run.pk for run in runs]
    turned = client.get(url, {"models": [base.pk, child.pk], "first": child.pk}).context
    assert [run.parent for run in turned["found"].runs] == [child, base]


def test_a_few_models_are_set_apart_before_anybody_chose(client, project, runs, url):
    assert [run.pk for run in client.get(url).context["found"].runs] == [run.pk for run in runs]


def test_one_model_alone_says_what_to_do(client, project, base, url):
    measured(project, base, "riddles", items(BASE))
    assert "Only one model was measured" in client.get(url).content.decode()


def test_nothing_measured_says_what_to_do(client, project, url):
    assert "No measurements by item yet" in client.get(url).content.decode()


@pytest.mark.parametrize("query", ["models=x&task=none", "runs=999999", "models=1,2&to=nobody&first=x", "task=%00"])
def test_an_address_that_makes_no_sense_is_no_error(client, project, runs, url, query):
    assert client.get(f"{url}?{query}").status_code == 200


def test_downloads_hold_what_the_page_says(client, project, runs, base, child):
    query = {"models": f"{base.pk},{child.pk}"}
    body = client.get(reverse("compare-download", args=[project.slug, "json"]), query).json()
    (metric,) = body["metrics"]
    assert metric["models"][1]["difference"]["value"] == pytest.approx(0.5)
    assert metric["models"][1]["difference"]["verdict"] == "better"
    text = client.get(reverse("compare-download", args=[project.slug, "csv"]), query).content.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["difference"] for row in rows] == ["", "0.5"]
    nobody = {"models": "999"}
    assert client.get(reverse("compare-download", args=[project.slug, "csv"]), nobody).status_code == 404


def test_items_that_move_the_difference_most_come_first(client, project, runs):
    reviewer = make_user(project, role="researcher")
    client.force_login(reviewer)
    shown = client.get(reverse("compare-items", args=[project.slug]), {"first": runs[0].pk, "second": runs[1].pk})
    assert shown.context["moving"] == 20
    assert {item.id for item in shown.context["items"]} == {str(i) for i in range(40) if i % 4 in (1, 2)}
    assert all(item.favours_second for item in shown.context["items"])
    assert "Answer 1." in shown.content.decode()


def test_texts_of_items_are_for_those_who_may_review(client, project, base, child):
    found = [{"METEOR": [0.1 * i, 1.0]} for i in range(9)]
    runs = [measured(project, m, "answers", items(found), measure="overlap") for m in (base, child)]
    page = client.get(reverse("compare-items", args=[project.slug]), {"first": runs[0].pk, "second": runs[1].pk})
    assert "Answer 1." not in page.content.decode()


def test_a_private_project_does_not_exist_for_a_stranger(client, project, runs, url):
    project.is_public = False
    project.save()
    client.force_login(make_user())
    assert client.get(url).status_code == 404


def test_items_that_are_gone_are_said(project, runs):
    (runs[1].path / "items.jsonl").unlink()
    assert "no longer on the disk" in paired_differences.pair(*runs).refused


def test_parts_of_a_task_return_with_the_items_that_were_gone(project, base, child):
    halves = [replace(item, group="sea" if number % 2 else "land") for number, item in enumerate(items(BASE))]
    runs = [measured(project, model, "riddles", halves) for model in (base, child)]
    file = runs[1].path / "items.jsonl"
    moved = file.rename(file.with_name("elsewhere"))
    assert paired_differences.by_group(*runs, "accuracy") == {}
    moved.rename(file)
    assert set(paired_differences.by_group(*runs, "accuracy")) == {"sea", "land"}


def test_the_api_says_the_same(client, project, runs, base, child):
    body = client.get(
        "/api/v1/evaluations/compare/",
        {"project": project.slug, "task": "riddles", "models": f"{base.pk},{child.pk}"},
    ).json()
    assert body["metrics"][0]["models"][1]["difference"]["p_holm"] == pytest.approx(paired_tests.mcnemar(20, 0))
    refused = client.get("/api/v1/evaluations/compare/", {"project": project.slug, "task": "none"})
    assert refused.status_code == 400
    assert "riddles" in str(refused.json())


def test_items_that_were_cut_off_by_a_full_disk_are_said_everywhere(client, project, runs):
    file = runs[1].path / "items.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    assert "measure" in paired_differences.pair(*runs).refused
    address = reverse("compare-items", args=[project.slug])
    assert client.get(address, {"first": runs[0].pk, "second": runs[1].pk}).status_code == 200
    assert client.get(reverse("run-items", args=[runs[1].pk])).status_code == 404
    response = client.get(f"/api/v1/runs/{runs[1].pk}/items/")
    assert response.status_code == 409 and "queue the run again" in response.json()["errors"]["run"]
