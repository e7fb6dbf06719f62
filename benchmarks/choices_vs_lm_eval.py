"""6,000 BLiMP sentences: `python -m benchmarks.choices_vs_lm_eval MODEL [DATA] [--repeats 3] [--pairs 1000]`

MODEL is a model folder; DATA holds blimp-*.jsonl (three files of 1,000 pairs), else $SHARED_DATA's. A run of `evaluate`
against lm-evaluation-harness's `simple_evaluate` on the same files with tasks of its own blimp template: bfloat16,
batches of 64 (`--batch` for others); with --exact its log-probabilities in float32 as well, as
ours are. Contestants take turns, each in a process of its own on all cores. Printed: medians of wall seconds, of the
whole process and of what comes after the model is loaded, processor seconds of all threads, which a busy machine
changes less, peak memory, and accuracy by file; then JSON.

By default the harness sums log-probabilities in bfloat16. Sums then fall on few values, pairs come out equal, and an
equal pair counts for the first, which in BLiMP is the right one: `ties` says how many. Ours are float32 sums.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.own_process import environment_with
from benchmarks.refusal import refuse, require_model

Figures = dict[str, Any]
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=1000, help="of each file")
    parser.add_argument("--batch", type=int, default=BATCH, help="of the harness")
    parser.add_argument("--exact", action="store_true", help="the harness with log-probabilities in float32, too")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(CONTESTANTS[arguments.contestant](arguments)))
        return
    require_model(arguments.model)
    data = arguments.data or Path(os.environ.get("SHARED_DATA", "../shared/data"))
    files = sorted(data.glob("blimp-*.jsonl"))
    if not files:
        refuse(f"There are no blimp-*.jsonl in {data}: name their folder, or set SHARED_DATA.")
    with tempfile.TemporaryDirectory() as scratch:
        for file in files:
            with file.open(encoding="utf-8") as lines:
                (Path(scratch) / file.name).write_text("".join(islice(lines, arguments.pairs)), encoding="utf-8")
        report(arguments, Path(scratch))


def report(arguments: argparse.Namespace, data: Path) -> None:
    names = [name for name in CONTESTANTS if arguments.exact or name != "lm-eval, float32 sums"]
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(arguments.repeats):
        for name in names:
            runs[name].append(timed(arguments, data, name))
    print("| | whole process | after loading | processor time | peak memory | accuracy by file | ties |")
    print("|---|---|---|---|---|---|---|")
    for name, figures in runs.items():
        whole, work, busy, peak = (statistics.median(f[k] for f in figures) for k in ("whole", "work", "busy", "peak"))
        shares, ties = ", ".join(f"{100 * share:.1f}" for share in figures[0]["accuracy"].values()), figures[0]["ties"]
        print(f"| {name} | {whole:.1f} s | {work:.1f} s | {busy:.1f} s | {peak:.2f} GB | {shares} | {ties} |")
    print(json.dumps(runs, indent=1))


def timed(arguments: argparse.Namespace, data: Path, name: str) -> Figures:
    command = [
        sys.executable, "-m", "benchmarks.choices_vs_lm_eval", str(arguments.model), str(data),
        "--batch", str(arguments.batch), "--contestant", name,
    ]  # fmt: skip
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment_with())
    whole = time.monotonic() - begun
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    return {"whole": whole, **json.loads(done.stdout.splitlines()[-1])}


def ours(arguments: argparse.Namespace) -> Figures:
    from evaluation.recipes import evaluate
    from evaluation.recipes.common import likelihood
    from training.core.run_directory import RunDirectory, RunSpec, read_lines
    from training.recipes.common import entry

    loaded: list[float] = []
    load = likelihood.load
    likelihood.load = lambda folder: (load(folder), loaded.append(time.monotonic()))[0]
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        run.create(RunSpec("evaluate", {"measure": "choices", "limit": 1_000_000}, parent=str(arguments.model)))
        (run.path / "data" / "other").mkdir()
        for file in arguments.data.glob("*.jsonl"):
            (run.path / "data" / "other" / file.name).write_bytes(file.read_bytes())
        sys.stdout, stdout = sys.stderr, sys.stdout
        assert entry.attempt(evaluate.main, run) == 0, run.failure()
        sys.stdout = stdout
        groups = (run.result() or {})["groups"]
        ties = sum(0 < item["counts"]["accuracy"][0] < 1 for item in read_lines(run.path / "items.jsonl"))
    accuracy = {name: figures["accuracy"]["value"] for name, figures in groups.items()}
    return {**told(loaded[0]), "accuracy": accuracy, "ties": ties}


def theirs(arguments: argparse.Namespace, **options: Any) -> Figures:
    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    options |= {"device": "cuda" if torch.cuda.is_available() else "cpu", "batch_size": arguments.batch}
    model = HFLM(pretrained=str(arguments.model), dtype="bfloat16", **options)
    loaded = time.monotonic()
    tasks = [blimp(file) for file in sorted(arguments.data.glob("*.jsonl"))]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_DATASETS_CACHE"] = cache
        found = lm_eval.simple_evaluate(
            model, tasks=tasks, task_manager=TaskManager(include_defaults=False), bootstrap_iters=0
        )
    assert found is not None
    samples = [sample for rows in found["samples"].values() for sample in rows]
    ties = sum(len({value for value, _ in sample["filtered_resps"]}) == 1 for sample in samples)
    accuracy = {name: figures["acc,none"] for name, figures in found["results"].items()}
    return {**told(loaded), "accuracy": accuracy, "ties": ties}


def blimp(file: Path) -> dict[str, Any]:
    """The harness's own template of its blimp tasks, with the data from a file."""
    return {
        "task": file.stem.removeprefix("blimp-"), "output_type": "multiple_choice", "validation_split": "train",
        "doc_to_text": "", "doc_to_target": 0, "doc_to_choice": "{{[sentence_good, sentence_bad]}}", "num_fewshot": 0,
        "dataset_path": "json", "dataset_kwargs": {"data_files": {"train": str(file)}},
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip


def exactly(arguments: argparse.Namespace) -> Figures:
    return theirs(arguments, softmax_dtype="float32")


def told(loaded: float) -> Figures:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"work": time.monotonic() - loaded, "busy": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1e6}


CONTESTANTS = {"assay": ours, "lm-eval": theirs, "lm-eval, float32 sums": exactly}


if __name__ == "__main__":
    main()
