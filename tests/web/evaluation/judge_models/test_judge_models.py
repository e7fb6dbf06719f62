"""Judge models: their rubrics, a page like a person's, and one rating by votes and verdicts."""

from __future__ import annotations

import random
import re

import pytest
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.data.datasets import freezing
from annotate.models import Comparison, Dataset, DatasetFreeze, Project
from evaluation.core import kept_figures
from evaluation.experiments.order_checks import check_data
from evaluation.judge_models import actions, judge_figures, kept_by_rubric, verdict_datasets, verdict_items
from evaluation.judge_models import combined_rating as combined_rating_
from evaluation.judge_models.combined_rating import combined_rating
from evaluation.judge_models.judge_figures import figures_of
from evaluation.judge_models.verdict_datasets import freeze_verdicts
from evaluation.leaderboard.snapshots import current
from evaluation.models import JudgeModel, Rubric
from evaluation.registry import model_card
from tests.support.api_client import Program
from tests.support.evaluation.judges import make_judge, make_rubric, make_verdict
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_model,
    make_project,
    make_prompt,
    make_user,
    sign_in,
)
from training.core.run_directory import RecipeFailure, read_lines
from training.models import Run
from training.runs.present.run_page import run_overview

TURNED = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}


@pytest.fixture
def rubric(project) -> Rubric:
    return make_judge(project)


@pytest.fixture
def pair(project, base, child):
    """`pair(text, other, **prompt)`: two answers to a new eval prompt, of base and child."""

    def made(text="short", other="a longer one", **fields):
        prompt = make_prompt(project, side=fields.pop("side", "eval"), **fields)
        return make_completion(prompt, text, model=base), make_completion(prompt, other, model=child)

    return made


@pytest.fixture
def arena(project, pair, rubric):
    """Forty voted pairs, the judge agreeing on three in four, and two hundred that the judge alone has seen."""
    lot = random.Random(1)
    people = [make_user() for _ in range(10)]
    for n in range(40):
        a, b = pair(category="sums" if n % 2 else "poems")
        winner = "model_b" if lot.random() < 0.65 else "model_a"
        make_comparison(a, b, winner, people[n % 10])
        make_verdict(rubric, a, b, winner if n % 4 else TURNED[winner], prompt_tokens=100, completion_tokens=10)
    for n in range(200):
        a, b = pair(category="sums" if n % 2 else "poems")
        make_verdict(rubric, a, b, "model_b" if lot.random() < 0.6 else "model_a")


# Rubrics


def test_a_new_text_is_a_new_version_and_the_same_text_none(project, rubric):
    by = make_user(project, role="researcher")
    again = actions.add_rubric(judge=rubric.judge, by=by, text="Text 1.")
    newer = actions.add_rubric(judge=rubric.judge, by=by, text="Only truth counts.")
    assert (again.pk, newer.version) == (rubric.pk, 2)
    rubric.refresh_from_db()
    assert rubric.text == "Text 1."


@pytest.mark.parametrize(
    "fields, wrong",
    [({"name": " "}, "name"), ({"name": "the judge"}, "name"), ({"model": 10**6}, "model"), ({"form": "song"}, "form")],
)
def test_a_judge_that_is_none_is_refused_with_its_field(client, project, rubric, fields, wrong):
    client.force_login(make_user(project, role="researcher"))
    body = {"name": "another", "model": make_model().pk, **fields}
    page = client.post(reverse("judge-models", args=[project.slug]), body)
    html = page.content.decode()
    assert page.status_code == 400 and f"<strong>{wrong}</strong>" in html
    assert re.findall(r'name="(\w+)"[^>]* aria-invalid="true" aria-describedby="(\w+)-error"', html) == [(wrong, wrong)]
    told = Program(make_user(project, role="researcher")).post(f"projects/{project.slug}/judge-models/", body)
    assert told.status_code == 400 and wrong in told.json()["errors"]


def test_a_model_of_another_project_judges_nothing_here(project):
    stranger = make_model(is_shared=False, project=make_project())
    with pytest.raises(Exception, match="cannot use this model"):
        actions.create_judge(project=project, by=make_user(project, role="researcher"), name="x", model=stranger)


