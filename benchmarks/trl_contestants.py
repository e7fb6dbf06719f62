"""One contestant of `benchmarks.train_vs_trl` in a process of its own: `python -m benchmarks.trl_contestants WORK.json`

WORK.json names the contestant, the model, the rows and a folder; figures go to FOLDER/figures.json, the model to
FOLDER/model. Only the training loop is timed, and what is computed for it before (DPO's reference). Peak memory is the
process's, read when training has ended. `ASSAY_DTYPE=float32` makes TRL's trainers compute in float32 as well.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.training_figures import (
    BETA,
    MAX_LENGTH,
    SIDES,
    held_out_loss,
    held_out_margins,
    matrix_rate,
    pair_figures,
    peer_dtype,
    share_of_kinds,
)  # fmt: skip

LEARNING_RATE, BATCH, RANK = 2e-4, 8, 16
DPO_RATE = 5e-5
TRL_SFT: dict[str, dict[str, Any]] = {
    "trl": {},
    "trl, activations kept": {"gradient_checkpointing": False},
    "trl, grouped by length": {"train_sampling_strategy": "group_by_length"},
    "trl, kept and grouped": {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"},
    "trl, packed": {"packing": True, "max_length": 1024},
}
OURS_SFT = {"ours, lora": "lora", "ours, top": "top"}
TRL_REWARD: dict[str, dict[str, Any]] = {"trl": {}, "trl, activations kept": {"gradient_checkpointing": False}}
OURS_REWARD = {"ours, finetuned": "finetune", "ours, frozen head": "head"}
TRL_DPO: dict[str, dict[str, Any]] = {
    "trl": {},
    "trl, reference first": {"precompute_ref_log_probs": True},
    "trl, activations kept": {"gradient_checkpointing": False},
}
OURS_DPO = {"ours, lora": "lora", "ours, top": "top"}


def peak_gb() -> float:
    """The most that this process has held: of the GPU's memory where there is one, else resident memory."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def trl_arguments(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """What a user changes of the trainer's own defaults to run it here: bfloat16 and checkpointing are defaults."""
    import torch

    return {
        "bf16": peer_dtype() is torch.bfloat16,
        "output_dir": str(folder / "trl"), "per_device_train_batch_size": BATCH, "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE, "warmup_steps": 0.1, "max_length": MAX_LENGTH,
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False,
        "logging_steps": 1, "seed": 0,
    } | options  # fmt: skip


def lora(task: str, **more: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type=task, **more)


def trl_sft(work: dict[str, Any], folder: Path) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    rows = [
        {"prompt": row["prompt"], "completion": [{"role": "assistant", "content": row["completion"]}]}
        for row in work["rows"]
    ]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(work["model"], dtype=peer_dtype()),
        args=SFTConfig(**trl_arguments(folder, TRL_SFT[work["contestant"]])),
        train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora("CAUSAL_LM"),
    )  # fmt: skip
    figures = timed(trainer)
    trainer.model.merge_and_unload().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return figures


def trl_reward(work: dict[str, Any], folder: Path) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    model = AutoModelForSequenceClassification.from_pretrained(work["model"], num_labels=1, dtype=peer_dtype())
    model.config.pad_token_id = tokenizer.pad_token_id
    trainer = RewardTrainer(
        model=model, args=RewardConfig(**trl_arguments(folder, TRL_REWARD[work["contestant"]])),
        train_dataset=Dataset.from_list(conversations(work["rows"])), processing_class=tokenizer,
        peft_config=lora("SEQ_CLS", modules_to_save=["score"]),
    )  # fmt: skip
    figures = timed(trainer)
    trainer.model.eval()
    scores = {side: [_trl_score(trainer.model, tokenizer, p, p[side]) for p in work["held_out"]] for side in SIDES}
    return figures | pair_figures(scores)


def conversations(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return pairs as TRL's trainers take them."""
    return [
        {"prompt": pair["prompt"]} | {side: [{"role": "assistant", "content": pair[side]}] for side in SIDES}
        for pair in pairs
    ]


