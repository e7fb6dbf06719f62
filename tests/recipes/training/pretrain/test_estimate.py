"""Estimates before a run begins: parameters to the number, memory near what is seen, and what the form says of them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from annotate.models import Dataset
from tests.support.factories import make_model, make_project, make_user
from tests.support.training import corpora
from tests.support.training.runs import make_run
from training.configs.presets import PRESETS, Preset, parameters
from training.core import resource_estimate
from training.recipes.common import loading, memory
from training.recipes.pretrain import architectures
from training.recipes.pretrain.objectives import Vocabulary, objective_named
from training.runs.ordering import machine_speed as machine

GB = 1e9
SMALL = Preset("small", 64, 3, 4, 2, 160, 1e-3, 400)


@pytest.mark.parametrize("objective", ["causal", "masked", "span", "mixture"])
@pytest.mark.parametrize(
    "preset", [PRESETS["1M"], PRESETS["10M"], SMALL, PRESETS["7B"]], ids=lambda preset: preset.name
)
def test_parameters_are_counted_as_the_model_has_them(preset, objective):
    tokenizer = corpora.tokenizer()
    with torch.device("meta"):
        build = {"masked": architectures._modernbert, "span": architectures._t5}.get(objective, architectures._llama)
        model = build(preset, tokenizer, 64)
    assert parameters(preset, len(tokenizer), objective) == loading.count_parameters(model)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_preset_has_about_the_size_it_is_named_for(preset):
    named = float(preset.name[:-1]) * {"M": 1e6, "B": 1e9}[preset.name[-1]]
    assert parameters(preset, preset.vocabulary, "causal") == pytest.approx(named, rel=0.13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("objective", ["causal", "masked", "span"])
def test_activations_are_counted_near_what_autograd_keeps(objective, dtype):
    """Every storage that the backward pass will read, once, without the weights."""
    preset, length, rows = PRESETS["3M"], 256, 2
    tokenizer = corpora.tokenizer()
    vocabulary = Vocabulary.of(tokenizer, objective)
    model = architectures.build(preset, objective, tokenizer, length).to(dtype)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    tokens = np.random.default_rng(0).choice(vocabulary.ordinary, (rows, length + 1))
    batch = objective_named(objective, vocabulary)(tokens, [np.random.default_rng(n) for n in range(rows)])
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        states, _ = architectures.hidden_states(model, batch)
    assert states.requires_grad
    shape = resource_estimate.shape_of(preset, len(tokenizer), objective)
    counted = resource_estimate.activation_bytes(
        shape, length, rows, is_bfloat16=dtype == torch.bfloat16, checkpointing=False
    )
    assert 0.55 < sum(kept.values()) / counted < 1


def plan(size: str, available: float, **options):
    shape = resource_estimate.shape_of(PRESETS[size], PRESETS[size].vocabulary, "causal")
    given = {"length": 512, "batch": 32, "available": available, "is_bfloat16": True}
    return resource_estimate.plan(shape, **{**given, **options})


def test_with_room_a_processor_computes_what_its_cache_holds():
    assert plan("10M", 16 * GB).rows == 8 and not plan("10M", 16 * GB).checkpointing


def test_with_less_room_fewer_rows_and_then_activations_twice():
    narrow = plan("100M", 4.3 * GB)
    assert narrow.rows < 8 and not narrow.checkpointing
    tight = plan("350M", 11 * GB, length=2048)
    assert tight.checkpointing
    assert tight.bytes <= 0.8 * 11 * GB


def test_what_does_not_fit_says_what_it_would_need():
    with pytest.raises(resource_estimate.DoesNotFit) as caught:
        plan("7B", 23 * GB)
    assert 110 * GB < caught.value.needed < 170 * GB, "20 bytes a weight"


def test_what_somebody_chose_is_taken():
    assert plan("10M", 16 * GB, rows=3).rows == 3
    assert plan("10M", 16 * GB, checkpointing=True).checkpointing


def test_flops_are_six_a_weight_and_token_for_short_rows():
    shape = resource_estimate.shape_of(PRESETS["100M"], 32768, "causal")
    assert resource_estimate.flops_per_token(shape, 1) == pytest.approx(6 * shape.multiplied, rel=0.01)


def test_the_share_that_steps_reach_lies_between_the_widths_that_were_measured():
    measured = [(128, 0.1), (320, 0.3), (448, 0.5)]
    assert [resource_estimate.reached(w, measured) for w in (64, 128, 224, 320, 4096)] == pytest.approx(
        [0.1, 0.1, 0.2, 0.3, 0.5]
    )


@pytest.mark.parametrize("limit", ["max", "2000000000"])
def test_a_container_s_limit_counts_for_less_than_the_machine(limit, monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("500000000")
    (tmp_path / "memory.stat").write_text("anon 400000000\ninactive_file 100000000\n")
    monkeypatch.setattr(memory, "Path", lambda _: tmp_path)
    assert memory._container_limit() == (float("inf") if limit == "max" else 1.6e9)


@pytest.fixture
def researcher(client, db):
    project = make_project()
    client.force_login(make_user(project, role="researcher"))
    return project


@pytest.fixture
def here(settings):
    machine.path().parent.mkdir(parents=True)
    known = {"device": "cpu", "name": "2 cores", "dtype": "bfloat16", "flops": 8e11, "memory": None}
    known["reached"] = [[128, 0.1], [320, 0.3], [448, 0.5]]
    machine.path().write_text(json.dumps(known))


def test_the_form_says_memory_and_time_of_every_size(client, researcher, here, monkeypatch):
    monkeypatch.setattr(machine.Machine, "available", property(lambda self: 20 * GB))
    page = client.get(f"/p/{researcher.slug}/runs/new/pretrain/").content.decode()
    assert page.count("<tr") == 1 + len(PRESETS)
    assert (
        "2 cores" in page
        and "does not fit" in page
        and "0.8 TFLOP/s in bfloat16, of which steps use 10 % to 50 %" in page
    )


def test_estimates_follow_what_is_typed(client, researcher, here):
    address = f"/p/{researcher.slug}/runs/new/pretrain/estimate/"

    def parameters_of_10m(**typed):
        rows = client.get(address, typed).context["estimates"]
        return next(row for row in rows if row.size == "10M")

    plain, chosen = parameters_of_10m(), parameters_of_10m(**{"config.size": "10M", "config.objective": "span"})
    assert plain.parameters == "10.2 M" and chosen.parameters == "11.5 M" and chosen.is_chosen
    tokenizer = make_model(kind="tokenizer", card={"metrics": {"vocab_size": 50_000, "bytes_per_token": 5.0}})
    assert parameters_of_10m(parent=tokenizer.pk).parameters == "23.6 M", "its vocabulary counts"


def test_nonsense_in_a_field_breaks_no_estimate(client, researcher, here):
    address = f"/p/{researcher.slug}/runs/new/pretrain/estimate/"
    answer = client.get(address, {"config.batch_size": "many", "config.context_length": "-3", "parent": "x"})
    assert answer.status_code == 200 and len(answer.context["estimates"]) == len(PRESETS)


@pytest.mark.usefixtures("no_process_by_get")
def test_a_form_says_that_the_machine_is_not_measured_and_measures_nothing(client, researcher):
    page = client.get(f"/p/{researcher.slug}/runs/new/pretrain/").content.decode()
    assert "not measured yet" in page and "load delay" in page


def test_a_worker_that_is_never_idle_leaves_the_pace_of_finished_runs(client, researcher):
    finished = {"kind": "pretrain", "state": "succeeded"}
    alike = {"size": "3M", "objective": "causal", "context_length": 256}
    for pace in (50.0, 100.0):
        make_run(name="secret", config=alike, result={"tokens_per_second": pace, "machine": "8 cores"}, **finished)
    make_run(config={**alike, "size": "1M"}, result={}, **finished)
    make_run(config={**alike, "objective": "masked"}, result={"tokens_per_second": 7.0}, **finished)
    corpus = Dataset.objects.create(project=researcher, kind="corpus", side="train", counts={"bytes": 24_000})
    chosen = {"config.context_length": "256", "config.epochs": "1", "dataset": corpus.pk}
    answer = client.get(f"/p/{researcher.slug}/runs/new/pretrain/estimate/", chosen)
    assert [(row.size, row.time, row.method) for row in answer.context["estimates"]] == [
        ("3M", "60 s", "as the last such run, on 8 cores")
    ]
    page = answer.content.decode()
    assert "not measured yet" in page and "times are known only for sizes of finished runs" in page
    assert "secret" not in page, "the run may be another project's"


@pytest.fixture
def begun(monkeypatch):
    """What the worker has started to measure, and its clock."""
    clock, starts = [0.0], []
    monkeypatch.setattr(machine, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(machine, "begin_measuring", lambda: starts.append(clock[0]))
    return clock, starts


@pytest.mark.django_db
def test_an_idle_worker_measures_its_machine_once_when_somebody_could_pretrain(begun):
    (clock, starts), idle = begun, machine.IdleMeasurement()

    def after(seconds: float, *, is_idle: bool = True) -> list[float]:
        clock[0] += seconds
        idle.note(is_idle=is_idle)
        return starts

    assert after(61) == [], "there is no tokenizer"
    make_model(kind="tokenizer")
    assert after(50) == [] and after(20, is_idle=False) == [] and after(59) == [], "a run was under way meanwhile"
    assert after(2) == [192.0] and after(1000) == [192.0]


@pytest.mark.django_db
def test_a_machine_that_is_known_is_not_measured_again(begun, here):
    clock, starts = begun
    make_model(kind="tokenizer")
    idle = machine.IdleMeasurement()
    clock[0] += 100
    idle.note(is_idle=True)
    assert starts == []


@pytest.mark.thorough
@pytest.mark.slow
def test_the_measurement_is_made_and_read(tmp_path):
    from tests.support.processes import until

    machine.begin_measuring()
    machine.begin_measuring()  # while one is under way, no second
    until(lambda: machine.measured() is not None, 600, "the machine has been measured")
    found = machine.measured()
    assert found is not None and found.flops > 1e9 and found.available > 1e8
    assert [width for width, _ in found.reached] == [128, 320, 448]
    assert all(share > 0 for _, share in found.reached)  # of what a busier moment may have measured