def test_a_judge_that_its_twin_has_added_meanwhile_is_refused_as_taken(project, rubric, monkeypatch):
    monkeypatch.setattr(QuerySet, "exists", lambda rows: rows.model is not JudgeModel and bool(rows[:1]))
    with pytest.raises(Refused, match="has a judge model the judge already") as refused:
        actions.create_judge(
            project=project, by=make_user(project, role="researcher"), name="the judge", model=rubric.judge.model
        )
    assert refused.value.status == 409


# What it is asked


def items_of(project, rubric, **config):
    options = {"judge": rubric.judge.name, "version": 0, "items": "both", "annotators": "people", "split": "eval"}
    run = Run(project=project, kind="verdicts", config={**options, "limit": 1000, **config})
    return verdict_items.rows(run)["items"]


def test_a_prompt_that_was_taken_out_goes_to_no_judge(project, rubric, pair):
    (a, b), (out, other) = pair(), pair(out_since=timezone.now())
    for one, two in ((a, b), (out, other)):
        make_comparison(one, two, "model_a")
    assert [item["prompt_id"] for item in items_of(project, rubric)] == [a.prompt_id]


def test_on_a_scale_the_next_order_asks_about_other_answers(project, pair):
    rubric = make_judge(project, form="scale")
    answers = {answer.pk: answer for _ in range(4) for answer in pair()}
    asked = []
    for _ in range(2):
        asked.append([item["a"] for item in items_of(project, rubric, items="unseen", limit=2)])
        for pk in asked[-1]:
            rubric.verdicts.create(prompt=answers[pk].prompt, completion_a=answers[pk], grade=5)
    assert sorted(asked[0] + asked[1]) == sorted(answers)
    with pytest.raises(RecipeFailure, match="nothing in the eval split"):
        items_of(project, rubric, items="unseen", limit=2)


# Figures


def test_agreement_counts_votes_for_a_winner_and_stands_beside_people(project, rubric, pair):
    one, two, three = make_user(), make_user(), make_user(is_simulated=True)
    for n in range(4):
        a, b = pair()
        make_verdict(rubric, b, a, "model_a")
        make_comparison(a, b, "model_b", one)
        make_comparison(b, a, "model_a" if n else "model_b", two)
        make_comparison(a, b, "model_a", three)
    a, b = pair()
    make_verdict(rubric, a, b, "model_a", "model_b")
    make_comparison(a, b, "model_a", one)
    figures = figures_of(rubric, "person")
    assert (figures.votes, figures.persons, figures.agreement.n) == (9, 2, 9)
    assert figures.agreement.value == pytest.approx((7 + 0 + 0.5) / 9)
    assert figures.agreement.beside == pytest.approx(6 / 8)
    assert figures.consistency.value == pytest.approx(4 / 5)
    assert figures.first_shown.value == pytest.approx((4 * 0.5 + 1) / 5)
    assert figures_of(rubric, "simulation").agreement.value == 0


def test_biases_are_what_the_judge_does_beyond_people(project, base, child, pair):
    rubric = make_judge(project, model=child)
    for n in range(12):
        a, b = pair(category="sums")
        make_verdict(rubric, a, b, "model_b")
        make_comparison(a, b, "model_b" if n % 2 else "model_a")
    figures = figures_of(rubric, "person")
    assert figures.length.value == pytest.approx(0.5) and figures.length.is_apart
    assert figures.own is None, "base and child are of one family"
    other = make_model()
    prompt = make_prompt(project, side="eval")
    a, b = make_completion(prompt, model=child), make_completion(prompt, model=other)
    make_verdict(rubric, a, b, "model_a")
    make_comparison(a, b, "model_b")
    assert figures_of(rubric, "person").own.value == 1
    assert figures_of(rubric, "person").by_category[0][0] == "sums"


def test_drift_compares_versions_on_the_same_pairs(project, rubric, pair):
    newer = make_rubric(rubric.judge)
    for n in range(4):
        a, b = pair()
        make_verdict(rubric, a, b, "model_a")
        make_verdict(newer, a, b, "model_b" if n < 3 else "model_a")
        make_comparison(a, b, "model_b")
    (drift,) = figures_of(newer, "person").drift
    assert (drift.version, drift.same.value, drift.agreement_gained.value) == (1, 0.25, 0.75)
    assert figures_of(rubric, "person").drift == []


