"""Memory of training stages, estimated and measured: `python -m benchmarks.memory_estimates MODEL [--stages sft ppo]`

MODEL is a model folder, such as the bundled one after `python -m training.recipes.import_weights bundled FOLDER`. Each
stage is a short run of its recipe in a process of its own, with texts that fill the lengths of its config. Measured is
the most resident memory of that process; estimated what the form says (`training.core.memory`), of which 0.6 GB are the
process itself: the last column is the ratio without them. Then models of 1B, 8B and 70B are built on the meta device
and compared with the same counts, and a table says what each stage takes of GPUs with 80 GB. Printed as Markdown.
`--stages` without a name measures none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import memory_tables
from benchmarks.refusal import require_model
from training import configs
from training.configs.presets import PRESETS
from training.core.memory.decoder_sizes import Decoder, decoder_of, decoder_of_folder
from training.core.memory.stage_counts import stage_memory
from training.core.memory.stage_memory import Hardware, StageMemory
from training.core.resource_estimate import PROCESS
from training.core.run_directory import Row, RunDirectory, RunSpec

WORDS = "the river carries a letter past the winter market and under the old stone bridge to the garden "
LENGTHS = {"max_prompt_tokens": 128, "max_completion_tokens": 128}
SFT = {"max_length": 256, "batch_size": 4}
DPO = {"batch_size": 4, "epochs": 0.4}
PRETRAIN = {
    "size": "100M", "context_length": 256, "batch_size": 4, "max_tokens": 3072, "validation_tokens": 1024,
    "sample_tokens": 4,
}  # fmt: skip
PROMPTS = 24
PAIRS = {"reward": 44, "dpo": 16}  # a reward run wants 80 annotations


@dataclass(frozen=True)
class Trial:
    """One run that is measured: the module of its recipe and the options that are not defaults."""

    kind: str
    module: str
    options: Row


TRIALS = {
    "pretrain": Trial("pretrain", "training.recipes.pretrain", PRETRAIN),
    "sft, lora": Trial("sft", "training.recipes.sft", {"adapters": "lora", **SFT}),
    "sft, full": Trial("sft", "training.recipes.sft", {"adapters": "full", **SFT}),
    "reward, finetuned": Trial("reward", "training.recipes.reward", {"method": "finetune", "curve": False, **LENGTHS}),
    "dpo, lora": Trial("dpo", "training.recipes.dpo", {**DPO, **LENGTHS}),
    "dpo, full": Trial("dpo", "training.recipes.dpo", {"adapters": "full", **DPO, **LENGTHS}),
    "ppo, top": Trial("ppo", "training.recipes.ppo", {"adapters": "top"}),
    "ppo, lora": Trial("ppo", "training.recipes.ppo", {"adapters": "lora"}),
    "grpo, lora": Trial("grpo", "training.recipes.grpo", {"adapters": "lora"}),
    "grpo, full": Trial("grpo", "training.recipes.grpo", {"adapters": "full"}),
    "sample": Trial("sample", "training.recipes.sample", {"batch_size": 32, "max_new_tokens": 64}),
}
PPO = {
    "reward_function": "benchmarks.memory_estimates.lengths", "steps": 1, "batch_size": 16, "max_new_tokens": 64,
    "calibration_episodes": 16, "review_every": 0, "sample_prompts": 0, "stop_kl": 0.0, "max_prompt_tokens": 128,
    "held_out_prompts": 0,
}  # fmt: skip
GRPO = {
    "reward_function": "benchmarks.memory_estimates.lengths", "steps": 1, "batch_size": 16, "max_new_tokens": 64,
    "max_prompt_tokens": 144,
}  # fmt: skip
OF_KIND = {"ppo": PPO, "grpo": GRPO}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--stages", nargs="*", choices=list(TRIALS), default=list(TRIALS))
    arguments = parser.parse_args()
    require_model(arguments.model)
    model = arguments.model.resolve()
    decoder = decoder_of_folder(model)
    assert decoder is not None
    if arguments.stages:
        print("| stage | peak in | estimated GB | measured GB | ratio | ratio without the process |")
        print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.stages:
            sizes = preset_decoder(decoder.vocabulary) if name == "pretrain" else decoder
            print(row_of(name, TRIALS[name], model, sizes, Path(scratch) / name.replace(", ", "-")), flush=True)
    print(f"\n{memory_tables.on_the_meta_device()}\n\n{memory_tables.of_stages()}")


def preset_decoder(vocabulary: int) -> Decoder:
    """Return the sizes of the preset that pretraining makes, with the words of the model's tokenizer."""
    preset = PRESETS[PRETRAIN["size"]]
    decoder = decoder_of(
        {
            "model_type": "llama", "hidden_size": preset.width, "num_hidden_layers": preset.layers,
            "num_attention_heads": preset.heads, "num_key_value_heads": preset.key_heads,
            "intermediate_size": preset.feed_forward, "vocab_size": vocabulary, "tie_word_embeddings": preset.tied,
        }
    )  # fmt: skip
    assert decoder is not None
    return decoder


