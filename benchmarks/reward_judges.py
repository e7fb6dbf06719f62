"""Three people who judged the same pairs, and one of them replaced by chance: does the reward recipe see it?
`python -m benchmarks.reward_judges PANDALM MODEL FOLDER`

PANDALM is PandaLM's test set (999 instructions with two answers each, three annotators), MODEL the folder of the trunk.
First as they judged; then with the third one's votes drawn at random. Each run stands in FOLDER and goes on where it
was. Prints severity and reliability with their intervals, and accuracy on the first two people's held-out votes.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from pathlib import Path

from benchmarks.refusal import require_file, require_model
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import entry
from training.recipes.reward import __main__ as reward

PEOPLE = ("annotator1", "annotator2", "annotator3")
WINNERS = {0: "tie", 1: "model_a", 2: "model_b"}
CONFIG = {"method": "head", "held_out": 0.2, "curve": False}


def main(source: Path, model: Path, folder: Path) -> None:
    answers = json.loads(source.read_text(encoding="utf-8"))
    as_judged = run_on(answers, model, folder / "as-judged", chance=False)
    again = folder / "one-by-chance"
    if not again.exists():  # the answers are the same ones: what was read of them is not read again
        shutil.copytree(as_judged.checkpoints, again / "checkpoints")
    run_on(answers, model, again, chance=True)


def run_on(answers: list[dict], model: Path, folder: Path, *, chance: bool) -> RunDirectory:
    run = RunDirectory(folder)
    if not (folder / "config.json").is_file():
        run.create(RunSpec("reward", CONFIG, seed=0, parent=str(model.resolve())), rows(answers, chance=chance))
    if entry.attempt(reward.main, run) != 0:
        sys.exit(1)
    result = run.result() or {}
    print(folder.name, result["verdict"])
    for trial in result["judges"]["trials"]:
        print("  tried", {name: round(value, 4) for name, value in trial.items()})
    for name, row in zip(PEOPLE, result["judges"]["rows"], strict=True):
        print(f"  {name}", row["comparisons"], row["reliability"], row["remark"])
    return run


def rows(answers: list[dict], *, chance: bool) -> dict[str, list[dict]]:
    rng = random.Random(0)
    completions, comparisons = [], []
    for number, pair in enumerate(answers):
        instruction = pair["instruction"] + ("\n\n" + pair["input"] if pair.get("input") else "")
        prompt = [{"role": "user", "content": instruction}]
        for side in ("response1", "response2"):
            text = pair[side]
            completions.append({"id": len(completions), "prompt_id": number, "prompt": prompt, "text": text})
        for author, name in enumerate(PEOPLE, start=1):
            choice = rng.choice((0, 1, 2)) if chance and author == 3 else int(pair[name])
            comparisons.append(
                {"prompt_id": number, "completion_a": 2 * number, "completion_b": 2 * number + 1,
                 "winner": WINNERS[choice], "author": author}
            )  # fmt: skip
    return {"completions": completions, "comparisons": comparisons}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("source", "model", "folder"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    main(require_file(given.source, "PandaLM's test set"), require_model(given.model), given.folder)