def test_cost_counts_tokens_and_money_by_the_models_price(project, rubric, pair):
    make_verdict(rubric, *pair(), "model_a", prompt_tokens=1000, completion_tokens=100, seconds=2.5)
    cost = figures_of(rubric, "person").cost
    assert (cost.prompt_tokens, cost.completion_tokens, cost.seconds, cost.dollars) == (1000, 100, 2.5, None)
    model = rubric.judge.model
    model.prompt_price, model.completion_price = 2, 10
    model.save()
    assert figures_of(Rubric.objects.get(pk=rubric.pk), "person").cost.dollars == pytest.approx(0.003)


def test_tokens_that_a_server_did_not_count_are_no_cost(client, project, rubric, pair):
    a, b = pair()
    rubric.verdicts.create(prompt=a.prompt, completion_a=a, completion_b=b, winner="tie")  # equal: nobody was asked
    make_verdict(rubric, *pair(), "model_a", prompt_tokens=1000, completion_tokens=100)
    assert figures_of(rubric, "person").cost.prompt_tokens == 1000
    make_verdict(rubric, *pair(), "model_a", prompt_tokens=1000)
    cost = figures_of(rubric, "person").cost
    assert (cost.verdicts, cost.prompt_tokens, cost.completion_tokens, cost.dollars) == (3, None, None, None)
    rubric.verdicts.filter(completion_tokens=100).delete()
    sign_in(client, project, "reviewer")
    assert client.get(reverse("judge-models", args=[project.slug])).status_code == 200
    page = client.get(reverse("judge-model", args=[project.slug, rubric.judge_id])).content.decode()
    assert "The server has not counted the tokens of every reply" in page


def test_figures_of_large_judges_are_computed_in_the_background_and_the_same(
    client, project, arena, base, rubric, monkeypatch
):
    make_verdict(
        rubric,
        make_completion(p := make_prompt(project, side="eval"), model=base),
        make_completion(p, model=make_model(name="newcomer")),
        "model_a",
    )
    figures, rating = figures_of(rubric, "person"), combined_rating(project, "person", rubric)
    monkeypatch.setattr(kept_by_rubric, "FEW", 0)
    researcher = sign_in(client, project, "researcher")
    pages = [
        reverse("judge-models", args=[project.slug]),
        reverse("judge-model", args=[project.slug, rubric.judge_id]),
        reverse("leaderboard-with-judge", args=[project.slug]),
    ]
    assert [client.get(page).status_code for page in pages] == [202, 202, 202]
    assert Program(researcher).get(f"projects/{project.slug}/judge-models/{rubric.judge_id}/").status_code == 202
    worker = kept_figures.figure_worker(
        {"judge models": judge_figures.compute_kept, "judge ratings": combined_rating_.compute_kept}
    )
    assert worker.do_now() and worker.do_now() and not worker.do_now()
    for page in pages:
        shown = client.get(page)
        assert shown.status_code == 200 and "computed in the background" in shown.content.decode()
        age = client.get(page, {"shown": shown.context["kept"].computed_at.isoformat()})
        assert age.status_code == 200 and "As of" in age.content.decode()
    kept = combined_rating(project, "person", rubric)
    assert figures_of(rubric, "person") == figures
    assert (kept.rows, kept.unrated, kept.label) == (rating.rows, rating.unrated, rating.label)
    newer = make_rubric(rubric.judge)
    assert figures_of(newer, "person").pairs == 0, "nothing is judged by it yet: nobody waits for that"
    a, b = Comparison.objects.first().completion_a, Comparison.objects.first().completion_b
    make_verdict(newer, a, b, "model_a")
    with pytest.raises(kept_figures.BeingComputed):
        figures_of(newer, "person")
    worker.do_now()
    assert figures_of(newer, "person").pairs == 1


# Never mixed