def row_of(name: str, trial: Trial, model: Path, decoder: Decoder, folder: Path) -> str:
    stage = estimated(trial, decoder)
    estimate, measured, process = (n / 1e9 for n in (stage.total, measure(trial, model, folder), PROCESS))
    ratios = f"{estimate / measured:.2f} | {(estimate - process) / (measured - process):.2f}"
    return f"| {name} | {stage.peak_phase} | {estimate:.2f} | {measured:.2f} | {ratios} |"


def estimated(trial: Trial, decoder: Decoder) -> StageMemory:
    from training.recipes.common import loading, memory

    hardware = Hardware(loading.device().type, loading.compute_dtype().itemsize, memory.available_memory())
    stage = stage_memory(trial.kind, decoder, {**vars(config_of(trial)), **_known(trial)}, hardware)
    assert stage is not None
    return stage


def config_of(trial: Trial) -> Any:
    return configs.parse(trial.kind, OF_KIND.get(trial.kind, {}) | trial.options)


def _known(trial: Trial) -> Row:
    """Return what a form does not know: how long the prompts are."""
    return {"max_prompt_tokens": 128} if trial.kind == "sample" else {}


def measure(trial: Trial, model: Path, folder: Path) -> float:
    """Return the most bytes that the recipe has held, as it trained, measured and saved."""
    run = RunDirectory(folder)
    (folder / "data").mkdir(parents=True)
    run.create(RunSpec(trial.kind, vars(config_of(trial)), seed=1, parent=str(model)), rows_of(trial.kind))
    return peak_bytes([sys.executable, "-m", trial.module, str(folder)])


def peak_bytes(command: list[str]) -> float:
    """Return the most resident bytes of a process. Exits with its last lines where it fails."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{log.read().decode(errors='replace')[-3000:]}")
    return usage.ru_maxrss * 1024.0


def rows_of(kind: str) -> dict[str, Iterator[Row]]:
    """Return the data of a run: every text is longer than what its config takes of it."""
    text = WORDS * 20
    if kind == "pretrain":
        texts = [{"text": f"{n} {text}"} for n in range(40)]
        return {"train": iter(texts), "validation": iter(texts[:8])}
    prompts = [[{"role": "user", "content": f"{n} {text}"}] for n in range(PAIRS.get(kind, 0))]
    if kind == "sft":
        answers = [{"prompt": prompt, "completion": text} for prompt in _short_prompts()[:8]]
        return {"examples": iter(answers)}
    if kind in ("sample", "ppo", "grpo"):
        return {"prompts": iter({"id": n, "messages": messages} for n, messages in enumerate(_short_prompts()))}
    completions, comparisons, ratings = [], [], []
    for n, prompt in enumerate(prompts):
        good, bad = 2 * n + 1, 2 * n + 2
        completions += [
            {"id": good, "prompt_id": n, "prompt": prompt, "text": text.upper()},
            {"id": bad, "prompt_id": n, "prompt": prompt, "text": text},
        ]
        winner = {"completion_a": good, "completion_b": bad, "winner": "model_a", "strength": 2}
        comparisons.append({"prompt_id": n, **winner, "author": 1})
        ratings += [{"completion": good, "thumbs": True, "stars": None, "author": 1}]
        ratings += [{"completion": bad, "thumbs": False, "stars": None, "author": 1}]
    return {"completions": iter(completions), "comparisons": iter(comparisons), "ratings": iter(ratings)}


def _short_prompts() -> list[list[Row]]:
    """Return prompts of about 128 tokens of the bundled model."""
    return [[{"role": "user", "content": f"{n} {WORDS * 5}"}] for n in range(PROMPTS)]


def lengths(prompts: list[Any], completions: list[str]) -> list[float]:
    """Return the score of each completion: its length. A reward function for PPO and GRPO."""
    return [float(len(text)) for text in completions]


if __name__ == "__main__":
    main()
