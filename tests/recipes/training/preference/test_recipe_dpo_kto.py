"""DPO and KTO: what they learn from, that they learn it, and that an interruption changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support import tiny_model
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import preference_runs
from training.configs import DPOConfig
from training.core.run_directory import RunDirectory
from training.recipes import dpo, kto
from training.recipes.common import entry, loading
from training.recipes.common.processes import ONE_PROCESS
from training.recipes.preference import preference_data, preference_policy, preference_step, reference_logprobs
from training.recipes.preference.answer_examples import AnswerExamples, places_of
from training.recipes.sft import trained_model
from training.recipes.sft.examples import Example
from training.recipes.sft.trained_model import Student
from training.rl.packed import packed_layers as packed

pytestmark = pytest.mark.usefixtures("one_thread")

MAIN = {"dpo": dpo.main, "kto": kto.main}
CONFIG = {"epochs": 3.0, "batch_size": 8, "learning_rate": 5e-3, "checkpoint_every": 2, "sample_every": 100}
CONFIG |= {"sample_tokens": 8, "held_out": 0.25}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def done(parent, tmp_path_factory) -> dict[str, RunDirectory]:
    runs = {}
    for kind, main in MAIN.items():
        runs[kind] = preference_runs.make(tmp_path_factory.mktemp("runs") / kind, kind, parent, **CONFIG)
        assert entry.attempt(main, runs[kind]) == 0, runs[kind].failure()
        assert not (runs[kind].path / "tokens").exists()  # the examples are gone at the end
    return runs


@pytest.mark.parametrize("kind", MAIN)
def test_on_held_out_prompts_it_favours_what_people_preferred(done, kind):
    held_out = done[kind].result()["held_out"]
    assert held_out["pair_accuracy"]["n"] == 6 and held_out["thumbs_auc"]["n"] == 12
    assert held_out["pair_accuracy"]["value"] == 1.0 and held_out["thumbs_auc"]["value"] == 1.0
    assert done[kind].result()["last_loss"] < done[kind].result()["first_loss"] - 0.05
    assert "6 pairs" in done[kind].result()["verdict"]


@pytest.mark.parametrize(
    ("window", "wanted", "given"),
    [
        (2048, (256, 300), (256, 300)),
        (500, (256, 300), (250, 250)),
        (256, (64, 256), (64, 192)),
        (256, (256, 50), (206, 50)),
    ],
)
def test_prompts_and_completions_fit_into_the_models_window_together(window, wanted, given):
    config = DPOConfig(max_prompt_tokens=wanted[0], max_completion_tokens=wanted[1])
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=window))
    within = preference_policy.within_window(config, model)
    assert (within.max_prompt_tokens, within.max_completion_tokens) == given


def test_no_answer_is_longer_than_the_models_window(parent, tmp_path):
    folder = tiny_model.with_window(parent, tmp_path / "narrow", 24)
    run = preference_runs.make(tmp_path / "run", "dpo", folder, **CONFIG | {"epochs": 1.0})
    work = preference_policy.load(run, run.spec(), entry.config_of(run.spec()))
    both = [len(a) + len(b) for a, b in zip(work.data.prompts, work.data.completions, strict=True)]
    assert max(both) <= 24 and max(map(len, work.data.prompts)) > 8


@pytest.mark.parametrize("kind", MAIN)
def test_the_saved_model_itself_finds_the_preferred_answer_likelier_than_its_parent_does(done, parent, kind):
    data = _read(done[kind], parent)
    gain = plain_logprobs(done[kind].model, data) - plain_logprobs(parent, data)
    assert gain[data.pairs[:, 0]].min() > gain[data.pairs[:, 1]].max()


def test_an_interrupted_run_ends_in_the_same_bits(done, parent, tmp_path, monkeypatch):
    """Both kinds, each killed three times: test_every_kind_killed."""
    kind = "dpo"
    cut = preference_runs.make(tmp_path / "cut", kind, parent, **CONFIG)
    honest = preference_policy.after_step

    def dies_after_the_third(course, optimiser, standing):
        honest(course, optimiser, standing)
        if standing.step == 3:
            raise KeyboardInterrupt  # as abrupt as a signal

    with monkeypatch.context() as patch:
        patch.setattr(preference_policy, "after_step", dies_after_the_third)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(MAIN[kind], cut)
    assert cut.latest_checkpoint().name == "step-000002"
    with monkeypatch.context() as patch:
        patch.setattr(reference_logprobs, "summed_logprobs", None)  # what the first attempt wrote is read
        assert entry.attempt(MAIN[kind], cut) == 0, cut.failure()
    ours, theirs = (load_file(run.model / "adapter_model.safetensors") for run in (cut, done[kind]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    losses = [[m["values"]["loss"] for m in preference_runs.metrics(run)] for run in (cut, done[kind])]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", plain_run_tries("dpo", of=MAIN))
def test_every_weight_can_be_trained_against_a_frozen_copy(parent, tmp_path, kind):
    config = CONFIG | {"adapters": "full", "learning_rate": 1e-3, "epochs": 1.0}
    run = preference_runs.make(tmp_path / "full", kind, parent, **config)
    assert entry.attempt(MAIN[kind], run) == 0, run.failure()
    first = preference_runs.metrics(run)[0]["values"]
    assert first["chosen_reward"] == first["rejected_reward"] == 0  # nothing has moved: both are one function
    before, after = (loading.load_policy(folder)[0].state_dict() for folder in (parent, run.model))
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])
    assert run.result()["held_out"]["pair_accuracy"]["value"] > 0.6


def test_activations_that_are_computed_again_change_nothing(parent, tmp_path, monkeypatch):
    passes, original = [], packed._until_gates
    monkeypatch.setattr(
        packed, "_until_gates", lambda *given: passes.append(torch.is_grad_enabled()) or original(*given)
    )
    losses, counts = [], []
    for checkpointing in ("off", "on"):
        config = CONFIG | {"epochs": 1.0, "activation_checkpointing": checkpointing}
        run = preference_runs.make(tmp_path / checkpointing, "dpo", parent, **config)
        assert entry.attempt(dpo.main, run) == 0, run.failure()
        assert run.result()["activations_computed_twice"] == (checkpointing == "on")
        losses.append([m["values"]["loss"] for m in preference_runs.metrics(run)])
        counts.append(len(passes))
        passes.clear()
    assert losses[0] == losses[1] and len(set(losses[0])) > 1
    assert counts[1] > counts[0], "each layer of a forward with gradients runs once more"


def test_the_reference_of_a_killed_attempt_goes_on_behind_its_last_portion(done, parent, tmp_path, monkeypatch):
    monkeypatch.setattr(reference_logprobs, "PORTION", 200)
    asked, honest = [], reference_logprobs.summed_logprobs
    whole = preference_runs.make(tmp_path / "run", "dpo", parent, **CONFIG)

    def dies_in_the_third(policy, examples, rows, *given):
        asked.append(rows.tolist())
        if len(asked) == 3:
            raise KeyboardInterrupt
        return honest(policy, examples, rows, *given)

    monkeypatch.setattr(reference_logprobs, "summed_logprobs", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        entry.attempt(dpo.main, whole)
    assert entry.attempt(dpo.main, whole) == 0, whole.failure()
    assert asked[0] + asked[1] == list(range(asked[2][0])) and asked[2] == asked[3], "what was written is read"
    ours, theirs = (load_file(run.model / "adapter_model.safetensors") for run in (whole, done["dpo"]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(done, parent, tmp_path):
    run = preference_runs.make(tmp_path / "micro", "dpo", parent, **CONFIG, micro_batch_size=4)
    assert entry.attempt(dpo.main, run) == 0, run.failure()
    ours, whole = (preference_runs.metrics(r) for r in (run, done["dpo"]))
    assert [m["step"] for m in ours] == [m["step"] for m in whole]
    for name in ("loss", "grad_norm", "entropy"):
        assert ours[0]["values"][name] == pytest.approx(whole[0]["values"][name], rel=1e-3), name


def test_the_kl_of_kto_is_that_of_the_batch_however_it_is_cut(parent, tmp_path, monkeypatch):
    sizes = {"backward": set(), "distance_elsewhere": set()}

    def count(name, honest):
        def counted(learning, rows, *given, **named):
            sizes[name].add(len(rows))
            return honest(learning, rows, *given, **named)

        monkeypatch.setattr(preference_step, name, counted)

    for name in sizes:
        count(name, getattr(preference_step, name))
    run = preference_runs.make(tmp_path / "micro", "kto", parent, **CONFIG | {"epochs": 1.0}, micro_batch_size=1)
    assert entry.attempt(kto.main, run) == 0, run.failure()
    assert sizes == {"backward": {1}, "distance_elsewhere": {8, 36 % 8}}


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_summed_logprob_is_that_of_a_plain_softmax(parent, done, is_packed):
    data = _read(done["dpo"], parent)
    policy = Student(loading.load_policy(parent, torch.float32)[0], "lora", rank=2, seed=0, dtype=torch.float32)
    assert policy.is_packed
    policy.is_packed = is_packed
    places = places_of(np.arange(len(data.completions)))
    examples = AnswerExamples(data, places.places)
    rows = places.of(np.array([5, 0, 1]))
    got = reference_logprobs.summed_logprobs(policy, examples, rows, 30, ONE_PROCESS)
    assert got == pytest.approx(plain_logprobs(parent, data)[[5, 0, 1]], rel=1e-4)


@pytest.mark.parametrize("packs", [True, False])
def test_an_answer_of_no_token_has_the_logprob_0(parent, monkeypatch, packs):
    if not packs:
        monkeypatch.setattr(trained_model, "packed_agrees", lambda model: False)
    policy = Student(loading.load_policy(parent, torch.float32)[0], "lora", rank=2, seed=0, dtype=torch.float32)
    logprobs, entropies = policy.logprobs([Example("", [20, 21, 22], [False] * 3)], entropies=True)
    logprobs.sum().backward()
    assert logprobs.tolist() == entropies.tolist() == [0.0]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("adapters", ["lora", "top", "full"])
def test_a_pair_forwards_its_prompt_once_and_learns_as_two_answers_apart(parent, monkeypatch, adapters, recompute):
    policy = Student(loading.load_policy(parent, torch.float32)[0], adapters, rank=2, seed=0, dtype=torch.float32)
    policy.begin(recompute)
    for name, parameter in policy.masters.masters.items():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(parameter, std=0.1)
    policy.masters.publish()
    prompt, tokens, found = list(range(20, 60)), [], []
    pair = [Example("", [*prompt, *rest], [False] * 40 + [True] * len(rest)) for rest in ([3, 5, 9], [3, 8, 1, 1])]
    monkeypatch.setattr(
        trained_model, "run_packed",
        lambda base, hidden, *given: tokens.append(len(hidden)) or packed.run_packed(base, hidden, *given),
    )  # fmt: skip
    for groups in ([[pair[0]], [pair[1]]], [pair]):
        policy.model.zero_grad()
        logprobs = torch.cat([policy.logprobs(group)[0] for group in groups])
        (logprobs * torch.tensor([0.7, -0.7])).sum().backward()
        found.append([logprobs.detach(), *(p.grad.clone() for p in policy.model.parameters() if p.grad is not None)])
    assert sorted(set(tokens)) == [43, 44, 40 + 1 + 2 + 3]
    assert len(found[0]) == len(found[1]) > 1
    for apart, together in zip(*found, strict=True):
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5 * float(apart.abs().max()))


def test_a_cut_answer_gets_no_end_token_and_a_whole_one_does(parent, tmp_path):
    tokenizer = loading.load_tokenizer(parent)
    whole = preference_data._encode(tokenizer, {"text": "abc"}, 10)
    assert whole[-1] == tokenizer.eos_token_id and len(whole) == 4
    assert preference_data._encode(tokenizer, {"text": "abc"}, 2) == whole[:2]
    assert preference_data._encode(tokenizer, {"text": "abc", "finish_reason": "length"}, 10) == whole[:3]


def test_the_mismatched_answer_is_one_to_another_prompt():
    prompt_ids = np.array([7, 7, 7, 8, 9, 9])
    answers = np.array([0, 0, 1, 2, 3, 4, 5, 0])
    mismatches = kto.mismatches(answers, prompt_ids)
    assert (prompt_ids[mismatches] != prompt_ids[answers]).all()
    assert kto.mismatches(np.array([0, 1]), prompt_ids).tolist() in ([0, 1], [1, 0])


def test_the_rarer_thumb_counts_more():
    assert kto.weights(30, 10) == (1.0, 3.0)
    assert kto.weights(10, 40) == (4.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "lacking", "code"), [("dpo", "comparisons", "too_few_pairs"), ("kto", "ratings", "too_few_thumbs")]
)
def test_too_few_annotations_are_refused_with_what_else_would_do(parent, tmp_path, kind, lacking, code):
    run = preference_runs.make(tmp_path / "few", kind, parent, **CONFIG)
    path = run.path / "data" / f"{lacking}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert entry.attempt(MAIN[kind], run) == 1
    assert run.failure()["code"] == code
    assert ("KTO" if kind == "dpo" else "DPO") in run.failure()["remedy"]


def test_a_wrong_winner_is_named(parent, tmp_path):
    run = preference_runs.make(tmp_path / "wrong", "dpo", parent, **CONFIG)
    path = run.path / "data" / "comparisons.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[4]["winner"] = "left"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert entry.attempt(dpo.main, run) == 1
    assert "'left'" in run.failure()["message"] and "comparison 5" in run.failure()["message"]


def test_the_pairs_of_a_ranking_weigh_what_one_comparison_weighs(parent, tmp_path):
    """Of the comparisons one in three is a ranking's, of four answers: six pairs, a sixth each."""
    run = preference_runs.make(tmp_path / "ranked", "dpo", parent, **CONFIG)
    path = run.path / "data" / "comparisons.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row | ({"weight": 1 / 6} if number % 3 == 0 else {}) for number, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = _read(run, parent)
    objective, places = dpo.pairs_of(data, entry.config_of(run.spec()))
    losses = objective.losses(np.arange(len(objective.answers)), torch.zeros(len(objective.answers), 2), 0.0).numpy()
    numbers = data.prompt_ids[places.own[objective.answers[:, 0]]]
    is_ranked = numbers % 3 == 0
    assert 0 < is_ranked.sum() < len(numbers)
    assert losses[is_ranked] == pytest.approx(losses[~is_ranked][0] / 6)
    assert losses.mean() == pytest.approx(np.log(2)), "the step is as long as without rankings"


def plain_logprobs(folder: Path, data: preference_data.Judgements) -> np.ndarray:
    """The summed log-probability of each answer to its prompt by transformers' own forward, one at a time."""
    model, sums = loading.load_policy(folder, torch.float32)[0], []
    for prompt, answer in zip(data.prompts, data.completions, strict=True):
        with torch.no_grad():
            table = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        sums.append(table.gather(1, torch.tensor(answer)[:, None]).sum().item())
    return np.array(sums)


def _read(run: RunDirectory, parent) -> preference_data.Judgements:
    return preference_data.read(run, loading.load_tokenizer(parent), entry.config_of(run.spec()), run.spec().seed)