def test_verdicts_change_neither_votes_nor_the_leaderboard(project, base, child, vote, rubric, pair):
    vote(base, child, n=3)
    before = current(project=project, judge="person").ratings
    for _ in range(5):
        make_verdict(rubric, *pair(), "model_b")
    assert current(project=project, judge="person").ratings == before
    assert Comparison.objects.count() == 3


# One rating by both


def test_both_rate_with_votes_saved_and_people_stay_beside(project, base, child, arena, rubric):
    rating = combined_rating(project, "person", rubric)
    assert (rating.found.votes, rating.found.seen, rating.found.verdicts) == (40, 40, 200)
    assert {row.model for row in rating.rows} == {base, child}
    assert 0 < rating.found.weight <= 1 and rating.found.effective > 40
    assert rating.label == "40 votes of people and 200 verdicts of the judge, version 1"
    first = rating.rows[0]
    assert first.upper - first.lower < first.people_upper - first.people_lower
    assert combined_rating(project, "simulation", rubric) is None


def test_verdicts_on_the_train_split_and_by_another_version_rank_nothing(project, arena, rubric, pair):
    before = combined_rating(project, "person", rubric).found.verdicts
    make_verdict(rubric, *pair(side="train"), "model_a")
    make_verdict(make_rubric(rubric.judge), *pair(), "model_a")
    assert combined_rating(project, "person", rubric).found.verdicts == before


def test_grades_rate_as_pairs(project, base, child, pair):
    rubric = make_judge(project, form="scale")
    for n in range(8):
        a, b = pair()
        for answer, grade in ((a, 3), (b, 7)):
            rubric.verdicts.create(prompt=a.prompt, completion_a=answer, grade=grade)
        if n < 4:
            make_comparison(a, b, "model_b" if n else "model_a")
    found = combined_rating(project, "person", rubric).found
    assert (found.votes, found.seen, found.verdicts) == (4, 4, 4)
    assert figures_of(rubric, "person").agreement.value == 0.75


def test_a_model_that_only_the_judge_has_seen_is_named_and_not_rated(project, arena, base, rubric):
    newcomer, prompt = make_model(name="newcomer"), make_prompt(project, side="eval")
    make_verdict(rubric, make_completion(prompt, model=base), make_completion(prompt, model=newcomer), "model_b")
    rating = combined_rating(project, "person", rubric)
    assert rating.unrated == [newcomer] and newcomer not in {row.model for row in rating.rows}


# Datasets


def test_a_dataset_of_verdicts_says_so_and_holds_the_train_split_alone(client, project, pair, rubric):
    researcher = sign_in(client, project, "researcher")
    make_verdict(rubric, *pair(), "model_a")
    address = reverse("judge-model", args=[project.slug, rubric.judge_id])
    refused = client.post(address, {"do": "freeze", "name": "taught"})
    assert refused.status_code == 400 and "no pair of the train split" in refused.content.decode()
    a, b = pair(side="train")
    make_verdict(rubric, a, b, "model_b")
    sent = client.post(address, {"do": "freeze", "name": "taught"})
    dataset = Dataset.objects.get()
    assert sent.url == reverse("dataset", args=[dataset.pk])
    assert (dataset.judge, dataset.side, dataset.counts["judge_model"]) == ("model", "train", "the judge, version 1")
    assert dataset.comparisons.count() == 0 and dataset.from_verdicts.rubric == rubric
    (row,) = read_lines(dataset.path / "comparisons.jsonl")
    assert (row["completion_a"], row["completion_b"], row["winner"]) == (a.pk, b.pk, "model_b")
    assert len(list(read_lines(dataset.path / "completions.jsonl"))) == 2
    assert "1 comparison, 0 ratings" in client.get(reverse("datasets", args=[project.slug])).content.decode()
    assert dataset not in client.get(reverse("new-experiment", args=[project.slug])).context["datasets"]
    with pytest.raises(Refused, match="A judge model labelled taught"):
        check_data([], dataset, has_examples=False, has_reward_model=True)
    page = client.get(sent.url).content.decode()
    assert "Labelled by a judge model" in page and "by a judge model</span>" in page
    assert "a judge model" in client.get(reverse("datasets", args=[project.slug])).content.decode()
    api = Program(researcher)
    again = api.post(f"projects/{project.slug}/judge-models/{rubric.judge_id}/datasets/", {"name": "taught"})
    assert again.status_code == 409
    other = api.post(f"projects/{project.slug}/judge-models/{rubric.judge_id}/datasets/", {"name": "b", "version": 1})
    assert other.json()["content_hash"] == dataset.content_hash
    with pytest.raises(Refused, match="Enter a name"):
        freeze_verdicts(rubric=rubric, name="a\0b", by=researcher)


