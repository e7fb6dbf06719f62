"""Memory that is counted from a model's sizes before a run of its kind has ever ended here."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from django.urls import reverse

from tests.support.api_client import Program
from tests.support.factories import make_user
from tests.support.training.runs import make_dataset, make_run, make_weights
from training import configs
from training.runs.ordering import machine_speed
from training.runs.present.run_estimates import PlannedRun, estimate, memory_of

pytestmark = pytest.mark.django_db
GB = 1e9
LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip

LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64, "intermediate_size": 28672,
}  # fmt: skip


@pytest.fixture
def llama():
    model = make_weights()
    (model.path / "config.json").write_text(json.dumps(LLAMA_8B))
    return model


@pytest.fixture
def gpu(settings):
    """This machine, as a worker has measured it: one GPU with 80 GB."""
    machine_speed.path().parent.mkdir(parents=True)
    known = {"device": "cuda", "name": "H100", "dtype": "bfloat16", "flops": 8e14, "memory": 80 * GB}
    machine_speed.path().write_text(json.dumps({**known, "reached": [[128, 0.1], [320, 0.3], [448, 0.5]]}))


def planned(project, kind: str, parent, **options) -> PlannedRun:
    return PlannedRun(project, kind, dict(vars(configs.parse(kind, options))), parent)


def test_what_does_not_fit_says_so_with_the_option_to_change(project, llama, gpu):
    one = estimate(planned(project, "sft", llama, adapters="full"))
    assert one.seconds is None and one.fits is False and one.memory_bytes == pytest.approx(sum(one.parts.values()))
    assert one.parts["optimiser"] == 8 * 8_030_261_248
    assert one.text.startswith("Time unknown, 1.") and "counted from the model's sizes (optimiser 64 GB" in one.text
    assert "It does not fit the 80 GB of this GPU. It fits with adapters: lora (" in one.text
    assert one.changes == {"adapters": "lora"}
    fitting = estimate(planned(project, "sft", llama, **one.changes))
    assert fitting.fits and fitting.changes == {} and fitting.text.endswith("It fits the 80 GB of this GPU.")


def test_without_a_measurement_it_says_which_gpu_it_fits(project, llama):
    one = estimate(planned(project, "sft", llama, max_length=256, batch_size=1))
    assert one.fits is None and one.text.endswith("It fits a GPU with 32 GB.")
    several = estimate(planned(project, "sft", llama, max_length=256, batch_size=2, processes=2))
    assert several.memory_bytes == one.memory_bytes and several.text.endswith("Each process needs a GPU with 32 GB.")
    in_parts = estimate(planned(project, "sft", llama, adapters="full", batch_size=64))
    assert "No single GPU has room for it. Split over 4 GPUs with 80 GB it fits, with processes: 4, " in in_parts.text


def test_a_70b_says_over_how_many_gpus_it_must_be_split(project, llama, gpu):
    (llama.path / "config.json").write_text(json.dumps(LLAMA_70B))
    whole = estimate(planned(project, "sft", llama, adapters="lora", batch_size=64))
    assert whole.fits is False and whole.changes == {}
    assert "It does not fit the 80 GB of this GPU, whatever the options. It fits a GPU with 192 GB. Split" in whole.text
    assert "Split over 4 GPUs with 80 GB it fits, with processes: 4, sharding: full (" in whole.text
    split = estimate(planned(project, "sft", llama, adapters="lora", batch_size=64, processes=4, sharding="full"))
    assert split.fits and split.memory_bytes < 0.8 * 80 * GB
    few = estimate(planned(project, "sft", llama, adapters="lora", batch_size=2))
    assert "Split over" not in few.text, "each process takes a row at least"


def test_weights_that_are_elsewhere_count_by_their_parameters(project):
    elsewhere = make_weights(parameters=8_000_000_000)
    (elsewhere.path / "config.json").unlink()
    one = estimate(planned(project, "sft", elsewhere))
    assert one.parts["weights"] == pytest.approx(16e9, rel=0.02)
    assert "counted from the sizes of a common model with as many parameters" in one.text


def test_what_is_counted_is_not_asked_of_a_cluster_s_host_memory(project, llama):
    config = dict(vars(configs.parse("sft", {"adapters": "full"})))
    run = make_run(project, kind="sft", parent=llama)
    run.config = config
    assert memory_of(run) == 0


def test_a_reward_model_counts_the_answers_that_its_prompts_have(project, llama, gpu):
    pairs, rankings = (make_dataset(project, kind="preferences") for _ in range(2))
    pairs.counts, rankings.counts = ({"prompts": 100, "completions": count} for count in (200, 3200))
    one, other = (
        replace(
            planned(project, "reward", llama, method="finetune", max_prompt_tokens=1500, batch_size=2), dataset=dataset
        )
        for dataset in (pairs, rankings)
    )
    assert estimate(other).parts["activations"] > 3 * estimate(one).parts["activations"]
    assert estimate(one).memory_bytes == estimate(replace(one, dataset=None)).memory_bytes


def test_the_form_and_the_api_say_the_same(client, project, llama, gpu):
    user = make_user(project, role="researcher")
    client.force_login(user)
    typed = {"parent": llama.pk, "config.adapters": "full"}
    page = client.get(reverse("estimate-run", args=[project.slug, "sft"]), typed).content.decode()
    order = {"kind": "sft", "project": project.slug, "parent": llama.pk, "config": {"adapters": "full"}}
    answer = Program(user).post("runs/estimate/", order).json()
    assert answer["fits"] is False and answer["changes"] == {"adapters": "lora"}
    assert answer["advice"] in page and answer["advice"].startswith("It does not fit")
