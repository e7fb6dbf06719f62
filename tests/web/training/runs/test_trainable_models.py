"""A model that a recipe cannot train, or not in the way that is asked for, is refused when the run is ordered."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from tests.support.api_client import Program, errors
from tests.support.factories import make_user
from tests.support.training.runs import make_dataset, make_weights
from training.models import Run

GEMMA2 = {"model_type": "gemma2", "final_logit_softcapping": 30.0, "sliding_window": 4096}
PHI, GPT2, NEOX = {"model_type": "phi"}, {"model_type": "gpt2"}, {"model_type": "gpt_neox"}
QWEN = {"model_type": "qwen2", "sliding_window": 131072, "use_sliding_window": False}
OF = {"sft": "sft", "ppo": "prompts", "domain": "corpus", "dpo": "preferences", "kto": "preferences"}
OF |= {"grpo": "prompts", "reward": "preferences", "classify": "labelled"}


def model_of(config: dict):
    model = make_weights()
    (model.path / "config.json").write_text(json.dumps(config))
    return model


def ordered(project, kind: str, config: dict, options: dict):
    """The answer to an order by a program."""
    parent, dataset = model_of(config), make_dataset(project, kind=OF[kind])
    order = {"kind": kind, "project": project.slug, "name": "new", "parent": parent.pk, "dataset": dataset.pk}
    return Program(make_user(project, role="researcher")).post("runs/", order | {"config": options})


@pytest.mark.parametrize(
    ("kind", "config", "options", "field", "remedy"),
    [
        ("sft", PHI, {}, "parent", "Use DPO, KTO, GRPO or RLOO"),
        ("ppo", GEMMA2, {"adapters": "lora"}, "parent", "Use DPO, KTO, GRPO or RLOO"),
        ("domain", {"text_config": GEMMA2}, {}, "parent", "or another parent"),
        ("sft", GPT2, {"adapters": "lora"}, "config.adapters", "choose full"),
        ("dpo", GPT2, {"adapters": "top"}, "config.adapters", "choose full"),
        ("grpo", GPT2, {"adapters": "lora"}, "config.adapters", "choose full"),
        ("ppo", GPT2, {"adapters": "top"}, "config.adapters", "choose full"),
        ("reward", GPT2, {"method": "finetune"}, "config.adapters", "choose full"),
        ("classify", GPT2, {"adapters": "lora"}, "config.adapters", "choose full"),
        ("ppo", NEOX, {"adapters": "top"}, "config.adapters", "choose lora"),
        ("ppo", {"model_type": "mistral", "sliding_window": 64}, {"adapters": "top"}, "config.adapters", "choose lora"),
        ("domain", {"max_position_embeddings": 64}, {"context_length": 65}, "config.context_length", "at most 64"),
    ],
)
def test_an_order_is_refused_by_its_field_with_the_remedy(project, kind, config, options, field, remedy):
    answer = ordered(project, kind, config, options)
    assert answer.status_code == 400 and remedy in errors(answer)[field]
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("kind", "config", "options"),
    [
        ("dpo", PHI, {}),
        ("kto", GEMMA2, {}),
        ("sft", GPT2, {"adapters": "full"}),
        ("sft", QWEN, {}),
        ("reward", GPT2, {"method": "head"}),
        ("reward", GPT2, {}),
        ("domain", {"max_position_embeddings": 64}, {"context_length": 64}),
        ("sft", {"model_type": "of another day"}, {}),
    ],
)
def test_what_a_recipe_can_train_is_queued(project, kind, config, options):
    answer = ordered(project, kind, config, options)
    assert answer.status_code == 201, answer.json()


@pytest.mark.parametrize(("annotations", "is_refused"), [(1999, False), (2000, True)])
def test_a_reward_model_that_is_a_head_by_the_number_of_annotations_needs_no_adapters(project, annotations, is_refused):
    """By default finetuning is tried from 2,000 annotations on."""
    dataset = make_dataset(project, kind="preferences")
    dataset.counts = {"comparisons": annotations - 500, "ratings": 500}
    dataset.save()
    order = {"kind": "reward", "project": project.slug, "name": "new", "parent": model_of(GPT2).pk}
    answer = Program(make_user(project, role="researcher")).post("runs/", order | {"dataset": dataset.pk})
    assert answer.status_code == (400 if is_refused else 201), answer.json()
    assert not is_refused or "choose full" in errors(answer)["config.adapters"]


@pytest.mark.parametrize(("config", "is_refused"), [(NEOX, True), (QWEN, False)])
def test_what_ppo_cuts_in_two_attends_to_all_that_came_before(project, config, is_refused):
    """No reward model is chosen, so that the order is refused in any case."""
    assert ("config.adapters" in errors(ordered(project, "ppo", config, {"adapters": "top"}))) == is_refused


def test_the_form_says_it_beside_the_model(client, project):
    client.force_login(make_user(project, role="researcher"))
    parent, dataset = model_of(PHI), make_dataset(project, kind="sft")
    page = reverse("new-run", args=[project.slug, "sft"])
    form = client.post(page, {"name": "new", "parent": parent.pk, "dataset": dataset.pk, "seed": 0}).context["form"]
    [text] = form.errors["parent"]
    assert text.startswith(f"{parent.name}: It is a phi") and "Use DPO, KTO, GRPO or RLOO" in text
    assert not Run.objects.exists()


def test_an_adapter_is_what_its_base_is(project):
    base, child = model_of(PHI), make_weights()
    (child.path / "config.json").unlink()
    (child.path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base.path)}))
    dataset = make_dataset(project, kind="sft")
    order = {"kind": "sft", "project": project.slug, "name": "new", "parent": child.pk, "dataset": dataset.pk}
    answer = Program(make_user(project, role="researcher")).post("runs/", order)
    assert answer.status_code == 400 and "phi" in errors(answer)["parent"]
