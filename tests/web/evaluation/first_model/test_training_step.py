"""The training step: one order from votes to PPO, why a recipe is proposed, and a reward model that proved nothing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.data.datasets import freezing
from annotate.models import Dataset, DatasetFreeze, LanguageModel, Project
from evaluation.first_model import facts, present, training_order
from evaluation.models import FirstModel
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_project,
    make_prompt,
    sign_in,
)
from tests.support.training.runs import make_weights
from training.models import Run
from training.storage import quotas

pytestmark = pytest.mark.django_db
AT_CHANCE = {"beats_chance": False, "slope": {"value": 0.1, "lower": -0.1, "upper": 0.3, "n": 20}}
ENOUGH = 80


def page(project: Project) -> str:
    return reverse("first-model-step", args=[project.slug, "training"])


def voted(project: Project, pairs: int = ENOUGH) -> LanguageModel:
    """Return a model whose answers people have compared; nobody has begun the five steps."""
    model = make_weights(parameters=135_000_000)
    make_contestant(project, model)
    for _ in range(pairs):
        prompt = make_prompt(project)
        make_comparison(make_completion(prompt, model=model), make_completion(prompt, model=model))
    return model


def with_reward_model(project: Project, base: LanguageModel, evidence: dict | None = AT_CHANCE, **fields) -> Run:
    """Return the run of a reward model that has ended, on a path that waits for PPO."""
    reward = make_weights(kind="reward")
    if evidence is not None:
        (reward.path / "reward.json").write_text(json.dumps({"held_out": evidence}))
    run = Run.objects.create(
        project=project, kind="reward", name="r", parent=base, state="succeeded", output_model=reward,
        created_by=project.memberships.get(role="researcher").user, **fields,
    )  # fmt: skip
    FirstModel.objects.create(project=project, model=base, reward_run=run)
    return run


def taken(project: Project, model: LanguageModel, seconds: float, *, resumed: bool = False) -> None:
    """Write a run of 100 answers that ended well."""
    run = Run.objects.create(
        project=project, kind="sample", name="s", parent=model, state="succeeded", result={"completions": 100}
    )
    end = timezone.now()
    attempt = run.attempts.create(
        number=1, lease_expires_at=end, worker="w", launcher="l", state="succeeded", ended_at=end,
        resumed_from_step=3 if resumed else None,
    )  # fmt: skip
    run.attempts.filter(pk=attempt.pk).update(started_at=end - timedelta(seconds=seconds))


# From votes to PPO


def test_votes_become_a_reward_model_and_ppo_by_one_order(client, project):
    sign_in(client, project, "researcher")
    make_weights(name="Older")
    model = voted(project)
    shown = client.get(page(project))
    assert shown.context["newest"] == model and 'value="ppo" checked' in shown.content.decode()
    sent = {"kind": "ppo", "model": model.pk, "name": ""}
    assert client.post(page(project), sent).url == page(project)
    reward = Run.objects.get()
    assert (reward.kind, reward.parent, reward.dataset.counts["comparisons"]) == ("reward", model, ENOUGH)
    assert FirstModel.objects.get().model == model
    waiting = client.get(page(project)).content.decode()
    assert "Step 1 of 2: the reward model" in waiting
    Run.objects.update(state="succeeded", output_model=make_weights(kind="reward"), finished_at=timezone.now())
    assert "PPO is being queued" in client.get(page(project)).content.decode()
    reward.refresh_from_db()
    training_order.go_on_after_reward(reward)
    ppo = Run.objects.get(kind="ppo")
    assert (ppo.parent, ppo.reward_model, ppo.dataset.kind) == (model, reward.output_model, "prompts")
    assert "Step 2 of 2: PPO" in client.get(page(project)).content.decode()


def test_many_annotations_are_frozen_in_the_background_and_training_follows_once(client, project, monkeypatch):
    monkeypatch.setattr(freezing, "SMALL", 20)
    sign_in(client, project, "researcher")
    sent = {"kind": "dpo", "model": voted(project).pk, "name": "child"}
    assert client.post(page(project), sent).url == page(project)
    order = DatasetFreeze.objects.get()
    assert "annotations are frozen in the background" in client.get(page(project)).content.decode()
    assert "being frozen" in client.post(page(project), sent).content.decode() and not Run.objects.exists()
    freezing.cancel_freeze(order, by=order.created_by)
    training_order.go_on_after_freezing()
    assert "annotations was cancelled" in client.get(page(project)).content.decode()
    client.post(page(project), {"kind": "dpo", "name": "child"})
    training_order.go_on_after_freezing()  # there is nothing yet
    assert not Run.objects.exists() and freezing.freezer().do_now()
    before = FirstModel.objects.values("freeze", "once_frozen").get()
    training_order.go_on_after_freezing()
    FirstModel.objects.update(training_run=None, freeze=before["freeze"], once_frozen=before["once_frozen"])
    training_order.go_on_after_freezing()  # as after kill -9 between the run and its note
    path = FirstModel.objects.get()
    assert (path.training_run, path.freeze, path.once_frozen) == (Run.objects.get(), None, None)
    assert path.training_run.dataset.counts["comparisons"] == ENOUGH and path.training_run.name == "child"


def test_a_run_that_is_refused_after_the_freezing_says_nothing_of_a_reward_model(client, project, monkeypatch):
    monkeypatch.setattr(freezing, "SMALL", 20)
    sign_in(client, project, "researcher")
    client.post(page(project), {"kind": "ppo", "model": voted(project).pk})
    broken = FirstModel(
        project=make_project(), model=make_weights(), freeze=DatasetFreeze.objects.get(), once_frozen={}
    )
    broken.save()  # its error holds up no other
    with monkeypatch.context() as used_up:
        used_up.setattr(quotas, "check", refuse)
        assert freezing.freezer().do_now()
        training_order.go_on_after_freezing()
    shown = client.get(page(project))
    assert "Training did not begin.</strong> All hours are used up." in shown.content.decode()
    assert present.summary(facts.path_of(project))["problem"] == "All hours are used up."
    assert "not better than chance" not in shown.content.decode() and shown.context["choice"].proposed.kind == "ppo"
    client.post(page(project), {"kind": "dpo"})
    assert freezing.freezer().do_now()
    training_order.go_on_after_freezing()
    assert Run.objects.get().kind == "dpo" and "PPO did not start" not in client.get(page(project)).content.decode()


def refuse(project: Project) -> None:
    raise Refused(409, gpu_hours="All hours are used up.")


def test_many_prompts_are_frozen_in_the_background_for_answers_and_for_ppo(client, project, monkeypatch):
    monkeypatch.setattr(freezing, "SMALL", 2)
    sign_in(client, project, "researcher")
    answers = reverse("first-model-step", args=[project.slug, "answers"])
    path = FirstModel.objects.create(project=project, model=voted(project, 4))
    sent = {"completions_per_prompt": "3", "max_new_tokens": "32"}
    client.post(answers, sent)
    assert "Sampling is queued at the end" in client.get(answers).content.decode() and not Run.objects.exists()
    assert "are being frozen" in client.post(answers, sent).content.decode()
    freezing.cancel_freeze(order := DatasetFreeze.objects.get(), by=order.created_by)
    training_order.go_on_after_freezing()
    assert "freezing of its prompts was cancelled" in client.get(answers).content.decode()
    client.post(answers, sent)
    assert freezing.freezer().do_now()
    for _ in range(2):
        training_order.go_on_after_freezing()
    run = Run.objects.get()
    assert (run.kind, run.config["completions_per_prompt"], run.dataset.prompts.count()) == ("sample", 3, 4)
    make_prompt(project)
    path.delete()
    training_order.go_on_after_reward(with_reward_model(project, run.parent, {**AT_CHANCE, "beats_chance": True}))
    assert "Training is queued at the end" in client.get(page(project)).content.decode()
    assert freezing.freezer().do_now()
    training_order.go_on_after_freezing()
    assert Run.objects.get(kind="ppo").dataset.prompts.count() == 5


def test_an_order_that_is_refused_chooses_no_model(client, project):
    sign_in(client, project, "researcher")
    model = voted(project, 2)
    assert client.post(page(project), {"kind": "ppo", "model": model.pk}).status_code == 409
    assert client.post(page(project), {"kind": "dpo", "model": 99_999}).status_code == 404
    assert not FirstModel.objects.exists() and not Run.objects.exists() and not Dataset.objects.exists()


def test_a_model_that_was_chosen_before_stays(client, project):
    sign_in(client, project, "researcher")
    model, other = voted(project, 20), make_weights()
    FirstModel.objects.create(project=project, model=model)
    client.post(page(project), {"kind": "dpo", "model": other.pk})
    assert Run.objects.get().parent == model and FirstModel.objects.get().model == model


def with_child(project: Project, base: LanguageModel) -> LanguageModel:
    """Return the child that a path has led to."""
    child = make_weights(parent=base)
    run = Run.objects.create(
        project=project, kind="dpo", name="d", parent=base, state="succeeded", output_model=child
    )  # fmt: skip
    FirstModel.objects.create(project=project, model=base, training_run=run)
    return child


def test_after_the_first_child_the_same_annotations_are_trained_on_again(client, project):
    """Who comes from Data or from the form of PPO is not at a dead end."""
    sign_in(client, project, "researcher")
    base = voted(project)
    child = with_child(project, base)
    shown = client.get(page(project), {"kind": "ppo"}).content.decode()
    assert "is trained and competes" in shown and 'value="ppo" checked' in shown and "Train again" in shown
    assert f'<option value="{child.pk}" selected>' in shown and f'<option value="{base.pk}">' in shown
    assert client.post(page(project), {"kind": "ppo", "model": base.pk}).status_code == 302
    path, run = FirstModel.objects.get(), Run.objects.latest("pk")
    assert (run.kind, run.parent, path.model, path.reward_run, path.training_run) == ("reward", base, base, run, None)


def test_after_the_first_child_another_model_begins_a_path_of_its_own(client, project):
    sign_in(client, project, "researcher")
    child = with_child(project, voted(project))
    client.post(page(project), {"kind": "dpo", "model": child.pk})
    path, run = FirstModel.objects.get(), Run.objects.latest("pk")
    assert (run.parent, path.model, path.training_run) == (child, child, run)


def test_the_form_names_the_model_that_was_chosen_before(client, project):
    sign_in(client, project, "researcher")
    model = voted(project, 20)
    FirstModel.objects.create(project=project, model=model)
    assert (
        f'Model to start from: <a href="{reverse("model", args=[model.pk])}">'
        in client.get(page(project)).content.decode()
    )


def test_a_link_names_the_recipe_where_it_is_possible(client, project):
    sign_in(client, project, "researcher")
    voted(project)
    assert 'value="dpo" checked' in client.get(page(project), {"kind": "dpo"}).content.decode()
    assert 'value="ppo" checked' in client.get(page(project), {"kind": "kto"}).content.decode()


def test_without_a_model_it_leads_to_the_step_that_names_one(client, project):
    sign_in(client, project, "researcher")
    shown = client.get(page(project)).content.decode()
    assert "There is no model with weights here yet" in shown and 'name="model"' not in shown


def test_the_form_of_ppo_offers_the_order_while_there_is_no_reward_model(client, project):
    sign_in(client, project, "researcher")
    base, offer = voted(project, 1), f'href="{page(project)}?kind=ppo"'
    form = reverse("new-run", args=[project.slug, "ppo"])
    assert offer in client.get(form).content.decode()
    with_reward_model(project, base)
    FirstModel.objects.all().delete()
    assert offer not in client.get(form).content.decode()


def test_the_form_of_ppo_offers_the_order_though_another_project_has_a_reward_model(client, project):
    sign_in(client, project, "researcher")
    voted(project, 1)
    elsewhere = make_project()
    theirs = make_weights(kind="reward", parent=make_weights())
    Run.objects.create(project=elsewhere, kind="reward", name="theirs", state="succeeded", output_model=theirs)
    form = client.get(reverse("new-run", args=[project.slug, "ppo"])).content.decode()
    assert f'href="{page(project)}?kind=ppo"' in form and theirs.name in form


# Why another recipe than PPO


def test_it_says_why_ppo_is_not_proposed_and_shows_it_next(client, project):
    sign_in(client, project, "researcher")
    voted(project, 20)
    shown = client.get(page(project))
    why = "PPO needs 60 more annotations that separate answers, so DPO is proposed."
    assert why in shown.content.decode()
    assert [row.option.kind for row in shown.context["options"]][:2] == ["dpo", "ppo"]
    assert shown.content.decode().count("60 more annotations") == 1


def test_after_a_refused_reward_model_it_says_when_ppo_is_proposed_again(client, project):
    sign_in(client, project, "researcher")
    base = voted(project)
    dataset = Dataset.objects.create(project=project, kind="preferences", name="d", counts={"telling": 60})
    training_order.go_on_after_reward(with_reward_model(project, base, dataset=dataset))
    shown = client.get(page(project)).content.decode()
    assert "was not better than chance, so PPO would learn noise. DPO is proposed instead." in shown
    assert "PPO is proposed again after 40 more annotations" in shown


# A reward model that proved nothing


def test_a_refused_reward_model_can_be_used_all_the_same_here(client, project):
    sign_in(client, project, "researcher")
    base = voted(project)
    training_order.go_on_after_reward(with_reward_model(project, base))
    shown = client.get(page(project)).content.decode()
    assert "PPO did not start" in shown and "not better than chance" in shown
    assert "trust_unproven_reward" not in shown and "Use it anyway: PPO" in shown
    assert client.post(page(project), {"do": "ppo-all-the-same"}).url == page(project)
    ppo = Run.objects.get(kind="ppo")
    assert ppo.config["trust_unproven_reward"] is True and FirstModel.objects.get().training_run == ppo


def test_a_refusal_names_no_option_that_is_not_there(client, project):
    sign_in(client, project, "researcher")
    with_reward_model(project, voted(project))
    refused = client.post(page(project), {"do": "ppo"})
    shown = refused.content.decode()
    assert refused.status_code == 400 and "use it anyway" in shown and "trust_unproven_reward" not in shown
    assert not Run.objects.filter(kind="ppo").exists()


@pytest.mark.parametrize("evidence", [None, {**AT_CHANCE, "beats_chance": True}])
def test_nothing_is_to_be_trusted_where_nothing_is_refused(client, project, evidence):
    sign_in(client, project, "researcher")
    with_reward_model(project, voted(project, 1), evidence)
    assert "anyway" not in client.get(page(project)).content.decode()


# Times


def test_times_are_the_median_of_runs_that_nothing_interrupted(client, project):
    sign_in(client, project, "researcher")
    model = make_weights(parameters=135_000_000)
    FirstModel.objects.create(project=project, model=model)
    for _ in range(50):
        make_prompt(project)
    for seconds in (240, 3600, 250):
        taken(project, model, seconds)
    taken(project, model, 9000, resumed=True)
    shown = client.get(reverse("first-model-step", args=[project.slug, "answers"])).context["size"]
    assert shown["basis"] == "by the median of 3 earlier runs of this kind here"
