"""What one card does: `python -m benchmarks.gpu [--sizes 135M 1B 8B] [--trl-python PYTHON] [--out FOLDER]`.

SFT, reward model, DPO, PPO, sampling and evaluation of models in the shapes of SmolLM2 135M, Llama 3.2 1B and Llama 3.1
8B: random weights, made-up texts, real kernels. Each piece of work is a process of its own: ours, by its recipe; TRL's
trainers as this Python has them; TRL's PPO where --trl-python names a Python that has trl 1.12 (`benchmarks.ppo_vs_trl`
says how to make one); and vLLM's sampling where it is installed. Random weights hardly ever end an answer, so that all
have the same length. Figures are tokens, episodes or sentences a second, from the first step's begin to the last one's
end, and the most memory that the process held of the card, else of the machine.

--small runs nearly all of it in half a minute on whatever is there, on a model of three narrow layers: its figures mean
nothing. Each result is written to FOLDER/results.json as it ends, and a call goes on where the last one was cut off;
what fails, a lack of memory for one, is written there too and does not stop the rest.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import own_process
from benchmarks.gpu_models import SHAPES, make_model
from benchmarks.ppo_work import Contestant, Work, run_ours, run_peer
from benchmarks.refusal import refuse

WORDS = ["river", "stone", "lamp", "winter", "market", "bridge", "letter", "garden", "window", "music"]
UNITS = {"sft": "tokens", "reward": "tokens", "dpo": "tokens", "ppo": "episodes", "sampling": "tokens",
         "evaluation": "sentences"}  # fmt: skip
# The same fit as the finetuned one's, the longest part of it, and what `benchmarks.train_vs_trl` runs at a small size.
NOT_SMALL = {("reward", "ours, frozen head"), ("reward", "TRL"), ("sft", "ours, top third")}
Figures = dict[str, float]


@dataclass(frozen=True)
class Amount:
    """How much of each: examples or pairs of so many words, episodes of so many tokens, answers, sentences."""

    examples: int = 128
    words: int = 60
    episodes: int = 128
    batch: int = 32
    new_tokens: int = 128
    rows: int = 64
    sentences: int = 2000


SMALL = Amount(examples=96, words=2, episodes=4, batch=4, new_tokens=4, rows=2, sentences=8)


def main() -> None:
    arguments = _arguments()
    if arguments.trl_python and not arguments.trl_python.is_file():
        refuse(f"There is no Python at {arguments.trl_python}: name one that has trl 1.12, or leave --trl-python out.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "results.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    amount, sizes = (SMALL, ["tiny"]) if arguments.small else (Amount(), arguments.sizes)
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            folder = Path(scratch) / size
            bench = Bench(folder, make_model(folder / "model", size), amount, arguments.trl_python)
            for stage in arguments.stages:
                for name in CONTESTANTS[stage]:
                    key = f"{stage}, {name}, {size}"
                    if not bench.has(stage, name) or "rate" in found.get(key, {}):
                        continue
                    if arguments.small and (stage, name) in NOT_SMALL:
                        continue
                    found[key] = attempt(bench, stage, name)
                    file.write_text(json.dumps(found, indent=1))
                    print(key, found[key], file=sys.stderr, flush=True)
    found["machine"] = machine()
    file.write_text(json.dumps(found, indent=1))
    report = table(found, sizes)
    (arguments.out / "table.md").write_text(report)
    print(report)
    failed = [key for key, figures in found.items() if key != "machine" and "failure" in figures]
    if arguments.small and failed:
        sys.exit(f"Failed: {', '.join(failed)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [size for size in SHAPES if size != "tiny"]
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=sizes)
    parser.add_argument("--stages", nargs="+", choices=list(UNITS), default=list(UNITS))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--trl-python", type=Path)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    return parser.parse_args()


def machine() -> str:
    import torch

    from training.recipes.common import loading, memory

    dtype = str(loading.compute_dtype()).removeprefix("torch.")
    return f"{memory.machine_name()}, {loading.device().type}, {dtype}, torch {torch.__version__}"


class Bench:
    """One model, and how each piece of work is done on it."""

    def __init__(self, folder: Path, model: Path, amount: Amount, trl_python: Path | None) -> None:
        self.folder, self.model, self.amount, self.trl_python = folder, model, amount, trl_python
        self.lot, self.count = random.Random(0), 0

    def has(self, stage: str, name: str) -> bool:
        if stage == "ppo" and name.startswith("TRL"):
            return self.trl_python is not None
        return name != "vLLM" or importlib.util.find_spec("vllm") is not None

    def text(self) -> str:
        return " ".join(self.lot.choices(WORDS, k=self.amount.words))

    def rows(self, stage: str) -> list[dict[str, Any]]:
        """Examples of SFT; pairs, of which the louder answer wins, since a recipe refuses what nothing follows from."""
        prompts = [[{"role": "user", "content": f"{n} {self.text()}"}] for n in range(self.amount.examples)]
        if stage == "sft":
            return [{"prompt": prompt, "completion": self.text()} for prompt in prompts]
        return [{"prompt": prompt, "chosen": self.text().upper(), "rejected": self.text()} for prompt in prompts]

    def own_process(self, work: str, **given: Any) -> Figures:
        """Do a piece of `benchmarks.trl_contestants` or of `benchmarks.gpu_work`."""
        self.count += 1
        folder = self.folder / f"work-{self.count}"
        folder.mkdir()
        path, log = folder / "work.json", folder / "log.txt"
        path.write_text(json.dumps({"work": work, "model": str(self.model), "folder": str(folder / "run"), **given}))
        module = "benchmarks.trl_contestants" if work in ("sft", "reward", "dpo") else "benchmarks.gpu_work"
        if own_process.run_module(module, path, log, HF_HUB_OFFLINE="1") != 0:
            raise RuntimeError(log.read_text(encoding="utf-8").strip()[-600:] or "It ended without a word.")
        return json.loads((folder / "run" / "figures.json").read_text())

    def learnt(self, stage: str, contestant: str) -> Figures:
        rows = self.rows(stage)
        figures = self.own_process(stage, contestant=contestant, rows=rows, held_out=rows[:1])
        sides = ("completion",) if stage == "sft" else ("chosen", "rejected")
        tokens = self.tokens([[(row["prompt"], row[side]) for side in sides] for row in rows])
        return {"rate": tokens / figures["seconds"], "peak_gb": figures["peak_gb"]}

    def tokens(self, groups: list[list[tuple[Any, str]]]) -> int:
        """Of prompts with their answers, each pair by itself: what is padded or computed twice is not counted."""
        from training.recipes.common import loading

        tokenizer = loading.load_tokenizer(self.model)
        pairs = [pair for group in groups for pair in group]
        prompts = sum(len(loading.encode_prompt(tokenizer, prompt, 10**6)) for prompt, _ in pairs)
        return prompts + sum(len(loading.encode_completion(tokenizer, answer, 10**6)) + 1 for _, answer in pairs)

    def ppo(self, adapters: str, *, peer: bool) -> Figures:
        self.count += 1
        prompts = [f"Write one sentence about {self.lot.choice(WORDS)}." for _ in range(self.amount.episodes)]
        work = Work(str(self.model), prompts, batch=self.amount.batch, new_tokens=self.amount.new_tokens)
        who, folder = Contestant(adapters, dtype="", peer=peer), self.folder / f"work-{self.count}"
        if peer:
            assert self.trl_python is not None
            figures = run_peer(work, Contestant(adapters, peer=True), self.trl_python, folder)
        else:
            figures = run_ours(work, who, folder)
        return {"rate": self.amount.episodes / figures["seconds"], "peak_gb": figures["peak_gb"]}

    def sampled(self, contestant: str) -> Figures:
        return self.own_process(
            "sampling", contestant=contestant, rows=self.amount.rows, new_tokens=self.amount.new_tokens
        )

    def evaluated(self) -> Figures:
        sentences = [{"sentence_good": self.text(), "sentence_bad": self.text()} for _ in range(self.amount.sentences)]
        return self.own_process("evaluation", rows=sentences)


CONTESTANTS: dict[str, dict[str, Any]] = {
    "sft": {
        "ours, LoRA": lambda bench: bench.learnt("sft", "ours, lora"),
        "ours, top third": lambda bench: bench.learnt("sft", "ours, top"),
        "TRL": lambda bench: bench.learnt("sft", "trl"),
    },
    "reward": {
        "ours, finetuned": lambda bench: bench.learnt("reward", "ours, finetuned"),
        "ours, frozen head": lambda bench: bench.learnt("reward", "ours, frozen head"),
        "TRL": lambda bench: bench.learnt("reward", "trl"),
    },
    "dpo": {
        "ours": lambda bench: bench.learnt("dpo", "ours, lora"),
        "TRL": lambda bench: bench.learnt("dpo", "trl"),
    },
    "ppo": {
        "ours, LoRA": lambda bench: bench.ppo("lora", peer=False),
        "ours, top third": lambda bench: bench.ppo("top", peer=False),
        "TRL 1.12": lambda bench: bench.ppo("lora", peer=True),
    },
    "sampling": {
        "ours": lambda bench: bench.sampled("ours"),
        "generate": lambda bench: bench.sampled("generate"),
        "vLLM": lambda bench: bench.sampled("vllm"),
    },
    "evaluation": {"ours": lambda bench: bench.evaluated()},
}


def attempt(bench: Bench, stage: str, name: str) -> dict[str, Any]:
    """Return the figures, or what the work failed with."""
    try:
        return CONTESTANTS[stage][name](bench)
    except (OSError, RuntimeError, ValueError) as error:
        return {"failure": str(error).splitlines()[-1][:200] if str(error) else type(error).__name__}


def table(found: dict[str, Any], sizes: list[str]) -> str:
    head = ["a second (GB at most)", *sizes]
    lines = [head, ["---"] * len(head)]
    for stage, names in CONTESTANTS.items():
        for name in names:
            cells = [_cell(found.get(f"{stage}, {name}, {size}")) for size in sizes]
            if any(cells):
                lines.append([f"{stage}, {name}: {UNITS[stage]}", *cells])
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{found['machine']}\n\n{rows}\n"


def _cell(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return ""
    if "failure" in figures:
        return f"failed: {figures['failure'][:60]}"
    rate = figures["rate"]
    return f"{rate:,.0f} ({figures['peak_gb']:.1f})" if rate >= 10 else f"{rate:.2f} ({figures['peak_gb']:.1f})"


if __name__ == "__main__":
    main()
