"""Tell texts that are not Shakespeare's: the abnormal-texts recipe on real texts, before and after a domain run.

    python -m benchmarks.abnormal_texts MODEL TINYSHAKESPEARE.txt FOREIGN.txt [--tokens 100000] [--folder FOLDER]

MODEL is a policy's folder. Speeches are gathered into documents of some 2,500 characters, of which a twentieth is held
out by hash; FOREIGN (wikitext-2, say) is cut at blank lines. The model is measured as it is; then it is finetuned on
the documents that are not held out (LoRA) and measured again, by its surprise and by the difference to what it was.
Each is a recipe in a process of its own on a run directory, so that a FOLDER that was left half-way goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.own_process import run_module
from benchmarks.refusal import require_file, require_model
from training.core.run_directory import RunDirectory, RunSpec

Row = dict[str, Any]
LONGEST = 2500
SCORES = {"bits_per_byte": "surprise", "difference": "difference"}


def main(model: Path, domain: Path, foreign: Path, tokens: int, passages: int, folder: Path) -> None:
    train, held_out = split(documents(domain.read_text(encoding="utf-8"), domain.stem))
    others = list(documents(foreign.read_text(encoding="utf-8"), foreign.stem))
    print(f"{len(train)} documents to learn from, {len(held_out)} held out, {len(others)} foreign")
    config = {"passages": passages}
    plain = run(folder / "plain", "surprise", config, model, {"validation": held_out}, others)
    tuned = run(
        folder / "domain", "domain", {"max_tokens": tokens, "epochs": 100.0, "context_length": 256}, model,
        {"train-00000": train, "validation": held_out},
    )  # fmt: skip
    after = run(folder / "tuned", "surprise", config, tuned.model, {"validation": held_out}, others, ancestor=model)
    show("as it was", plain)
    show(f"after {tokens:,} tokens of the domain", after)


def documents(text: str, source: str) -> Iterable[Row]:
    part = ""
    for block in re.split(r"\n\s*\n", text):
        part += block.strip("\n") + "\n\n"
        if len(part) >= LONGEST:
            yield {"text": part, "source": source}
            part = ""
    if part.strip():
        yield {"text": part, "source": source}


def split(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    train, held_out = [], []
    for row in rows:
        (held_out if hashlib.sha256(row["text"].encode()).digest()[0] < 256 / 20 else train).append(row)
    return train, held_out


def run(
    folder: Path,
    kind: str,
    config: Row,
    parent: Path,
    data: dict[str, list[Row]],
    others: Iterable[Row] = (),
    ancestor: Path | str = "",
) -> RunDirectory:
    directory = RunDirectory(folder)
    if not (folder / "config.json").is_file():
        spec = RunSpec(kind, config, parent=str(parent.resolve()), ancestor=str(ancestor and Path(ancestor).resolve()))
        directory.create(spec, {name: iter(rows) for name, rows in data.items()})
        if others:
            (folder / "data" / "other").mkdir()
            lines = "".join(json.dumps(row) + "\n" for row in others)
            (folder / "data" / "other" / "train-00000.jsonl").write_text(lines, encoding="utf-8")
    module = "training.recipes.domain" if kind == "domain" else "evaluation.recipes.surprise"
    if run_module(module, folder, folder / "log.txt") != 0:
        sys.exit(f"{kind}: {directory.failure()}; see {folder}/log.txt")
    return directory


def show(title: str, directory: RunDirectory) -> None:
    result = directory.result() or {}
    normal = result["metrics"]["normal_bits_per_byte"]
    print(f"\n{title}: {normal['value']:.3f} bits per byte of normal passages, {result['seconds']:.0f} s\n")
    print("| against | score | AUC | caught at 5 % false alarms | above its original |\n|---|---|---|---|---|")
    for group in result["groups"][1:]:
        for score, told in group["scores"].items():
            above = f"{told['above_original']['value']:.2f}" if "above_original" in told else ""
            print(f"| {group['name']} | {SCORES[score]} | {_told(told['auc'])} | {_told(told['caught'])} | {above} |")


def _told(figure: Row) -> str:
    return f"{figure['value']:.2f} [{figure['lower']:.2f}, {figure['upper']:.2f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("domain", type=Path)
    parser.add_argument("foreign", type=Path)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    require_model(given.model)
    require_file(given.domain, "the domain's texts")
    require_file(given.foreign, "foreign texts")
    place = given.folder or Path(tempfile.mkdtemp(prefix="abnormal-texts-"))
    main(given.model, given.domain, given.foreign, given.tokens, given.passages, place)
