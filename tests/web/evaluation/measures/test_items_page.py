"""The page of a run's items: what everybody sees, what only those who may review see, and the files."""

from __future__ import annotations

import csv
import io
import json

import pytest
from django.urls import reverse

from annotate.models import Project
from tests.support.evaluation.evaluated import figure, item, make_evaluated
from tests.support.factories import make_user
from tests.support.training.runs import make_dataset

ROWS = [
    item(0, right=True, group="grammar"),
    item(1, right=False, group="sense", seen=True),
    *(item(n, group="sense") for n in range(2, 30)),
]


@pytest.fixture
def run(project, base):
    return make_evaluated(project, base, items=ROWS)


def page(client, run, query="") -> str:
    response = client.get(reverse("run-items", args=[run.pk]) + query)
    assert response.status_code == 200
    return response.content.decode()


def test_each_item_shows_its_candidates_their_log_probabilities_and_which_was_right(client, run):
    shown = page(client, run)
    assert "Question 0?" in shown and "−1.25" in shown and "the model’s choice" in shown
    assert "item-19<" in shown and "item-20<" not in shown  # twenty to a page
    assert "item-20<" in page(client, run, "?page=2")


def test_items_are_filtered(client, run):
    wrong = page(client, run, "?right=no")
    assert "item-1<" in wrong and "item-0<" not in wrong and "1 match" in wrong
    assert "item-0<" in page(client, run, "?group=grammar")
    assert "train.jsonl" in page(client, run, "?seen=yes")
    assert "No items match" in page(client, run, "?group=grammar&right=no")


def test_a_filter_that_means_nothing_is_passed_over(client, run):
    assert "item-0<" in page(client, run, "?right=perhaps&order=sideways&page=x")


def test_answers_stand_beside_references(client, project, base):
    shown = {"prompt": [{"role": "user", "content": "Name a colour."}], "answer": "Blue.", "references": ["Green."]}
    row = {**item(0, **shown), "counts": {"chrF2": [0.0] * 18}}
    run = make_evaluated(project, base, items=[row], config={"measure": "overlap"}, metrics={"chrF2": figure(3.0)})
    client.force_login(make_user(project, role="reviewer"))
    text = page(client, run)
    assert "Its answer" in text and "Blue." in text and "Reference" in text and "Green." in text


def test_texts_of_a_dataset_are_for_those_who_may_review(client, project, base):
    run = make_evaluated(project, base, items=ROWS, other_dataset=make_dataset(project, kind="task", side="eval"))
    text = page(client, run)
    assert "item-0" in text and "Question 0?" not in text and "Only reviewers of this project" in text
    told = b"".join(client.get(reverse("run-items-jsonl", args=[run.pk])).streaming_content)
    assert b"Question" not in told and json.loads(told.splitlines()[0])["shown"] is None
    table = b"".join(client.get(reverse("run-items-csv", args=[run.pk])).streaming_content)
    assert b"Question" not in table
    client.force_login(make_user(project, role="reviewer"))
    assert "Question 0?" in page(client, run)
    assert b"Question 0?" in b"".join(client.get(reverse("run-items-jsonl", args=[run.pk])).streaming_content)


def test_a_private_projects_items_are_hidden(client, run, project):
    Project.objects.filter(pk=project.pk).update(is_public=False)
    for name in ("run-items", "run-items-jsonl", "run-items-csv"):
        assert client.get(reverse(name, args=[run.pk])).status_code == 302  # to sign in
    client.force_login(make_user())
    assert client.get(reverse("run-items", args=[run.pk])).status_code == 404


def test_a_run_without_items_has_no_such_page(client, project, base):
    run = make_evaluated(project, base)
    assert client.get(reverse("run-items", args=[run.pk])).status_code == 404


def test_all_items_come_as_a_table(client, run):
    text = b"".join(client.get(reverse("run-items-csv", args=[run.pk])).streaming_content).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 30 and rows[1]["accuracy"] == "0.0" and rows[1]["contaminated"] == "True"


def test_a_formula_does_not_run_in_a_spreadsheet(client, project, base):
    run = make_evaluated(project, base, items=[{**item(0), "id": "=1+1"}])
    text = b"".join(client.get(reverse("run-items-csv", args=[run.pk])).streaming_content).decode()
    assert "'=1+1" in text


def test_the_runs_page_leads_to_its_items_and_shows_groups_and_clean_figures(client, project, base):
    run = make_evaluated(
        project, base, items=ROWS, metrics={"accuracy": figure(0.7, clean=0.66)}, contaminated=4,
        groups={"grammar": {"accuracy": figure(0.8, 20)}}, notes=["Guessing is right in 50 %."],
    )  # fmt: skip
    text = client.get(reverse("run", args=[run.pk])).content.decode()
    assert reverse("run-items", args=[run.pk]) in text and "?group=grammar" in text
    assert "70.0 %" in text and "65.0 to 75.0 %" in text and "66.0 %" in text
    assert "4 of 40 items were seen in training" in text and "Guessing is right" in text


def test_a_comparison_is_won_lost_or_tied(client, project, base, child):
    shown = {
        "prompt": [{"role": "user", "content": "Why?"}],
        "answer": "So.",
        "other": "Thus.",
        "verdict": "its answer",
    }
    rows = [{**item(n, **shown), "counts": {"win rate": [points, 1.0]}} for n, points in enumerate((1.0, 0.0, 0.5))]
    run = make_evaluated(
        project, child, items=rows, metrics={"win rate": figure(0.5)},
        config={"measure": "win_rate", "opponent": base.name},
    )  # fmt: skip
    client.force_login(make_user(project, role="reviewer"))
    text = page(client, run)
    assert "Won or lost" in text and ">won</span>" in text and ">lost</span>" in text and ">right</span>" not in text
    assert "The opponent’s answer" in text and "Thus." in text and "win rate 50.0 %" in text


def test_pairs_and_ratings_of_a_prompt_show_the_reward_models_scores(client, project):
    from tests.support.factories import make_model

    pair = {"chosen": "Yes.", "rejected": "No.", "score": 1.5, "other score": -0.25, "verdict": "right"}
    rated = {"answer": "Maybe.", "thumbs": True, "stars": 4, "score": 0.5}
    prompt = [{"role": "user", "content": "Is it?"}]
    rows = [
        {**item(0, prompt=prompt, pairs=[pair, pair], rated=[rated]), "counts": {"pair accuracy": [1.0, 2.0]}},
        {**item(1, prompt=prompt, **pair), "counts": {"pair accuracy": [1.0, 1.0]}},
        {**item(2, prompt=prompt, rated=[rated]), "counts": {"pair accuracy": [0.0, 0.0]}},
    ]
    judge = make_model(kind="reward")
    run = make_evaluated(
        project, judge, items=rows, metrics={"pair accuracy": figure(0.7)}, config={"measure": "reward_accuracy"}
    )
    client.force_login(make_user(project, role="reviewer"))
    text = page(client, run)
    assert "The annotators’ choice, score 1.5: right" in text and "The other answer, score −0.25" in text
    assert "Thumb up, 4 of 5 stars, score 0.5" in text and "Maybe." in text