def trl_dpo(work: dict[str, Any], folder: Path) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    options = {"learning_rate": DPO_RATE, "beta": BETA} | TRL_DPO[work["contestant"]]
    model = AutoModelForCausalLM.from_pretrained(work["model"], dtype=peer_dtype())
    begun = time.perf_counter()
    trainer = DPOTrainer(
        model=model, args=DPOConfig(**trl_arguments(folder, options)),
        train_dataset=Dataset.from_list(conversations(work["rows"])), processing_class=tokenizer,
        peft_config=lora("CAUSAL_LM"),
    )  # fmt: skip
    before = time.perf_counter() - begun if "precompute_ref_log_probs" in options else 0.0
    figures = timed(trainer)
    trainer.model.float().merge_and_unload().save_pretrained(folder / "model")  # so small a change is lost in bfloat16
    tokenizer.save_pretrained(folder / "model")
    return figures | {"seconds": figures["seconds"] + before}


def _trl_score(model: Any, tokenizer: Any, pair: dict[str, Any], answer: str) -> float:
    import torch

    messages = [*pair["prompt"], {"role": "assistant", "content": answer}]
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)[:MAX_LENGTH]
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([ids])).logits[0, 0].float())


def timed(trainer: Any) -> dict[str, float]:
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "peak_gb": peak_gb()}


def our_sft(work: dict[str, Any], folder: Path) -> dict[str, float]:
    from training.core.run_directory import RunDirectory, RunSpec, read_lines
    from training.recipes.common import entry
    from training.recipes.sft import __main__ as sft

    config = {
        "adapters": OURS_SFT[work["contestant"]], "batch_size": BATCH, "learning_rate": LEARNING_RATE,
        "lora_rank": RANK, "max_length": MAX_LENGTH, "held_out": 0.0, "sample_every": 10**5, "sample_tokens": 1,
        "checkpoint_every": 10**5,
    }  # fmt: skip
    run = RunDirectory(folder)
    run.create(RunSpec("sft", config, seed=0, parent=work["model"]), {"examples": work["rows"]})
    _succeed(entry.attempt(sft.main, run), run)
    steps = [row["values"] for row in read_lines(run.path / "metrics.jsonl")]
    return {"seconds": steps[-1]["seconds"], "peak_gb": steps[-1]["peak_memory_gb"], "saving_gb": peak_gb()}


def our_reward(work: dict[str, Any], folder: Path) -> dict[str, float]:
    from training.core.run_directory import RunDirectory, RunSpec, read_lines
    from training.recipes.common import entry
    from training.recipes.reward import __main__ as reward
    from training.recipes.reward.reward_model import RewardModel

    config = {
        "method": OURS_REWARD[work["contestant"]], "held_out": 0.05, "lora_rank": RANK,
        "max_prompt_tokens": MAX_LENGTH // 2, "max_completion_tokens": MAX_LENGTH // 2,
    }  # fmt: skip
    run = RunDirectory(folder)
    run.create(RunSpec("reward", config, seed=0, parent=work["model"]), judged(work["rows"]))
    _succeed(entry.attempt(reward.main, run), run)
    saving, seconds = peak_gb(), sum((run.result() or {})["seconds"].values())
    steps = [row["values"] for row in read_lines(run.path / "metrics.jsonl") if "peak_memory_gb" in row["values"]]
    model = RewardModel.load(run.model)
    prompts = [pair["prompt"] for pair in work["held_out"]]
    scores = {side: model.score(prompts, [p[side] for p in work["held_out"]]).tolist() for side in SIDES}
    return {"seconds": seconds, "peak_gb": steps[-1]["peak_memory_gb"], "saving_gb": saving} | pair_figures(scores)