@pytest.mark.parametrize("form", ["pairwise", "scale"])
def test_more_verdicts_than_a_request_freezes_are_refused_with_their_number(project, pair, form, monkeypatch):
    rubric, by = make_judge(project, form=form), make_user(project, role="researcher")
    monkeypatch.setattr(verdict_datasets, "MOST", 1)
    for a, b in (pair(side="train"), pair(side="train")):
        if form == "pairwise":
            make_verdict(rubric, a, b, "model_a")
        for answer, grade in ((a, 3), (b, 7)) if form == "scale" else ():
            rubric.verdicts.create(prompt=a.prompt, completion_a=answer, grade=grade)
    with pytest.raises(Refused, match="has judged 2 pairs of the train split, and at most 1"):
        freeze_verdicts(rubric=rubric, name="taught", by=by)
    assert not Dataset.objects.exists()


def test_many_verdicts_are_frozen_in_the_background_as_they_stood_when_ordered(project, pair, rubric, monkeypatch):
    monkeypatch.setattr(verdict_datasets, "SMALL", 1)
    by = make_user(project, role="researcher")
    for _ in range(2):
        make_verdict(rubric, *pair(side="train"), "model_a")
    at_once = freeze_verdicts(rubric=rubric, name="at once", by=by)
    address = f"projects/{project.slug}/judge-models/{rubric.judge_id}/datasets/"
    answer = Program(by).post(address, {"name": "taught"})
    assert answer.status_code == 202 and answer.json()["judge"] == "model" and Dataset.objects.count() == 1
    assert Program(by).post(address, {"name": "taught"}).status_code == 409  # it is under way
    make_verdict(rubric, *pair(side="train"), "model_b")  # too late
    assert freezing.freezer().do_now()
    order = DatasetFreeze.objects.get(pk=answer.json()["id"])
    assert (order.state, order.dataset.content_hash) == ("done", at_once.content_hash)
    assert order.dataset.judge == "model" and not freezing.freezer().do_now()


def test_the_card_of_a_model_that_learned_from_verdicts_says_so(project, base, pair, rubric):
    make_verdict(rubric, *pair(side="train"), "model_b")
    dataset = freeze_verdicts(rubric=rubric, name="taught", by=make_user(project, role="researcher"))
    child = make_model(name="pupil", parent=base)
    run = Run.objects.create(
        project=project, kind="dpo", name="pupil", parent=base, dataset=dataset, output_model=child
    )
    card = model_card.markdown(child, readable=Project.objects.all())
    assert "the judge model the judge, version 1" in card
    assert run_overview._votes(run.dataset) == "1 verdicts of the judge model the judge, version 1"


# Pages and API


def test_the_pages_of_a_judge_show_its_figures_and_reasons(client, project, arena, rubric):
    sign_in(client, project, "reviewer")
    page = client.get(reverse("judge-models", args=[project.slug])).content.decode()
    assert "the judge" in page and "75 %" in page and "Add a judge model" not in page
    page = client.get(reverse("judge-model", args=[project.slug, rubric.judge_id])).content.decode()
    for words in ("Of 40 votes of people for one answer, 75 %", "Position bias", "Length bias", "poems", "Text 1."):
        assert words in page
    assert "Ask for verdicts" not in page
    rubric.verdicts.create(
        prompt=(p := make_prompt(project)), completion_a=make_completion(p), grade=3, reasons=["Why not."]
    )
    page = client.get(reverse("judge-verdicts", args=[project.slug, rubric.judge_id])).content.decode()
    assert "Why not." in page and "Page 1 of 13" in page
    page = client.get(reverse("judge-verdicts", args=[project.slug, rubric.judge_id]) + "?only=torn").content.decode()
    assert "No verdict of this version changed with the order" in page


