"""The page of all figures: the newest of each, by task, with intervals; what to do when there are none."""

from __future__ import annotations

import csv
import io

import pytest
from django.urls import reverse

from annotate.models import Project
from evaluation.measures import evaluations
from evaluation.measures.evaluations import Chosen
from evaluation.measures.pages.evaluations_page import tables
from evaluation.measures.present import figure_formats
from evaluation.measures.present.group_table import groups_of
from evaluation.models import Evaluation
from tests.support.evaluation.evaluated import figure, make_evaluated
from tests.support.factories import make_contestant, make_model, make_user
from training.models import Run


def page(client, project, query="") -> str:
    response = client.get(reverse("evaluations", args=[project.slug]) + query)
    assert response.status_code == 200
    return response.content.decode()


def test_a_project_without_figures_says_what_to_do_first(client, project):
    assert "Researchers of this project can start one" in page(client, project)
    client.force_login(make_user(project, role="researcher"))
    text = page(client, project)
    assert reverse("new-run", args=[project.slug, "evaluate"]) in text and "as=task" in text


def test_each_figure_stands_with_interval_n_direction_signature_and_its_run(client, project, base, child):
    run = make_evaluated(project, base)
    make_evaluated(project, child, metrics={"accuracy": figure(0.8)})
    text = page(client, project)
    for told in ("70.0 %", "± 5.0", "higher is better", "lm-eval 0; 0-shot", reverse("run", args=[run.pk]), "tide-sft"):
        assert told in text
    assert "not the same" not in text and text.count("figure-interval") == 2


def test_the_newest_figure_of_a_model_stands_and_an_older_one_does_not(project, base):
    make_evaluated(project, base, metrics={"accuracy": figure(0.5)})
    newest = make_evaluated(project, base, metrics={"accuracy": figure(0.6)})
    [row] = evaluations.standing(project, Chosen())
    assert (row.run, row.value) == (newest, 0.6)


def test_figures_against_two_opponents_are_two_figures(project, base, child):
    third = make_contestant(project, make_model(name="kestrel")).model
    for opponent in (child, third):
        make_evaluated(
            project, base, task="votes", metrics={"win rate": figure(0.6)},
            config={"measure": "win_rate", "opponent": opponent.name},
        )  # fmt: skip
    [table] = tables(evaluations.standing(project, Chosen()))
    assert [head for head, _ in table.heads] == ["win rate against tide-sft", "win rate against kestrel"]


def test_groups_are_not_among_the_figures_of_the_whole(project, base):
    make_evaluated(project, base, groups={"grammar": {"accuracy": figure(0.9)}})
    assert [row.group for row in evaluations.standing(project, Chosen())] == [""]
    assert evaluations.standing(project, Chosen(groups=True)).count() == 2


def test_rows_that_were_measured_on_other_items_are_told_apart(client, project, base, child):
    make_evaluated(project, base, items_hash="one")
    make_evaluated(project, child, items_hash="two")
    assert "only rows with the same letter" in page(client, project)
    [table] = tables(evaluations.standing(project, Chosen()))
    assert [row.items for row in table.rows] == ["a", "b"]


def test_figures_without_seen_items_come_when_asked(client, project, base):
    make_evaluated(project, base, metrics={"accuracy": figure(0.7, clean=0.61)}, contaminated=4)
    text = page(client, project)
    assert "4 seen" in text and "61.0 %" not in text
    assert "61.0 %" in page(client, project, "?clean=1")


def test_figures_are_filtered_by_task_model_and_lineage(client, project, base, child):
    stranger = make_contestant(project, make_model(name="kestrel")).model
    for model in (base, child, stranger):
        make_evaluated(project, model)
    make_evaluated(project, stranger, task="tales", metrics={"perplexity": figure(20, higher=False)})
    assert [t.task for t in tables(evaluations.standing(project, Chosen(task="tales")))] == ["tales"]
    text = page(client, project, f"?line={child.pk}")
    assert f"/models/{base.pk}/" in text and f"/models/{stranger.pk}/" not in text
    text = page(client, project, f"?model={stranger.pk}")
    assert f"/models/{stranger.pk}/" in text and f"/models/{base.pk}/" not in text
    assert "No figures match" in page(client, project, "?task=none")
    assert page(client, project, "?model=x&line=99999999999999999999")


def test_a_lineage_is_ancestors_and_all_that_came_of_it(project, base, child):
    grandchild = make_model(parent=child)
    sister = make_model(parent=base)
    assert evaluations.line_of(child) == [base, child, grandchild]
    assert sister in evaluations.line_of(base)


def test_a_private_projects_figures_are_hidden_and_a_public_ones_are_read_by_anybody(client, project, base):
    make_evaluated(project, base)
    assert "70.0 %" in page(client, project)
    Project.objects.filter(pk=project.pk).update(is_public=False)
    assert client.get(reverse("evaluations", args=[project.slug])).status_code == 302
    client.force_login(make_user())
    assert client.get(reverse("evaluations", args=[project.slug])).status_code == 404


