"""The data page, a dataset's page and the votes, through the real client."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from annotate.core.db import kept_totals
from annotate.data.datasets.actions import freeze
from annotate.models import Dataset, Demonstration, StatusChange
from tests.support.api_client import program
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_model,
    make_pair,
    make_project,
    make_prompt,
    make_rating,
    make_user,
    sign_in,
)
from training.models import Run

pytestmark = pytest.mark.django_db


def page(client, path, expected=200, **query):
    response = client.get(path, query)
    assert response.status_code == expected
    return response.content.decode()


def test_an_empty_project_says_what_will_stand_here(client, project):
    html = page(client, f"/p/{project.slug}/data/datasets/")
    assert "No datasets yet" in html and "Freeze a dataset" not in html


def test_feedback_is_counted_by_judge_and_side(client, project):
    for _ in range(3):
        make_comparison(*make_pair(project))
    make_comparison(*make_pair(project, side="eval"))
    make_comparison(*make_pair(project), author=make_user(is_simulated=True))
    make_comparison(*make_pair(project), status="held")
    response = client.get(f"/p/{project.slug}/data/")
    row = response.context["totals"][0]
    assert [n for *_, n in row["columns"]] == [3, 1, 1, 0] and row["uncounted"] == 1


def test_an_old_address_of_the_form_leads_to_it(client, project):
    response = client.get(f"/p/{project.slug}/data/?kind=sft")
    assert (response.status_code, response.url) == (302, f"/p/{project.slug}/data/datasets/?kind=sft")


def test_the_overview_counts_and_leads_to_the_pages(client, project):
    make_completion(make_prompt(project))
    kept = make_prompt(project, side="eval")
    make_prompt(project, out_since=kept.created_at, out_reason="a name in it")
    path = f"/p/{project.slug}/data/"
    html = page(client, path)
    assert "1 train, 1 eval; 1 retired" in html and f'href="{path}datasets/"' in html
    assert f'href="{path}add/"' not in html and f'href="{path}prompts/"' not in html
    sign_in(client, project, "researcher")
    html = page(client, path)
    for part in ("add/", "prompts/", "export/", "imports/"):
        assert f'href="{path}{part}"' in html


def test_people_freeze_their_own_feedback_unless_simulations_alone_have_annotated(client, project):
    sign_in(client, project, "researcher")
    path = f"/p/{project.slug}/data/datasets/"
    assert client.get(path).context["form"]["judge"] == "person"
    make_comparison(*make_pair(project), author=make_user(is_simulated=True))
    assert client.get(path).context["form"]["judge"] == "simulation"
    make_comparison(*make_pair(project))
    assert client.get(path).context["form"]["judge"] == "person"


def test_the_form_counts_what_would_go_in_and_freezes_it(client, project):
    sign_in(client, project, "researcher")
    make_comparison(*make_pair(project))
    make_comparison(*make_pair(project), winner="tie")
    path = f"/p/{project.slug}/data/datasets/"
    assert "<strong>2 comparisons</strong>" in page(client, path)
    response = client.post(path, {"kind": "preferences", "name": "first", "judge": "person"}, follow=True)
    dataset = Dataset.objects.get()
    assert response.redirect_chain == [(f"/datasets/{dataset.pk}/", 302)]
    assert dataset.content_hash in response.content.decode()
    assert dataset.name in page(client, path)


def test_of_many_annotations_what_would_go_in_is_counted_only_when_asked(client, project, monkeypatch):
    monkeypatch.setattr(kept_totals, "LARGE", 0)
    sign_in(client, project, "researcher")
    make_comparison(*make_pair(project))
    html = page(client, f"/p/{project.slug}/data/datasets/")
    assert "counting those that would be frozen takes a while" in html and "will be frozen" not in html
    assert "1 comparison</strong>" in page(client, f"/p/{project.slug}/data/datasets/?count=1")
    assert "will be frozen" in page(client, f"/p/{project.slug}/data/datasets/?kind=prompts"), "prompts are few"


def test_htmx_gets_the_counts_alone(client, project):
    sign_in(client, project, "researcher")
    make_rating(make_completion(make_prompt(project)), stars=5)
    html = client.get(
        f"/p/{project.slug}/data/datasets/", {"kind": "sft"}, headers={"HX-Request": "true", "HX-Target": "counts"}
    ).content.decode()
    assert "<strong>1 example</strong>" in html and "<html" not in html


def test_a_refused_freeze_keeps_what_was_typed_and_says_why(client, project):
    sign_in(client, project, "researcher")
    response = client.post(f"/p/{project.slug}/data/datasets/", {"kind": "sft", "name": "mine", "per_prompt": "many"})
    html = response.content.decode()
    assert response.status_code == 400 and 'value="mine"' in html and "whole number" in html
    assert not Dataset.objects.exists()


def test_prompts_are_frozen_from_the_page_by_side_and_category(client, project):
    sign_in(client, project, "researcher")
    make_prompt(project, category="science", side="eval")
    make_prompt(project, category="art", side="eval")
    client.post(
        f"/p/{project.slug}/data/datasets/", {"kind": "prompts", "name": "p", "side": "eval", "categories": ["science"]}
    )
    assert Dataset.objects.get().counts["prompts"] == 1


@pytest.mark.parametrize("begun", ["nan", "//elsewhere.org/", "https://elsewhere.org/"])
def test_a_form_that_is_none_of_ours_leads_to_the_dataset(client, project, begun):
    make_prompt(project)
    client.force_login(make_user(project, role="researcher"))
    sent = {"kind": "prompts", "side": "train", "name": "all", "next": begun}
    answer = client.post(reverse("datasets", args=[project.slug]), sent)
    assert answer.status_code == 302 and answer.url == reverse("dataset", args=[Dataset.objects.get().pk])


def test_an_annotator_may_not_freeze(client, project):
    sign_in(client, project, "annotator")
    make_comparison(*make_pair(project))
    response = client.post(f"/p/{project.slug}/data/datasets/", {"kind": "preferences", "name": "x", "judge": "person"})
    assert response.status_code == 403 and not Dataset.objects.exists()
    assert "Freeze a dataset" not in page(client, f"/p/{project.slug}/data/datasets/")


@pytest.mark.parametrize("kind", ["preferences", "sft", "prompts"])
def test_a_dataset_page_shows_hash_rows_runs_and_models(client, project, kind):
    sign_in(client, project, "reviewer")
    a, b = make_pair(project)
    make_comparison(a, b, "model_a", strength=2)
    make_rating(a, thumbs=True, stars=5)
    dataset = freeze(project=project, kind=kind, name="first", by=None)
    child = make_model(name="child-model")
    Run.objects.create(project=project, kind="sft", name="the-run", dataset=dataset, output_model=child)
    html = page(client, f"/datasets/{dataset.pk}/")
    for shown in (dataset.content_hash, "the-run", "child-model", a.prompt.text):
        assert shown in html
    assert (a.text in html) == (kind != "prompts")
    assert ("<dt>annotators</dt>" in html) == (kind != "prompts") and "<dt>judges</dt>" not in html


def test_a_dataset_says_when_votes_in_it_were_taken_back(client, project):
    row = make_comparison(*make_pair(project))
    dataset = freeze(project=project, kind="preferences", name="first", by=None)
    assert "no longer count" not in page(client, f"/datasets/{dataset.pk}/")
    row.status = "withdrawn"
    row.save()
    assert "1 of these votes no longer counts" in page(client, f"/datasets/{dataset.pk}/")


def test_a_dataset_whose_files_are_gone_still_has_a_page(client, project):
    make_comparison(*make_pair(project))
    dataset = freeze(project=project, kind="preferences", name="first", by=None)
    for file in dataset.path.iterdir():
        file.unlink()
    dataset.path.rmdir()
    assert "not on this machine" in page(client, f"/datasets/{dataset.pk}/")


def test_rows_are_downloaded_by_reviewers_alone(client, project):
    make_comparison(*make_pair(project))
    dataset = freeze(project=project, kind="preferences", name="first", by=None)
    path = f"/datasets/{dataset.pk}/download/trl-preference/"
    assert client.get(path).status_code == 302
    sign_in(client, project, "annotator")
    assert client.get(path).status_code == 403
    sign_in(client, project, "reviewer")
    row = json.loads(client.get(path).getvalue())
    assert set(row) == {"prompt", "chosen", "rejected"}
    assert client.get(path.replace("trl-preference", "csv")).status_code == 400


def test_a_private_projects_data_is_hidden(client):
    project = make_project(is_public=False)
    make_comparison(*make_pair(project))
    dataset = freeze(project=project, kind="preferences", name="first", by=None)
    client.force_login(make_user())
    for path in (f"/p/{project.slug}/data/", f"/p/{project.slug}/votes/", f"/datasets/{dataset.pk}/"):
        page(client, path, 404)


def test_a_vote_leads_to_the_dataset_the_run_and_the_model(client, project):
    sign_in(client, project, "reviewer")
    vote = make_comparison(*make_pair(project), author=make_user(username="judith"))
    dataset = freeze(project=project, kind="preferences", name="the-dataset", by=None)
    child = make_model(name="child-model")
    run = Run.objects.create(project=project, kind="reward", name="the-run", dataset=dataset, output_model=child)
    html = page(client, f"/p/{project.slug}/votes/", dataset=dataset.pk)
    assert f'id="comparison-{vote.pk}"' in html and "judith" in html
    for link in (f"/datasets/{dataset.pk}/", f"/runs/{run.pk}/", f"/models/{child.pk}/"):
        assert f'href="{link}"' in html
    for completion in (vote.completion_a, vote.completion_b):
        assert completion.model.name in html and completion.text in html


def test_a_second_dataset_names_its_runs_and_a_made_one_the_run_that_made_it(client, project):
    sign_in(client, project, "researcher")
    corpus = Dataset.objects.create(project=project, name="texts", kind="corpus", content_hash="c" * 64)
    Run.objects.create(project=project, kind="corpus", name="gathering", output_dataset=corpus)
    run = Run.objects.create(project=project, kind="domain", name="replaying", other_dataset=corpus)
    html = page(client, f"/datasets/{corpus.pk}/")
    assert "gathering" in html and f'href="/runs/{run.pk}/"' in html
    assert f'href="/runs/{run.pk}/"' in page(client, f"/p/{project.slug}/data/datasets/")
    assert program(project).get(f"datasets/{corpus.pk}/").json()["runs"] == [run.pk]


def test_votes_are_filtered(client, project):
    sign_in(client, project, "reviewer")
    train, evaluating = make_comparison(*make_pair(project)), make_comparison(*make_pair(project, side="eval"))
    held = make_comparison(*make_pair(project), status="held", status_reason="too quick")
    robot = make_comparison(*make_pair(project), author=make_user(is_simulated=True))

    def shown(**query):
        response = client.get(f"/p/{project.slug}/votes/", {"kind": "comparison", **query})
        return {card["row"] for card in response.context["cards"]}

    assert shown() == {train, evaluating, held, robot}
    assert shown(side="eval") == {evaluating}
    assert shown(status="held") == {held}
    assert shown(judge="simulation") == {robot}
    assert shown(model=train.completion_b.model_id) == {train}
    assert shown(model=train.completion_b.model_id, side="eval") == set()
    assert "too quick" in page(client, f"/p/{project.slug}/votes/", status="held")
    for wrong, status in (({"judge": "robot"}, 400), ({"dataset": "x"}, 404), ({"model": 10**30}, 404)):
        page(client, f"/p/{project.slug}/votes/", status, **wrong)


def test_ratings_and_demonstrations_have_their_cards(client, project):
    sign_in(client, project, "reviewer")
    completion = make_completion(make_prompt(project))
    make_rating(completion, thumbs=False, stars=2)
    Demonstration.objects.create(
        project=project, prompt=completion.prompt, author=make_user(), judge="person", text="By hand."
    )
    assert "2 of 5 stars" in page(client, f"/p/{project.slug}/votes/", kind="rating")
    assert "By hand." in page(client, f"/p/{project.slug}/votes/", kind="demonstration")


def test_others_see_no_names_and_no_votes_on_items_that_are_still_judged(client, project):
    me = sign_in(client, project, "annotator")
    author = make_user(username="judith")
    fresh = make_comparison(*make_pair(project), author=author)
    frozen = make_comparison(*make_pair(project), author=author)
    arena = make_comparison(*make_pair(project, side="eval"), author=author, source="arena")
    mine = make_comparison(*make_pair(project), author=me)
    freeze(project=project, kind="preferences", name="x", by=None, comparisons=[frozen.pk])
    response = client.get(f"/p/{project.slug}/votes/")
    assert {card["row"] for card in response.context["cards"]} == {frozen, arena, mine}
    assert fresh not in {card["row"] for card in response.context["cards"]}
    assert "judith" not in response.content.decode()


def test_long_lists_of_votes_have_pages(client, project):
    sign_in(client, project, "reviewer")
    for _ in range(26):
        make_comparison(*make_pair(project))
    first = client.get(f"/p/{project.slug}/votes/")
    oldest_shown = first.context["cards"][-1]["row"]
    assert len(first.context["cards"]) == 25 and f"before={oldest_shown.pk}" in first.content.decode()
    second = client.get(f"/p/{project.slug}/votes/", {"kind": "comparison", "before": oldest_shown.pk})
    assert len(second.context["cards"]) == 1 and "Older" not in second.content.decode()
    assert second.context["cards"][0]["row"].pk < oldest_shown.pk


def test_a_page_of_votes_takes_few_queries(client, project, django_assert_max_num_queries):
    sign_in(client, project, "reviewer")
    for _ in range(12):
        make_comparison(*make_pair(project))
    freeze(project=project, kind="preferences", name="x", by=None)
    with django_assert_max_num_queries(25):
        client.get(f"/p/{project.slug}/votes/")


def test_a_manager_excludes_a_vote_with_a_reason_and_comes_back_to_it(client, project):
    manager = sign_in(client, project, "manager")
    vote = make_comparison(*make_pair(project))
    assert "Change its status" in page(client, f"/p/{project.slug}/votes/")
    address = f"/p/{project.slug}/votes/comparison/{vote.pk}/status/"
    response = client.post(f"{address}?side=train", {"status": "excluded", "reason": "guessed"})
    assert response.url == f"/p/{project.slug}/votes/?kind=comparison&side=train#comparison-{vote.pk}"
    vote.refresh_from_db()
    assert (vote.status, vote.status_reason) == ("excluded", "guessed")
    assert StatusChange.objects.get().by == manager
    assert client.post(address, {"status": "excluded", "reason": " "}).status_code == 400
    assert client.post(address.replace("comparison", "opinion")).status_code == 404


@pytest.mark.parametrize("role", ["annotator", "researcher"])
def test_who_does_not_manage_changes_no_status(client, project, role):
    sign_in(client, project, role)
    vote = make_comparison(*make_pair(project), source="arena")
    assert "Change its status" not in page(client, f"/p/{project.slug}/votes/")
    address = f"/p/{project.slug}/votes/comparison/{vote.pk}/status/"
    assert client.post(address, {"status": "excluded", "reason": "mine is better"}).status_code == 403
    vote.refresh_from_db()
    assert vote.status == "counted"


def test_training_is_offered_where_annotations_may_train(client, project):
    offer = f'href="/p/{project.slug}/first-model/training/"'
    make_comparison(*make_pair(project, side="eval"))
    sign_in(client, project, "researcher")
    assert offer not in page(client, f"/p/{project.slug}/data/")
    make_comparison(*make_pair(project))
    assert offer in page(client, f"/p/{project.slug}/data/")
    sign_in(client, project, "reviewer")
    assert offer not in page(client, f"/p/{project.slug}/data/")