def test_a_researcher_asks_for_verdicts_and_changes_the_rubric(client, project, rubric):
    sign_in(client, project, "researcher")
    address = reverse("judge-model", args=[project.slug, rubric.judge_id])
    for wrong in ({"limit": "many"}, {"items": "few"}):
        refused, (name,) = client.post(address, {"do": "verdicts", **wrong}), wrong
        marks = re.findall(r'name="(\w+)"[^>]* aria-invalid="true"', refused.content.decode())
        assert refused.status_code == 400 and marks == [name]
    sent = client.post(address, {"do": "verdicts", "items": "seen", "limit": "7"})
    run = Run.objects.get()
    assert sent.url == reverse("run", args=[run.pk])
    assert (run.kind, run.config["judge"], run.config["items"], run.config["limit"]) == (
        "verdicts",
        "the judge",
        "seen",
        7,
    )
    client.post(address, {"do": "rubric", "text": "Only truth."})
    client.post(address, {"do": "retire"})
    judge = JudgeModel.objects.get()
    assert judge.rubrics.first().text == "Only truth." and judge.retired_at
    refused = client.post(address, {"do": "verdicts"})
    assert refused.status_code == 400 and "retired" in refused.content.decode()


def test_the_leaderboard_has_a_page_of_its_own_for_both_that_says_so(client, project, arena, rubric):
    sign_in(client, project, "annotator")
    page = client.get(reverse("leaderboard-with-judge", args=[project.slug])).content.decode()
    assert "By 40 votes of people and 200 verdicts of the judge, version 1." in page
    assert "votes alone" in page and re.search(r"<dt>votes saved</dt><dd><b>\d+", page)
    board = client.get(reverse("leaderboard", args=[project.slug])).content.decode()
    assert "With a judge model" in board and "200 verdicts" not in board
    assert client.get(reverse("leaderboard-with-judge", args=[project.slug]) + "?by=999").status_code == 404


@pytest.mark.parametrize("words, votes", [("No judge model has judged", False), ("No vote of people ranks", True)])
def test_a_rating_that_is_not_there_says_what_is_missing(client, project, pair, words, votes):
    if votes:
        make_verdict(make_judge(project), *pair(), "model_a")
    assert words in client.get(reverse("leaderboard-with-judge", args=[project.slug])).content.decode()


def test_the_list_leads_to_another_model_and_keeps_judges_out_of_the_arena(client, project, base):
    sign_in(client, project, "researcher")
    page = client.get(reverse("judge-models", args=[project.slug])).content.decode()
    assert f'href="{reverse("new-model", args=[project.slug])}"' in page and "out of the arena" in page


def test_programs_read_and_add_what_the_pages_show(project, arena, rubric):
    api = Program(make_user(project, role="researcher"))
    address = f"projects/{project.slug}/judge-models/"
    made = api.post(address, {"name": "second", "model": make_model().pk, "text": "Truth."}).json()
    assert made["rubrics"] == [{**made["rubrics"][0], "version": 1, "form": "pairwise", "text": "Truth."}]
    assert api.post(f"{address}{made['id']}/rubrics/", {"text": "Style."}).json()["version"] == 2
    assert [judge["name"] for judge in api.get(address).json()] == ["the judge", "second"]
    figures = api.get(f"{address}{rubric.judge_id}/").json()["figures"]
    assert figures["agreement"]["value"] == 0.75 and figures["cost"]["verdicts"] == 240
    told = api.get(f"{address}{rubric.judge_id}/verdicts/?page_size=2").json()
    assert len(told["results"]) == 2 and told["results"][0]["version"] == 1
    assert api.get(f"{address}{rubric.judge_id}/verdicts/?version=9").status_code == 404
    both = api.get(f"leaderboard/with-judge/?project={project.slug}&judge_model={rubric.judge_id}").json()
    assert (both["votes"], both["verdicts"], both["version"]) == (40, 200, 1)
    assert both["votes_saved"] == pytest.approx(both["effective_votes"] - 40)
    assert both["rows"][0]["rank"] == 1
