"""The registry and a model's page, through the real client."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.urls import reverse

from annotate.models import LanguageModel, Project
from evaluation.measures.answer_rows import _was_taught_by
from evaluation.registry import lineage_graph
from evaluation.registry.tracing import descent
from tests.support import factories
from tests.support.evaluation.chains import Chain, make_chain, make_run
from training.models import KeptCheckpoint, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain(project) -> Chain:
    return make_chain(project)


@pytest.fixture
def rita(project):
    return factories.make_user(project, role="researcher")


def registry(client, project, **query) -> str:
    response = client.get(reverse("models", args=[project.slug]), query)
    assert response.status_code == 200
    return response.content.decode()


def names_in(page: str) -> set[str]:
    every = LanguageModel.objects.values_list("pk", "name")
    return {name for pk, name in every if f'<th scope="row"><a href="{reverse("model", args=[pk])}?' in page}


class TestRegistry:
    def test_every_kind_of_model_of_the_project_is_in_it(self, client, project, chain):
        assert names_in(registry(client, project)) == {"bytes", "heron", "heron-sft", "heron-judge", "heron-ppo"}

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"kind": "reward"}, {"heron-judge"}),
            ({"stage": "PPO"}, {"heron-ppo"}),
            ({"name": "SFT"}, {"heron-sft"}),
            ({"kind": "policy", "name": "heron-p"}, {"heron-ppo"}),
            ({"name": "no such\x00"}, set()),
            ({"kind": "nonsense", "page": "x"}, {"bytes", "heron", "heron-sft", "heron-judge", "heron-ppo"}),
        ],
    )
    def test_it_is_narrowed_by_kind_stage_and_name(self, client, project, chain, query, found):
        page = registry(client, project, **query)
        assert names_in(page) == found
        assert found or "No models match" in page

    def test_retired_models_are_shown_when_asked_for(self, client, project, chain):
        chain.sft.retire(reason="old")
        assert "heron-sft" not in names_in(registry(client, project))
        assert "heron-sft" in names_in(registry(client, project, retired="1"))

    def test_models_of_other_projects_are_for_researchers(self, client, project, chain, rita):
        factories.make_contestant(factories.make_project(is_public=False), factories.make_model(name="foreign"))
        assert "foreign" not in names_in(registry(client, project, everywhere="1"))
        client.force_login(rita)
        assert "foreign" not in names_in(registry(client, project))
        assert "foreign" in names_in(registry(client, project, everywhere="1"))

    def test_rating_and_disk_are_told(self, client, project, chain, vote):
        vote(chain.ppo, chain.sft, n=3)
        (chain.ppo.path / "model.safetensors").write_bytes(b"x" * 3_000_000)
        page = registry(client, project, stage="PPO")
        assert "3 MB" in page and "±" in page
        chain.sft.path.joinpath("config.json").unlink()
        assert "missing" in registry(client, project, stage="SFT")

    def test_a_long_list_has_pages(self, client, project):
        for _ in range(55):
            factories.make_contestant(project)
        assert len(names_in(registry(client, project))) == 50
        assert len(names_in(registry(client, project, page="2"))) == 5

    def test_an_empty_one_says_what_to_do(self, client, project):
        assert "manage.py import_model" in registry(client, project)


class TestPage:
    def test_a_visitor_reads_the_card_and_is_offered_nothing_to_do(self, client, chain):
        page = client.get(reverse("model", args=[chain.ppo.pk])).content.decode()
        assert "Annotations</h2>" in page and "Limitations" in page
        for name in ("playground", "model-serving"):
            assert reverse(name, args=[chain.ppo.pk]) not in page
        assert str(chain.ppo.folder) not in page and "curl" not in page and "/runs/new/export" not in page

    def test_a_researcher_finds_playground_export_and_how_programs_reach_it(self, client, chain, rita, settings):
        settings.MODEL_SERVER_URL = "http://somebody:secret@models.example:8001/v1"
        client.force_login(rita)
        page = client.get(reverse("model", args=[chain.ppo.pk])).content.decode()
        assert reverse("playground", args=[chain.ppo.pk]) in page
        assert f"beside={chain.sft.pk}" in page
        assert "curl http://models.example:8001/v1/chat/completions" in page and "secret" not in page
        assert f"{reverse('new-run', args=[chain.project.slug, 'export'])}?parent={chain.ppo.pk}" in page

    def test_what_does_not_write_is_not_talked_with_and_not_exported_as_gguf(self, client, chain, rita):
        client.force_login(rita)
        page = client.get(reverse("model", args=[chain.reward.pk])).content.decode()
        assert reverse("playground", args=[chain.reward.pk]) not in page
        assert "config.to=safetensors" in page

    def test_a_classifier_is_tried_by_a_run(self, client, chain, rita):
        classifier = factories.make_model(name="moods", kind="classifier", parent=chain.pretrained)
        classifier.path.mkdir(parents=True)
        url = reverse("model", args=[classifier.pk])
        client.force_login(rita)
        page = client.get(url, {"project": chain.project.slug}).content.decode()
        action = reverse("new-run", args=[chain.project.slug, "label"])
        assert f'action="{action}"' in page
        fields = {"parent": classifier.pk, "name": "texts for moods", "seed": 0, "key": "k"}
        for _ in range(2):
            assert client.post(action, fields | {"config.texts": "Good.\n\n Bad. "}).status_code == 302
        run = classifier.runs.get()
        assert run.config == {"texts": "Good.\n\n Bad."}
        empty = client.post(action, fields | {"key": "other", "config.texts": " x\n" * 300})
        assert empty.status_code == 400 and "at most 200 texts" in empty.content.decode()
        assert action not in client.get(reverse("model", args=[chain.ppo.pk])).content.decode()

    def test_the_labels_stand_on_the_run_page(self, client, chain):
        rows = [{"text": "<b>Good</b>", "label": "warm", "probabilities": {"warm": 0.93, "cold": 0.07}}]
        run = make_run("label", None, chain.project, parent=chain.pretrained, result={"labelled": rows})
        page = client.get(reverse("run", args=[run.pk])).content.decode()
        assert "<strong>warm</strong>" in page and "warm 93 %, cold 7 %" in page and "&lt;b&gt;Good" in page

    def test_the_card_is_a_download(self, client, chain):
        response = client.get(reverse("model-card", args=[chain.ppo.pk]))
        assert response["Content-Type"].startswith("text/markdown")
        assert 'filename="heron-ppo-README.md"' in response["Content-Disposition"]
        assert response.content.decode().startswith("---\n")

    def test_models_of_a_private_project_are_hidden(self, client, chain, rita):
        chain.project.is_public = False
        chain.project.save()
        for name in ("model", "model-card", "playground", "model-serving"):
            assert client.get(reverse(name, args=[chain.ppo.pk])).status_code == 404
        client.force_login(rita)
        assert client.get(reverse("model", args=[chain.ppo.pk])).status_code == 200

    def test_the_project_that_one_came_from_stays_the_frame(self, client, chain):
        other = factories.make_project(name="Another")
        factories.make_contestant(other, chain.ppo)
        url = reverse("model", args=[chain.ppo.pk])
        assert reverse("arena", args=[other.slug]) in client.get(url, {"project": other.slug}).content.decode()
        assert reverse("arena", args=[chain.project.slug]) in client.get(url).content.decode()


class TestRetiring:
    def test_it_needs_a_reason_and_can_be_taken_back(self, client, chain):
        client.force_login(factories.make_user(chain.project, role="manager"))
        url = reverse("model-retire", args=[chain.ppo.pk])
        assert client.post(url, {"reason": " "}).status_code == 400
        client.post(url, {"reason": "Answers in rhyme."})
        chain.ppo.refresh_from_db()
        assert chain.ppo.retired_at is not None
        assert "Answers in rhyme." in client.get(reverse("model", args=[chain.ppo.pk])).content.decode()
        client.post(reverse("model-bring-back", args=[chain.ppo.pk]))
        chain.ppo.refresh_from_db()
        assert chain.ppo.retired_at is None and chain.ppo.retired_reason == ""
        assert client.post(reverse("model-bring-back", args=[chain.ppo.pk])).status_code == 409

    def test_others_may_neither_retire_nor_bring_back(self, client, chain, rita):
        client.force_login(rita)
        assert client.post(reverse("model-retire", args=[chain.ppo.pk]), {"reason": "mine"}).status_code == 403
        chain.ppo.retire(reason="old")
        assert client.post(reverse("model-bring-back", args=[chain.ppo.pk])).status_code == 403
        assert client.get(reverse("model", args=[chain.ppo.pk])).status_code == 200


class TestKeptCheckpoints:
    @pytest.fixture
    def run(self, chain) -> Run:
        run = chain.ppo.made_by
        Run.objects.filter(pk=run.pk).update(config={**run.config, "kept_checkpoints": 2}, result={"step": 12})
        for step in (4, 8):
            model = factories.make_model(
                name=f"heron-ppo, step {step} of 12", stage="PPO", parent=chain.sft, is_shared=False
            )
            KeptCheckpoint.objects.create(run=run, step=step, model=model)
        return Run.objects.get(pk=run.pk)

    def test_its_run_page_draws_their_ratings_over_the_steps(self, client, chain, run, vote):
        first, second = (one.model for one in run.kept_checkpoints.all())
        address = reverse("run", args=[run.pk])
        assert "Ratings of its checkpoints" not in client.get(address).content.decode()
        factories.make_contestant(chain.project, first)
        for model in (first, chain.ppo):
            vote(model, chain.sft, n=6)
            vote(chain.sft, model, n=3)
        page = client.get(address).content.decode()
        assert "Ratings of its checkpoints" in page and f'{reverse("model", args=[second.pk])}">step 8</a>' in page
        rows = page.split("95 % interval")[1]
        assert rows.index("<td>4</td>") < rows.index("<td>12</td>") and "<td>8</td>" not in rows, "nobody voted on it"
        assert "Ratings of the run&#x27;s models over its steps" in page

    def test_it_is_of_the_line_of_what_its_run_learnt_from(self, client, chain, run):
        kept = run.kept_checkpoints.first().model
        assert descent(kept, chain.project, AnonymousUser())[0].run == run
        graph = lineage_graph.of_model(chain.reward, AnonymousUser())
        assert kept in {box.entry.model for box in graph.boxes}
        assert _was_taught_by(kept, chain.reward)
        assert names_in(registry(client, chain.project, name="step 4")) == {kept.name}

    def test_strangers_see_none_of_a_private_project(self, client, chain, run, rita):
        kept = run.kept_checkpoints.first().model
        address = reverse("model", args=[kept.pk])
        assert client.get(address).status_code == 200
        Project.objects.filter(pk=chain.project.pk).update(is_public=False)
        assert client.get(address).status_code == 404
        client.force_login(factories.make_user(factories.make_project(), role="researcher"))
        assert (
            client.get(address).status_code == 404 and client.get(reverse("lineage", args=[kept.pk])).status_code == 404
        )
        client.force_login(rita)
        page = client.get(address).content.decode()
        assert "Made by run" in page and "(PPO), at step 4." in page
        assert "From its run" not in page and "Does the score agree" not in page, "that is of the run's end"
