"""One piece of `benchmarks.gpu` in a process of its own: `python -m benchmarks.gpu_work WORK.json`

WORK.json names the work, the model, the contestant and a folder; figures go to FOLDER/figures.json. The trainers' work
of SFT, reward models and DPO is in `benchmarks.trl_contestants`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import trl_contestants as contestants
from benchmarks.sampling import answers_of, questions
from training import recipes as recipes  # sets how threads wait, before torch loads

PROMPT = 256


def sampling(work: dict[str, Any], folder: Path) -> dict[str, float]:
    """Twice as many answers as rows, two to each prompt, by token ids."""
    rows = work["rows"]
    run, prompts, finish = (_vllm if work["contestant"] == "vllm" else _here)(work, answers_of(rows))
    run(prompts[:2], 2)
    finish()
    begun = time.perf_counter()
    tokens = run(prompts, rows)
    finish()
    return {"rate": tokens / (time.perf_counter() - begun), "peak_gb": contestants.peak_gb()}


def _here(work: dict[str, Any], count: int) -> tuple[Any, list[list[int]], Any]:
    from benchmarks.sampling import CONTESTANTS
    from training.recipes import machine
    from training.recipes.common import loading

    model, tokenizer = loading.load_policy(work["model"])
    model.requires_grad_(False)
    contestant = CONTESTANTS[work["contestant"]](model, tokenizer, loading.eos_token_ids(model, tokenizer), 1.0)
    prompts = [loading.encode_prompt(tokenizer, messages, PROMPT) for messages in questions(count)]
    return (
        lambda some, rows: contestant(some, rows, work["new_tokens"]),
        prompts,
        lambda: machine.finish(loading.device()),
    )


def _vllm(work: dict[str, Any], count: int) -> tuple[Any, list[list[int]], Any]:
    from vllm import LLM, SamplingParams

    from training.recipes.common import loading

    tokenizer = loading.load_tokenizer(work["model"])
    prompts = [loading.encode_prompt(tokenizer, messages, PROMPT) for messages in questions(count)]
    engine = LLM(model=work["model"], dtype="bfloat16", max_model_len=PROMPT + work["new_tokens"], seed=0)
    options = SamplingParams(temperature=1.0, max_tokens=work["new_tokens"])

    def run(some: list[list[int]], rows: int) -> int:
        answers = engine.generate([{"prompt_token_ids": ids} for ids in some], options, use_tqdm=False)
        return sum(len(answer.outputs[0].token_ids) for answer in answers)

    return run, prompts, lambda: None


def evaluation(work: dict[str, Any], folder: Path) -> dict[str, float]:
    from evaluation.recipes import evaluate
    from training.core.run_directory import RunDirectory, RunSpec
    from training.recipes.common import entry

    run = RunDirectory(folder / "evaluation")
    run.create(RunSpec("evaluate", {"measure": "choices", "limit": 1_000_000}, parent=work["model"]))
    (run.path / "data" / "other").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in work["rows"])
    (run.path / "data" / "other" / "made-up.jsonl").write_text(lines, encoding="utf-8")
    begun = time.perf_counter()
    if entry.attempt(evaluate.main, run) != 0:
        raise SystemExit(f"The recipe failed: {run.failure()}")
    return {"rate": 2 * len(work["rows"]) / (time.perf_counter() - begun), "peak_gb": contestants.peak_gb()}


WORK = {"sampling": sampling, "evaluation": evaluation}


def main(path: Path) -> None:
    """Do the work that the file names, and write its figures into the work's folder."""
    work = json.loads(path.read_text(encoding="utf-8"))
    folder = Path(work["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(json.dumps(WORK[work["work"]](work, folder)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