def our_dpo(work: dict[str, Any], folder: Path) -> dict[str, float]:
    from training.core.run_directory import RunDirectory, RunSpec, read_lines
    from training.recipes import dpo
    from training.recipes.common import entry
    from training.recipes.preference import preference_policy

    config = {
        "adapters": OURS_DPO[work["contestant"]], "lora_rank": RANK, "batch_size": BATCH, "held_out": 0.05,
        "learning_rate": DPO_RATE, "beta": BETA,
        "max_prompt_tokens": MAX_LENGTH // 2, "max_completion_tokens": MAX_LENGTH // 2,
        "sample_every": 10**5, "sample_tokens": 1, "checkpoint_every": 10**5,
    }  # fmt: skip
    run = RunDirectory(folder)
    run.create(RunSpec("dpo", config, seed=0, parent=work["model"]), judged(work["rows"]))
    seen: list[float] = []

    def timed_one(function: Any) -> Any:
        def run_timed(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            result = function(*given, **named)
            seen.append(time.perf_counter() - begun)
            return result

        return run_timed

    with ExitStack() as stack:
        for name in ("prepare", "learn"):  # the reference, and the steps
            stack.enter_context(patch.object(preference_policy, name, timed_one(getattr(preference_policy, name))))
        _succeed(entry.attempt(dpo.main, run), run)
    steps = [row["values"] for row in read_lines(run.path / "metrics.jsonl") if "peak_memory_gb" in row["values"]]
    return {"seconds": sum(seen), "peak_gb": steps[-1]["peak_memory_gb"], "saving_gb": peak_gb()}


def judged(pairs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return pairs as a dataset holds them: answers, and comparisons that the chosen one won."""
    completions: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    for number, pair in enumerate(pairs):
        for side in SIDES:
            completions.append(
                {"id": len(completions), "prompt_id": number, "prompt": pair["prompt"], "text": pair[side]}
            )
        comparisons.append(
            {"prompt_id": number, "completion_a": 2 * number, "completion_b": 2 * number + 1, "winner": "model_a"}
        )
    return {"completions": completions, "comparisons": comparisons}


def _succeed(status: int, run: Any) -> None:
    if status != 0:
        raise SystemExit(f"The recipe failed: {run.failure()}")


def profile(work: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Where one step of ours spends its time, by kind of operation: shares of the processor's own time."""
    import torch

    from training.core.run_directory import RunDirectory, RunSpec
    from training.recipes.common.processes import Processes
    from training.recipes.sft import __main__ as sft

    run = RunDirectory(folder)
    config = {"adapters": OURS_SFT[work["contestant"]], "batch_size": 8, "held_out": 0.0, "max_length": MAX_LENGTH}
    run.create(RunSpec("sft", config, seed=0, parent=work["model"]), {"examples": work["rows"]})
    prepared = sft.prepare(run, run.spec(), Processes())
    optimiser = prepared.student.masters.optimiser(rate=1e-5, weight_decay=0.0, beta2=0.999)
    sft.optimise(prepared, optimiser, sft.batch(prepared, 0), 0, 1e-5)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        for step in (1, 2, 3):
            sft.optimise(prepared, optimiser, sft.batch(prepared, step), step, 1e-5)
    return share_of_kinds(seen)


WORK = {
    "sft": lambda work, folder: (our_sft if work["contestant"] in OURS_SFT else trl_sft)(work, folder),
    "reward": lambda work, folder: (our_reward if work["contestant"] in OURS_REWARD else trl_reward)(work, folder),
    "dpo": lambda work, folder: (our_dpo if work["contestant"] in OURS_DPO else trl_dpo)(work, folder),
    "held_out_loss": held_out_loss,
    "held_out_margins": held_out_margins,
    "matrix_rate": matrix_rate,
    "profile": profile,
}


def main(path: Path) -> None:
    """Do the work that the file names, and write its figures into the work's folder."""
    work = json.loads(path.read_text(encoding="utf-8"))
    folder = Path(work["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    figures = WORK[work["work"]](work, folder)
    (folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
