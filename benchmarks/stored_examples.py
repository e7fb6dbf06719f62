"""Memory of SFT's and DPO's data by the number of examples: `python -m benchmarks.stored_examples [--examples 10000]`

Each size and kind in a process of its own, as a run begins: the rows are read, encoded into files, held out, and some
are drawn at random. Prompts and answers have 256 tokens, which a
stand-in gives: reading and keeping them is what is looked at. `again` is what a resumed run takes, which finds the
files. Resident memory is the most that the process held. Printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.memory_estimates import peak_bytes
from benchmarks.reward_streaming import Tokenizer
from training import configs
from training.core.run_directory import RunDirectory
from training.recipes.common import loading

TOKENS, DRAWN, SEED = 256, 4096, 1
FIGURES = "stored.json"
WORDS = "a made-up text " * 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--folder", type=Path, help="read the data that lie there, in this process")
    arguments = parser.parse_args()
    if arguments.folder:
        return measure(arguments.folder, arguments.kinds[0])
    print("| data | examples | tokens | files GB | most resident GB | seconds | again |\n|---|---|---|---|---|---|---|")
    for kind in arguments.kinds:
        for count in arguments.examples:
            with tempfile.TemporaryDirectory() as scratch:
                print(row_of(kind, count, Path(scratch)), flush=True)


def row_of(kind: str, count: int, folder: Path) -> str:
    write_data(kind, count, folder / "data")
    own = ["-m", "benchmarks.stored_examples", "--folder", str(folder), "--kinds", kind]
    peak = peak_bytes([sys.executable, *own])
    figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    size, seconds = figures["bytes"] / 1e9, figures["seconds"]
    tokens = count * TOKENS * (2 if kind == "sft" else 3)
    return f"| {kind} | {count:,} | {tokens:,} | {size:.2f} | {peak / 1e9:.2f} | {seconds[0]:.0f} | {seconds[1]:.0f} |"


def write_data(kind: str, count: int, folder: Path) -> None:
    folder.mkdir(parents=True)
    prompts = ([{"role": "user", "content": f"{n} {WORDS}"}] for n in range(count))
    if kind == "sft":
        with (folder / "examples.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"prompt": prompt, "completion": WORDS}) + "\n" for prompt in prompts)
        return
    with (
        (folder / "completions.jsonl").open("w", encoding="utf-8") as completions,
        (folder / "comparisons.jsonl").open("w", encoding="utf-8") as comparisons,
    ):
        for n, prompt in enumerate(prompts):
            for row in (2 * n, 2 * n + 1):
                completions.write(json.dumps({"id": row, "prompt_id": n, "prompt": prompt, "text": WORDS}) + "\n")
            vote = {"prompt_id": n, "completion_a": 2 * n, "completion_b": 2 * n + 1, "winner": "model_a"}
            comparisons.write(json.dumps(vote) + "\n")


def measure(folder: Path, kind: str) -> None:
    """Read the data twice, as a run and as one that is resumed, and write what it took."""
    run, seconds = RunDirectory(folder), []
    with ExitStack() as stack:
        for name in ("encode_prompt", "encode_completion"):
            stack.enter_context(patch.object(loading, name, lambda _tokenizer, _text, most: [7] * min(TOKENS, most)))
        for _ in range(2):
            started = time.monotonic()
            KINDS[kind](run)
            seconds.append(time.monotonic() - started)
    size = sum(path.stat().st_size for path in (folder / "tokens").rglob("*") if path.is_file())
    (folder / FIGURES).write_text(json.dumps({"bytes": size, "seconds": seconds}), encoding="utf-8")


def read_sft(run: RunDirectory) -> None:
    from training.recipes.sft.examples import first_prompts, store_examples

    learn, _ = store_examples(run, Tokenizer(), 2 * TOKENS).hold_out(0.1, 200)
    first_prompts(run, 4)
    for place in np.random.default_rng(SEED).integers(len(learn), size=DRAWN).tolist():
        assert learn[place].targets


def read_dpo(run: RunDirectory) -> None:
    from training.recipes import dpo
    from training.recipes.preference import preference_data
    from training.recipes.preference.answer_examples import AnswerExamples

    config = configs.parse("dpo", {"max_prompt_tokens": TOKENS, "max_completion_tokens": TOKENS})
    data = preference_data.read(run, Tokenizer(), config, SEED)
    places = dpo.pairs_of(data, config)[1]
    examples = AnswerExamples(data, places.places)
    for place in np.random.default_rng(SEED).integers(len(examples), size=DRAWN).tolist():
        assert examples[place].targets >= TOKENS


KINDS = {"sft": read_sft, "dpo": read_dpo}

if __name__ == "__main__":
    main()
