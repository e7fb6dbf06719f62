"""SFT on real answers: `python -m benchmarks.sft_hh_rlhf MODEL [PAIRS] [--examples 2000] [--run RUN_DIR]`

PAIRS are hh-rlhf transcripts, else $SHARED_DATA's harmless-base test. Learns the chosen answers of the first
`--examples` pairs in one pass (LoRA on all layers, rate 2e-4, batches of 8); a tenth of the prompts is held out. Prints
held-out perplexity before and after with 95 % intervals, the change, tokens a second and memory. A RUN_DIR that was
begun goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.refusal import refuse, require_model
from benchmarks.train_vs_trl import NAME, read
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import entry
from training.recipes.sft import __main__ as sft


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path, nargs="?")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--adapters", default="lora")
    parser.add_argument("--run", type=Path)
    arguments = parser.parse_args()
    require_model(arguments.model)
    pairs = arguments.pairs or Path(os.environ.get("SHARED_DATA", "../shared/data")) / NAME
    if not pairs.is_file():
        refuse(f"There are no pairs at {pairs}: name the file, or its folder in SHARED_DATA.")
    run = RunDirectory(arguments.run or Path(tempfile.mkdtemp(prefix="sft-hh-rlhf-")))
    if not (run.path / "config.json").exists():
        rows = [{"prompt": p["prompt"], "completion": p["chosen"]} for p in read(pairs)[: arguments.examples]]
        config = {
            "adapters": arguments.adapters,
            "sample_every": 10**5,
            "evaluate_every": 10**5,
            "checkpoint_every": 20,
        }
        run.create(RunSpec("sft", config, seed=0, parent=str(arguments.model.resolve())), {"examples": iter(rows)})
    if entry.attempt(sft.main, run) != 0:
        sys.exit(1)
    result = run.result() or {}
    shown = (
        "examples",
        "held_out",
        "first_loss",
        "last_loss",
        "tokens",
        "tokens_per_second",
        "peak_memory_gb",
        "seconds",
    )
    print(json.dumps({name: result[name] for name in shown}, indent=2))


if __name__ == "__main__":
    main()
