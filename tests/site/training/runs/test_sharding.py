"""A model split over several processes learns what one process learns, and goes on with another number of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import tiny_model
from tests.support.training import corpora, ppo_runs, reward_of_two_penalties, sharded_runs
from tests.support.training.sharded_runs import carry_out, curve, is_same_but_for_rounding, largest_difference
from training.core.run_directory import RunDirectory


def succeed(run: RunDirectory, module: str, count: int) -> RunDirectory:
    assert carry_out(run, module, count) == 0, (run.path / "log.txt").read_text()[-3000:]
    return run


def assert_same(one: RunDirectory, other: RunDirectory) -> None:
    for name in ("loss", "grad_norm", "validation_loss"):
        assert curve(other, name) == pytest.approx(curve(one, name), rel=3e-4), name
    assert is_same_but_for_rounding(one, other)


def compare_with_whole(lay: Callable[..., RunDirectory], folder: Path, module: str, parent: Path, **config) -> None:
    """Assert that two processes with shares of a model learn what one learns that has it whole."""
    one = succeed(lay(folder / "1", parent, **config), module, 1)
    assert_same(one, succeed(lay(folder / "2", parent, processes=2, sharding="full", **config), module, 2))


@pytest.mark.slow
def test_pretraining_killed_on_two_processes_goes_on_with_one(tmp_path: Path) -> None:
    module, tokenizer = "training.recipes.pretrain", corpora.make_tokenizer(tmp_path / "tokenizer")
    one = succeed(sharded_runs.lay_pretrain(tmp_path / "one", tokenizer), module, 1)
    two = sharded_runs.lay_pretrain(tmp_path / "two", tokenizer, processes=2, sharding="full")
    assert carry_out(two, module, 2, is_killed=True) == -signal.SIGKILL
    checkpoint = two.latest_checkpoint()
    assert checkpoint is not None and sorted(path.name for path in checkpoint.iterdir()) == [
        "shard-00001-model-00001-of-00001.safetensors",
        "shard-00002-model-00001-of-00001.safetensors",
        "state.pt",
    ]
    before = (two.path / "metrics.jsonl").read_text()
    succeed(two, module, 1)
    assert (two.path / "metrics.jsonl").read_text().startswith(before), "the steps before are not taken again"
    assert_same(one, two)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("objective", ["masked", "span", "mixture"])
def test_each_architecture_learns_in_shares_what_it_learns_whole(tmp_path: Path, objective: str) -> None:
    tokenizer = corpora.make_tokenizer(tmp_path / "tokenizer")
    compare_with_whole(sharded_runs.lay_pretrain, tmp_path, "training.recipes.pretrain", tokenizer, objective=objective)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(("adapters", "count"), [("lora", 4), ("full", 2)])
def test_finetuning_in_shares_learns_what_it_learns_whole(tmp_path: Path, adapters: str, count: int) -> None:
    """Killed on two processes and resumed: with as many in the same bits, with another number within rounding."""
    module, parent = "training.recipes.sft", tiny_model.make(tmp_path / "parent")
    one = succeed(sharded_runs.lay_sft(tmp_path / "one", parent, adapters=adapters), module, 1)
    two, cut = (
        sharded_runs.lay_sft(tmp_path / name, parent, adapters=adapters, processes=2, sharding="full")
        for name in ("two", "cut")
    )
    assert carry_out(cut, module, 2, is_killed=True) == -signal.SIGKILL
    assert_same(one, succeed(cut, module, count))
    assert cut.result()["kept_step"] == one.result()["kept_step"]
    if count == 2:
        assert largest_difference(succeed(two, module, 2), cut) == 0


@pytest.mark.thorough
@pytest.mark.slow
def test_what_one_process_began_goes_on_in_shares(tmp_path: Path) -> None:
    module, tokenizer = "training.recipes.pretrain", corpora.make_tokenizer(tmp_path / "tokenizer")
    one = succeed(sharded_runs.lay_pretrain(tmp_path / "one", tokenizer), module, 1)
    cut = sharded_runs.lay_pretrain(tmp_path / "cut", tokenizer, processes=2, sharding="full")
    assert carry_out(cut, module, 1, is_killed=True) == -signal.SIGKILL
    assert_same(one, succeed(cut, module, 2))


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("adapters", ["lora", "full"])
def test_a_domain_is_learnt_in_shares_as_it_is_whole(tmp_path: Path, adapters: str) -> None:
    parent = tiny_model.make(tmp_path / "parent")
    compare_with_whole(sharded_runs.lay_domain, tmp_path, "training.recipes.domain", parent, adapters=adapters)


@pytest.mark.thorough
@pytest.mark.slow
def test_every_weight_learns_in_shares_over_an_adapter(tmp_path: Path) -> None:
    """In bfloat16 an adapter stays beside its base where nothing learns; here it is one with the weights that do."""
    module, parent = "training.recipes.sft", tiny_model.make(tmp_path / "parent")
    adapter = succeed(sharded_runs.lay_sft(tmp_path / "adapter", parent, adapters="lora"), module, 1)
    full = sharded_runs.lay_sft(tmp_path / "full", adapter.model, adapters="full", processes=2, sharding="full")
    assert carry_out(full, module, 2, dtype="bfloat16") == 0, (full.path / "log.txt").read_text()[-3000:]
    fidelity = full.result()["fidelity"]
    assert fidelity["rank"] is None and fidelity["cosine"] > 0.999
    assert fidelity["kl_per_token"] < 1e-9, "what is saved is what was trained, to the bit"


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "adapters", "count"), [("dpo", "lora", 4), ("kto", "full", 2)])
def test_preferences_are_learnt_in_shares_as_they_are_whole(
    tmp_path: Path, kind: str, adapters: str, count: int
) -> None:
    """Killed on two processes and resumed. Of ten pairs the last batch has two: with four processes two have none."""
    module, parent = f"training.recipes.{kind}", tiny_model.make(tmp_path / "parent")
    one = succeed(sharded_runs.lay_preference(tmp_path / "one", kind, parent, adapters=adapters), module, 1)
    two, cut = (
        sharded_runs.lay_preference(tmp_path / n, kind, parent, adapters=adapters, processes=2, sharding="full")
        for n in ("two", "cut")
    )
    assert carry_out(cut, module, 2, is_killed=True) == -signal.SIGKILL
    before = (cut.path / "metrics.jsonl").read_text()
    succeed(cut, module, count)
    assert (cut.path / "metrics.jsonl").read_text().startswith(before), "the steps before are not taken again"
    for name in ("loss", "grad_norm", "margin", "chosen_logprob", "kl"):
        assert curve(cut, name) == pytest.approx(curve(one, name), rel=1e-4, abs=1e-5), name
    assert is_same_but_for_rounding(one, cut)
    figures = cut.result()
    assert figures["held_out"] == one.result()["held_out"] and figures["fidelity"]["kl_per_token"] < 1e-4
    if count == 2:
        assert largest_difference(succeed(two, module, 2), cut) == 0


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(("adapters", "count"), [("lora", 1), ("full", 2)])
def test_a_reward_model_is_finetuned_in_shares_as_it_is_whole(tmp_path: Path, adapters: str, count: int) -> None:
    """Killed on two processes in mid-finetuning, and resumed: with as many in the same bits."""
    module, parent = reward_of_two_penalties.__name__, tiny_model.make(tmp_path / "parent")
    one = succeed(sharded_runs.lay_reward(tmp_path / "one", parent, adapters=adapters), module, 1)
    two, cut = (
        sharded_runs.lay_reward(tmp_path / name, parent, adapters=adapters, processes=2, sharding="full")
        for name in ("two", "cut")
    )
    assert carry_out(cut, module, 2, is_killed=True) == -signal.SIGKILL
    before = (cut.path / "metrics.jsonl").read_text()
    succeed(cut, module, count)
    assert (cut.path / "metrics.jsonl").read_text().startswith(before), "the steps before are not taken again"
    for name in ("cv_nll", "finetune_nll", "grad_norm"):
        assert curve(cut, name) == pytest.approx(curve(one, name), rel=3e-4), name
    assert is_same_but_for_rounding(one, cut)
    if count == 2:
        assert largest_difference(succeed(two, module, 2), cut) == 0


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapters", "reward", "count"), [("top", "function", 4), ("full", "own trunk", 2), ("lora", "shared trunk", 1)]
)
def test_ppo_in_shares_learns_what_it_learns_whole(tmp_path: Path, adapters: str, reward: str, count: int) -> None:
    """Killed on two processes after a step, and resumed: with as many in the same bits."""
    module, parent = "training.recipes.ppo", tiny_model.make(tmp_path / "parent")
    config: dict[str, object] = {"adapters": adapters}
    if reward != "function":
        trunk = parent if reward == "shared trunk" else tiny_model.make(tmp_path / "trunk", seed=1)
        config["reward_model"] = ppo_runs.reward_head(tmp_path / "reward", trunk)
    if adapters == "full":
        config["learning_rate"] = 1e-4
    one = succeed(sharded_runs.lay_ppo(tmp_path / "one", parent, **config), module, 1)
    two, cut = (
        sharded_runs.lay_ppo(tmp_path / name, parent, processes=2, sharding="full", **config) for name in ("two", "cut")
    )
    assert carry_out(cut, module, 2, is_killed=True) == -signal.SIGKILL
    before = (cut.path / "metrics.jsonl").read_text()
    succeed(cut, module, count)
    assert before and (cut.path / "metrics.jsonl").read_text().startswith(before), (
        "the steps before are not taken again"
    )
    for name in sharded_runs.PPO_FIGURES:
        assert curve(cut, name) == pytest.approx(curve(one, name), rel=1e-4, abs=1e-5), name
    assert is_same_but_for_rounding(one, cut)
    assert [row["policy"]["text"] for row in cut.reviews()] == [row["policy"]["text"] for row in one.reviews()]
    assert cut.result()["fidelity"]["kl_per_token"] < 1e-4
    if count == 2:
        assert largest_difference(succeed(two, module, 2), cut) == 0


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "adapters", "count"), [("grpo", "lora", 2), ("rloo", "full", 1)])
def test_groups_of_answers_are_learnt_from_in_shares_as_whole(
    tmp_path: Path, kind: str, adapters: str, count: int
) -> None:
    """Killed on two processes after a step, and resumed. One process draws what several do, where so many are named."""
    module, parent = f"training.recipes.{kind}", tiny_model.make(tmp_path / "parent")
    config = {"adapters": adapters, "processes": 2, "sharding": "full"}
    one, cut = (sharded_runs.lay_group(tmp_path / name, kind, parent, **config) for name in ("one", "cut"))
    succeed(one, module, 1)
    assert carry_out(cut, module, 2, is_killed=True) == -signal.SIGKILL
    before = (cut.path / "metrics.jsonl").read_text()
    succeed(cut, module, count)
    assert before and (cut.path / "metrics.jsonl").read_text().startswith(before), (
        "the steps before are not taken again"
    )
    for name in ("loss", "grad_norm", "score_mean", "score_std", "kl", "entropy", "length_mean", "distinct"):
        assert curve(cut, name) == pytest.approx(curve(one, name), rel=1e-4, abs=1e-5), name
    assert is_same_but_for_rounding(one, cut)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_two_processes_with_whole_models_take_the_updates_of_one(tmp_path: Path, kind: str) -> None:
    """Four groups in two minibatches, of which each process has one or two groups, or none."""
    parent = tiny_model.make(tmp_path / "parent")
    config = {"adapters": "top", "batch_size": 16, "epochs": 2, "minibatches": 2}
    one, two = (sharded_runs.lay_group(tmp_path / str(n), kind, parent, processes=n, **config) for n in (1, 2))
    for count, run in ((1, one), (2, two)):
        succeed(run, f"training.recipes.{kind}", count)
    for name in ("loss", "grad_norm", "score_mean", "kl", "entropy", "length_mean", "clip_frac", "distinct"):
        assert curve(two, name) == pytest.approx(curve(one, name), rel=1e-4, abs=1e-5), name
    assert is_same_but_for_rounding(one, two)
