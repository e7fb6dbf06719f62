"""What pages and API keep from people who may read a project and no more: names before a vote, others' words, and what
belongs to private projects."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.data.datasets.actions import freeze
from annotate.models import Completion, Dataset
from annotate.projects.wellbeing import actions as harm_budget
from tests.support.api_client import program
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_pair,
    make_project,
    make_prompt,
    make_user,
    sign_in,
)
from training.models import Run
from training.runs.ordering.actions import cancel

pytestmark = pytest.mark.django_db
ASKED = "What I asked in confidence"


def agree(user, *kinds, blur=True):
    harm_budget.agree(user=user, accepted=[*kinds], blur=blur, daily_cap=20, break_after=10, break_minutes=15)


def html(client, name, *args, **query) -> str:
    return client.get(reverse(name, args=args), query).content.decode()


@pytest.mark.parametrize("is_frozen", [True, False])
def test_what_a_visitor_asked_is_for_reviewers(client, project, is_frozen):
    prompt = make_prompt(project, ASKED, source="arena")
    make_comparison(make_completion(prompt), make_completion(prompt), source="arena")
    dataset = freeze(project=project, kind="preferences", name="x", by=None) if is_frozen else None
    pages = [("votes", project.slug)] + ([("dataset", dataset.pk)] if dataset else [])
    for page in pages:
        assert ASKED not in html(client, *page)
    sign_in(client, project, "reviewer")
    for page in pages:
        assert ASKED in html(client, *page)


def test_the_api_lists_what_was_asked_to_whoever_asked_and_to_reviewers(project):
    mine = program(project)
    drawn = make_prompt(project, "A prompt of the project")
    make_prompt(project, ASKED, source="arena")
    own = make_prompt(project, "My own question", source="arena", created_by=mine.user)
    assert [p["id"] for p in mine.get("prompts/").json()["results"]] == [drawn.pk, own.pk]
    assert len(program(project, "reviewer").get("prompts/").json()["results"]) == 3


def test_samples_of_a_run_show_no_question_of_a_visitor(client, project):
    run = Run.objects.create(project=project, kind="ppo", name="r", parent=make_model())
    for number, prompt in enumerate((make_prompt(project, ASKED, source="arena"), make_prompt(project, "Our own"))):
        run.samples.create(sequence=number + 1, step=0, prompt=prompt.messages, completion="x")
    text = html(client, "run", run.pk, tab="samples")
    assert "Our own" in text and ASKED not in text and ASKED not in html(client, "run", run.pk)
    assert len(program(project).get(f"runs/{run.pk}/samples/").json()) == 1
    assert len(program(project, "reviewer").get(f"runs/{run.pk}/samples/").json()) == 2


def test_who_judges_blind_does_not_read_the_answers_under_their_models_name(client, project):
    run = Run.objects.create(project=project, kind="sample", name="s", parent=make_model(), state="succeeded")
    run.completions.add(make_completion(make_prompt(project), "the tell-tale answer", model=run.parent))
    sign_in(client, project, "annotator")
    assert "the tell-tale answer" not in html(client, "run", run.pk, tab="samples")
    assert "the tell-tale answer" not in html(client, "run", run.pk)
    sign_in(client, project, "researcher")
    assert "the tell-tale answer" in html(client, "run", run.pk, tab="samples")


def test_the_reason_of_an_exclusion_is_for_reviewers_and_its_author(client, project):
    author = make_user(project)
    make_comparison(
        *make_pair(project), author=author, source="arena", status="excluded", status_reason="Judith guesses"
    )
    assert "Judith guesses" not in html(client, "votes", project.slug)
    client.force_login(author)
    assert "Judith guesses" in html(client, "votes", project.slug)


@pytest.fixture
def hidden():
    return make_project(is_public=False, name="Hidden")


def test_children_of_private_projects_are_not_named(client, project, hidden):
    base = make_contestant(project).model
    child = make_contestant(hidden, make_model(name="secret-child", parent=base)).model
    for page in ("model", "lineage"):
        assert "secret-child" not in html(client, page, base.pk)
    sign_in(client, hidden, "annotator")
    for page in ("model", "lineage"):
        assert child.name in html(client, page, base.pk)


def test_the_run_that_made_a_model_is_told_to_readers_of_its_project(client, project, hidden):
    model = make_contestant(project).model
    dataset = Dataset.objects.create(project=hidden, name="secret-data", kind="sft", side="train", content_hash="x")
    Run.objects.create(project=hidden, kind="sft", name="secret-run", output_model=model, dataset=dataset)
    pages = [("model", model.pk), ("lineage", model.pk), ("models", project.slug)]
    for page in pages:
        text = html(client, *page)
        assert model.name in text and "secret-run" not in text and "secret-data" not in text
    sign_in(client, hidden, "annotator")
    for page in pages:
        assert "secret-run" in html(client, *page)


def test_who_started_a_run_is_for_researchers(client, project):
    rita = make_user(project, role="researcher", username="rita")
    run = Run.objects.create(project=project, kind="sample", name="s", parent=make_model(), created_by=rita)
    cancel(run=run, by=rita)
    assert "rita" not in html(client, "run", run.pk)
    client.force_login(rita)
    assert "by rita" in html(client, "run", run.pk)


def test_who_wrote_an_answer_that_the_arena_may_show_again_is_for_reviewers_and_whoever_voted(client, project):
    voter = make_user(project, role="annotator")
    vote = make_comparison(*make_pair(project, side="eval"), source="arena", author=voter)
    name, model = vote.completion_a.model.name, vote.completion_a.model_id

    def cards(**query):
        return client.get(reverse("votes", args=[project.slug]), query).context["cards"]

    for reader in (None, make_user(project, role="annotator")):
        if reader:
            client.force_login(reader)
        assert [card["names"] for card in cards()] == [False] and not cards(model=model)
        assert f'">{name}</a>' not in html(client, "votes", project.slug)
    for reader in (voter, make_user(project, role="reviewer")):
        client.force_login(reader)
        assert [card["names"] for card in cards(model=model)] == [True]
        assert f'">{name}</a>' in html(client, "votes", project.slug)


def test_a_vote_about_harm_is_shown_to_whoever_has_agreed_and_shut_until_opened(client, project):
    prompt = make_prompt(project, "How is a letter forged?", harm="fraud hate", side="eval")
    a, b = make_completion(prompt, "With a pen."), make_completion(prompt, "I will not say.")
    make_comparison(a, b, source="arena")
    said = ("How is a letter forged?", "With a pen.")
    text = html(client, "votes", project.slug)
    assert not any(words in text for words in said) and "fraud &amp; deception" in text
    reviewer = sign_in(client, project, "reviewer")
    agree(reviewer, "fraud")
    assert not any(words in html(client, "votes", project.slug) for words in said)
    agree(reviewer, "fraud", "hate")
    text = html(client, "votes", project.slug)
    assert all(words in text for words in said) and '<details class="status"><summary>A prompt about' in text
    agree(reviewer, "fraud", "hate", blur=False)
    assert '<details class="status" open><summary>A prompt about' in html(client, "votes", project.slug)


def test_who_wrote_an_answer_that_is_judged_blind_is_for_reviewers(client, project):
    vote = make_comparison(*make_pair(project))
    freeze(project=project, kind="preferences", name="x", by=None)
    arena = make_comparison(*make_pair(project, side="eval"), source="arena")
    Completion.objects.filter(prompt=arena.prompt).update(source="arena")
    sign_in(client, project, "annotator")

    def cards(**query):
        return {card["row"] for card in client.get(reverse("votes", args=[project.slug]), query).context["cards"]}

    def told(row) -> bool:
        return f'">{row.completion_a.model.name}</a>' in html(client, "votes", project.slug)

    assert cards() == {vote, arena} and told(arena) and not told(vote)
    assert cards(model=vote.completion_a.model_id) == set()
    assert cards(model=arena.completion_a.model_id) == {arena}
    sign_in(client, project, "reviewer")
    assert told(vote) and cards(model=vote.completion_a.model_id) == {vote}
