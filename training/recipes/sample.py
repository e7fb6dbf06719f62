"""Sample completions in bulk: `python -m training.recipes.sample RUN_DIR`.

Samples `completions_per_prompt` completions of each row of data/prompts.jsonl from the parent and appends them to
completions.jsonl. Killed and resumed, it goes on where it was (`best_of/bulk_sampling.py` says how).
"""

from __future__ import annotations

import time
from typing import Any

from training.configs import SampleConfig
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.best_of import bulk_sampling
from training.recipes.common.entry import config_of, prompts_of, run_recipe


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: SampleConfig = config_of(spec)
    prompts = prompts_of(run, "Add prompts to the project, then start the run again.")
    done = list(read_lines(run.path / "completions.jsonl"))
    started = time.perf_counter()
    bulk_sampling.draw(
        run, spec, config, prompts, count=config.completions_per_prompt, done=done, write=run.log_completions
    )
    run.finish(_result(run, len(done), time.perf_counter() - started))


def _result(run: RunDirectory, before: int, seconds: float) -> dict[str, Any]:
    rows = list(read_lines(run.path / "completions.jsonl"))
    new = rows[before:]
    return {
        "completions": len(rows),
        "tokens_mean": sum(row["tokens"] for row in rows) / len(rows),
        "stopped_share": sum(row["finish_reason"] == "stop" for row in rows) / len(rows),
        "distinct": len({row["text"] for row in rows}) / len(rows),
        "completions_per_second": len(new) / seconds if new else None,
        "seconds": seconds,
        "how_to_read": "tokens_mean counts the end token; stopped_share is the share of complete completions "
        "(not cut by max_new_tokens); distinct is the share of different texts; only_reasoning are those that were cut "
        "while the model was still reasoning: raise max_new_tokens.",
    }


if __name__ == "__main__":
    run_recipe(main)