def test_figures_of_a_reward_run_have_a_place_of_their_own(client, project, base):
    Evaluation.objects.create(
        project=project,
        model=base,
        metric="held-out pair accuracy",
        value=0.7,
        lower=0.6,
        upper=0.8,
        n=90,
        signature="s",
    )
    text = page(client, project)
    assert "From the runs of the models" in text and "70 %" in text


@pytest.mark.parametrize(
    ("name", "figures", "text", "margin"),
    [
        ("accuracy", (0.7312, 0.69, 0.77), "73.1 %", "± 4.0"),
        ("accuracy", (0.0, 0.0, 0.24), "0 %", "[0, 24]"),
        ("perplexity", (15.234, 14.9, 15.6), "15.23", "± 0.35"),
        ("word perplexity", (6.8084e16, 5e16, 9e16), "6.8e+16", "± 2e+16"),
        ("MCC", (-0.123, None, None), "−0.123", ""),
        ("BLEU", (0.0, 0.0, 0.0), "0.0", ""),
    ],
)
def test_a_figure_is_rounded_to_what_its_interval_can_tell(name, figures, text, margin):
    value, lower, upper = figures
    shown = figure_formats.shown(name, value, lower, upper, n=10, higher_is_better=None)
    assert (shown.text, shown.margin) == (text, margin)


def test_a_figure_that_is_no_metric_of_ours_has_no_direction():
    shown = figure_formats.shown("temperature", 1.0, None, None, n=1, higher_is_better=None)
    assert (shown.arrow, shown.direction) == ("", "")


def test_what_is_under_way_and_what_failed_is_told(client, project, base, child):
    for model, state in ((base, "failed"), (child, "running")):
        run = make_evaluated(project, model)
        Run.objects.filter(pk=run.pk).update(state=state, reason="There are no texts.", remedy="Upload some.")
    text = page(client, project)
    assert "failed: There are no texts. Upload some." in text and "Running:" in text and "part=under-way" in text
    again = client.get(reverse("evaluations", args=[project.slug]), {"part": "under-way"}).content.decode()
    assert "how good 2" in again and "<h1>" not in again
    Run.objects.update(state="succeeded")
    again = client.get(reverse("evaluations", args=[project.slug]), {"part": "under-way"}).content.decode()
    assert "has ended" in again and "every 5s" not in again
    assert "failed" not in page(client, project)


def test_the_figures_come_as_a_table(client, project, base):
    make_evaluated(project, base, groups={"=grammar": {"accuracy": figure(0.9)}})
    text = client.get(reverse("evaluations-csv", args=[project.slug])).content.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["group"], r["value"], r["higher_is_better"]) for r in rows] == [
        ("", "0.7", "True"),
        ("'=grammar", "0.9", "True"),
    ]


def test_a_table_leads_to_the_differences_between_its_rows(client, project, base, child):
    first = make_evaluated(project, base)
    assert "?runs=" not in page(client, project)
    second = make_evaluated(project, child)
    assert f"?runs={first.pk},{second.pk}" in page(client, project)


def test_the_groups_of_a_task_stand_side_by_side_in_one_metric(client, project, base, child):
    parts = {"grammar": {"accuracy": figure(0.8, 20), "accuracy per byte": figure(0.3, 20)}}
    make_evaluated(project, base, groups={**parts, "sense": {"accuracy": figure(0.9, 20)}})
    make_evaluated(project, child, groups=parts)
    assert "?task=assay" in page(client, project) and "80.0 %" not in page(client, project)
    text = page(client, project, "?task=assay")
    assert "By group" in text and "80.0 %" in text and "90.0 %" in text and "30.0 %" not in text
    assert "30.0 %" in page(client, project, "?task=assay&metric=accuracy+per+byte")
    [grammar, sense] = groups_of(evaluations.standing(project, Chosen(task="assay", groups=True))).rows
    assert [f.text if f else "" for f in sense[2]] == ["90.0 %", ""]
    assert grammar[:2] == ("grammar", 20)


def test_a_runs_page_has_metrics_that_say_the_same_in_one_row(client, project, base):
    same, other = figure(0.63), figure(0.66)
    metrics = {"accuracy": same, "accuracy per character": other, "accuracy per byte": other}
    run = make_evaluated(project, base, metrics=metrics)
    response = client.get(reverse("run", args=[run.pk]))
    assert [line.name for line in response.context["measured"]] == [
        "accuracy",
        "accuracy per byte, accuracy per character",
    ]
    empty = {"value": 0.0, "n": 1, "lower": None, "upper": None, "higher_is_better": True, "clean": None}
    run = make_evaluated(project, base, metrics={"BLEU": empty, "chrF": empty})
    lines = client.get(reverse("run", args=[run.pk])).context["measured"]
    assert len(lines) == 2, "without an interval nothing says that they are the same"
