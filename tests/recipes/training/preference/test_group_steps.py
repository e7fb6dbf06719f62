"""What a step of GRPO and RLOO is made of: draws, parts that are computed at once, several updates, any model."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from tests.recipes.training.preference.test_recipe_grpo_rloo import CONFIG, FUNCTION, MAIN, make
from tests.support import tiny_model
from tests.support.training import preference_runs
from training.recipes.common import entry, loading
from training.recipes.group import group_policy
from training.recipes.group.group_engine import GroupEngine
from training.rl.policy import Policy
from training.rl.sampler import sequence_seed

pytestmark = pytest.mark.usefixtures("one_thread")

SEVERAL = {"epochs": 2, "minibatches": 2}
BRIEF = {"steps": 2, "learning_rate": 1e-3}
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
UNLIKE_LLAMA = {
    "phi": SIZES,  # its output layer has a bias
    "gemma2": SIZES | {"num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 0.5},
}


def varied(prompts, texts):
    """Scores of random texts that are hardly ever alike."""
    return [(sum(map(ord, text)) % 17) / 5 for text in texts]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def engine_of(folder, parent, kind="grpo", **config) -> GroupEngine:
    run = make(folder, kind, parent, reward_function=FUNCTION, **config)
    return GroupEngine(run, run.spec(), entry.config_of(run.spec()))


def weights_of(run) -> torch.Tensor:
    return torch.cat([w.flatten() for _, w in sorted(load_file(run.model / "adapter_model.safetensors").items())])


def test_each_row_has_its_seed_and_each_prompt_its_group(parent, tmp_path, monkeypatch):
    engine, asked = engine_of(tmp_path / "run", parent), []
    draw = engine.draw_prompts
    monkeypatch.setattr(engine, "draw_prompts", lambda *given: asked.append(given) or draw(*given))
    answers = engine.collect(2)
    prompts, seeds, *_ = asked[0]
    assert seeds == [sequence_seed(3, "group", 2, row) for row in range(CONFIG["batch_size"])]
    assert [prompts[8 * n : 8 * n + 8] for n in range(4)] == [[prompts[8 * n]] * 8 for n in range(4)]
    assert len({tuple(ids) for ids in prompts}) == 4 and len(answers.rollout) == 32


@pytest.mark.parametrize("is_packed", [True, False])
def test_answers_to_one_prompt_are_computed_together(parent, tmp_path, is_packed):
    engine = engine_of(tmp_path / "run", parent)
    engine.policy.packed, rollout = is_packed, engine.collect(0).rollout
    group = int(rollout.prompt_lengths[0]) + 8 * CONFIG["max_new_tokens"]
    engine.tokens_at_once = group
    parts = engine.parts(rollout)
    assert sorted(row for part in parts for row in part) == list(range(32))
    if is_packed:
        assert parts == [list(range(at, at + 8)) for at in range(0, 32, 8)]
    else:  # each has the prompt by itself, padded
        assert max(map(len, parts)) * int((rollout.prompt_lengths + rollout.lengths).max()) <= group


@pytest.mark.parametrize("kind", MAIN)
def test_what_is_computed_at_once_changes_nothing_that_is_learnt(parent, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    rows, original = [], Policy.logprobs

    def logprobs(self, lower, rollout, **options):
        rows.extend([len(rollout)] if torch.is_grad_enabled() else [])
        return original(self, lower, rollout, **options)

    monkeypatch.setattr(Policy, "logprobs", logprobs)
    runs = {}
    for limit in (0, 4):
        rows.clear()
        config = {**BRIEF, **SEVERAL, "micro_batch_size": limit, "temperature": 0.8}
        runs[limit] = run = make(tmp_path / str(limit), kind, parent, reward_function=FUNCTION, **config)
        assert entry.attempt(MAIN[kind], run) == 0, run.failure()
        assert set(rows) == {limit or 16}, "a minibatch is half of the 32 answers"
    whole, parts = (weights_of(run) for run in runs.values())
    assert (parts - whole).norm() < 1e-2 * whole.norm(), "saved in bfloat16"
    for one, other in zip(*(preference_runs.metrics(run) for run in runs.values()), strict=True):
        for name in ("loss", "grad_norm", "kl", "entropy", "clip_frac", "score_mean"):
            assert other["values"][name] == pytest.approx(one["values"][name], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("kind", MAIN)
def test_with_several_updates_the_clip_binds_and_an_interruption_changes_nothing(parent, tmp_path, monkeypatch, kind):
    config = {**SEVERAL, "steps": 4, "checkpoint_every": 2, "learning_rate": 2e-2, "reward_function": FUNCTION}
    whole, cut = (make(tmp_path / name, kind, parent, **config) for name in ("whole", "cut"))
    assert entry.attempt(MAIN[kind], whole) == 0, whole.failure()
    assert max(m["values"]["clip_frac"] for m in preference_runs.metrics(whole)) > 0
    honest = group_policy.after_step

    def dies_after_the_third(engine, optimiser, standing):
        honest(engine, optimiser, standing)
        if standing.step == 3:
            raise KeyboardInterrupt  # as abrupt as a signal

    with monkeypatch.context() as patch:
        patch.setattr(group_policy, "after_step", dies_after_the_third)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(MAIN[kind], cut)
    assert entry.attempt(MAIN[kind], cut) == 0, cut.failure()
    assert torch.equal(weights_of(cut), weights_of(whole))
    plain = (
        [{n: v for n, v in m["values"].items() if not n.startswith(("seconds", "peak_memory_gb"))} for m in found]
        for found in (preference_runs.metrics(whole), preference_runs.metrics(cut))
    )
    assert next(plain) == next(plain)
    assert {n: whole.result()[n] for n in ("first_loss", "first_score", "last_score", "last_kl")} == {
        n: cut.result()[n] for n in ("first_loss", "first_score", "last_score", "last_kl")
    }


@pytest.mark.parametrize(("name", "kind", "adapters"), [("phi", "grpo", "lora"), ("gemma2", "rloo", "top")])
def test_a_model_whose_logits_have_a_bias_or_a_cap_learns_by_its_own_forward(
    parent, tmp_path, monkeypatch, name, kind, adapters
):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    folder, options = tmp_path / name, {**BRIEF, "adapters": adapters, "temperature": 0.5}
    shutil.copytree(parent, folder, ignore=lambda _, names: [n for n in names if n.startswith(("model", "config"))])
    tokenizer = loading.load_tokenizer(parent)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(4)
    config = AutoConfig.for_model(name, vocab_size=len(tokenizer), **UNLIKE_LLAMA[name], **ends)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # of freshly made models biases are 0 and logits far below any cap
        for parameter in model.parameters():
            parameter.mul_(4).add_(0.02 * torch.randn_like(parameter))
    model.generation_config = GenerationConfig(do_sample=True, top_k=0, **ends)
    model.save_pretrained(folder)

    engine = engine_of(tmp_path / "engine", folder, kind, **options)
    answers = engine.collect(0)
    rollout = answers.rollout
    logprobs, entropies = engine.own_logprobs(answers.lower, rollout)
    table = (model(input_ids=rollout.ids).logits[rollout.states()] / 0.5).log_softmax(-1)
    wanted = table.gather(1, rollout.tokens[rollout.mask][:, None])[:, 0]
    torch.testing.assert_close(logprobs[rollout.mask], wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropies[rollout.mask], -(table.exp() * table).sum(1), atol=1e-4, rtol=1e-4)

    run = make(tmp_path / "run", kind, folder, reward_function=f"{__name__}.varied", **options)
    assert entry.attempt(MAIN[kind], run) == 0, run.failure()
    first, last = (preference_runs.metrics(run)[at]["values"]["kl"] for at in (0, -1))
    assert first == pytest.approx(0, abs=1e-6) and abs(last) > 1e-6
    assert (run.result()["fast_decoder"], run.result()["packed_layers"]) == (False, False)


def test_a_checkpoint_of_an_earlier_version_says_what_to_do(parent, tmp_path):
    run = make(tmp_path / "run", "grpo", parent, reward_function=FUNCTION, **BRIEF)
    (run.begin_checkpoint(1) / "trainer_state.json").write_text("{}")
    run.commit_checkpoint(1)
    assert entry.attempt(MAIN["grpo"], run) == 1
    assert run.failure()["code"] == "checkpoint_unreadable" and "Queue a new run" in run.failure()["remedy"]
