"""Benchmarks at a small size: each runs to its end, so that it can be repeated when somebody asks for its figures.

What needs something from outside (another product's installation, a finished demo, data that is not in the repository)
refuses in one sentence with exit status 2. Models here have random weights and texts are made up: figures mean nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import random
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import gguf
import numpy as np
import psutil
import pytest

from benchmarks import llama_cpp, load
from benchmarks.own_process import run_module
from tests.support import programs, tiny_model
from training.core.run_directory import RunDirectory
from training.recipes.common import entry

ROOT = Path(__file__).resolve().parents[3]
ALL = {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")}
WORDS = ["river", "stone", "lamp", "winter", "market", "bridge", "letter", "garden", "window", "music"]

# Parts of others, which run with them.
PARTS = {
    "calibrate_intervals": "calibration",
    "calibrate_sequences": "calibration",
    "calibrate_voters": "calibration",
    "cluster_loop": "cluster_faults",
    "cluster_promises": "cluster_faults",
    "cluster_site": "cluster_faults",
    "contract_hooks": "contract",
    "contract_rows": "contract",
    "hosts_site": "cluster_faults",
    "gpu_models": "gpu",
    "gpu_work": "gpu",
    "import_mutations": "mutated_imports",
    "database": "load",
    "hh_rlhf": "sft_hh_rlhf",
    "llama_cpp": "sampling",
    "load_client": "load",
    "memory_tables": "memory_estimates",
    "own_process": "ppo_vs_trl",
    "ppo_matched": "ppo_vs_trl",
    "ppo_own_networks": "ppo_vs_trl",
    "ppo_report": "ppo_vs_trl",
    "ppo_roofline": "ppo_vs_trl",
    "ppo_taste": "ppo_vs_trl",
    "ppo_work": "ppo_vs_trl",
    "ratings_peers": "ratings",
    "ratings_site": "ratings",
    "refusal": "abnormal_texts",
    "service_people": "service_faults",
    "service_site": "service_faults",
    "simulated_arenas": "calibration",
    "training_figures": "train_vs_trl",
    "trl_contestants": "train_vs_trl",
}
# Name: what it is given, and a part of the last that it prints. {} are folders and files of `inputs`.
SMALL = {
    "abnormal_texts": (
        "{model} {domain} {foreign} --tokens 2000 --passages 10 --folder {new}",
        "after 2,000 tokens of the domain",
    ),
    "calibrate_judges": ("--arenas 1 --resamples 1 --pandalm {pandalm} --votes 20", "| annotator3 | 20 |"),
    "judge_allocation": ("--arenas 1 --pandalm {pandalm}", "| annotator3 | and pair |"),
    "calibration": ("--arenas 1 --streams 4 --votes 20", "any of three buttons"),
    "choices_vs_lm_eval": ("{model} {folder} --repeats 1 --pairs 8", "| lm-eval |"),
    "clean_vs_dirty": ("--documents 80 --tokens 2048 --size 1M", "all: dirty"),
    "cluster_faults": (
        "--stages 3 --kills web+storage+recipe+worker+raylet+head --gone-seconds 5 --no-calm",
        "| each fault struck a run at work | 6 of 6: ",
    ),
    "contract": ("--roles manager --only /flags/ --examples 2", "| manager | 3 |"),
    "experiment_pages": ("--votes 200 --arms 2 --rounds 2 --repeats 1", "| rounds | "),
    "experiment_errors": ("--arenas 3 --last 0", '"family-wise"'),
    "gpu": ("--small --out {new}", "| evaluation, ours: sentences | "),
    "hh_frontiers": (
        "{pairs} {model} {new} --unseen 4 --held-out 0.5 --pairs-learnt 24 --new-tokens 4 --methods best_of dpo",
        "| the last | ",
    ),
    "holds": ("--seconds 1 --warm-up 0.5 --busy 0 --votes 20 --most-ms 60000", '"tracebacks": 0'),
    "hot_children": ("{model} --children 3 --limit 2", "after the first was retired: unloaded"),
    "import_formats": ("--rows 400 --only pairs,csv", "csv      worker"),
    "imports": ("--rows 2000 --again", "nothing added"),
    "load": ("--databases sqlite --seconds 1 --people 2 --prompts 20 --workers 1", '"missing": 0'),
    "load_waiting": (
        "--databases sqlite --judges 2 --visitors 1 --sockets 5 --seconds 2 --prompts 20 --workers 1",
        '"p95_ratio"',
    ),
    "lost_machine": (
        "--rows 200 --seconds 2 --people 2 --prompts 10",
        "| votes acknowledged and lost | 0 of ",
    ),
    "memory_estimates": ("{model} --stages sample", "| sample | no: 234 GB"),
    "mutated_imports": ("--files 3", "Promises broken: 0"),
    "pages": ("--rows 200 --repeats 1", "pages take more than 200 ms"),
    "ppo_actors": ("{model} --steps 2 --only 0", "| the learner itself |"),
    "ppo_guards": ("--only=noise-8-16", "| noise | 8 | 16 |"),
    "ppo_vs_trl": (
        "{model} --out {new} --repeats 1 --episodes 16 --new-tokens 6 --matched-episodes 16"
        " --only 'ours, lora' 'ours, lora, own networks'",
        "answers to unseen prompts",
    ),
    "quality": ("--seeds 1 --judges 10 --items 100", '"dishonest": false'),
    "ratings": ("--votes 300 --models 4 --repeats 1", "page after a vote ms"),
    "reward_features": ("--pairs 100 --width 16", "| 160,000, computed | 26.2 | 26.2 | 163.8 | 32,768 |"),
    "reward_finetuning_curve": ("{pairs} {model} {new} 100 --held-out 16", "finetuned"),
    "reward_hh_rlhf": ("{pairs} {model} {new} head --held-out 16", "calibration error"),
    "round_stops": ("--rounds 3", '"stopped at 50"'),
    "reward_judges": ("{pandalm} {model} {new}", "one-by-chance"),
    "reward_learning_curve": ("{completions} {model}", "makes a comparison"),
    "reward_streaming": ("--pairs 300 --width 8 --in-memory 1 --penalties 3", "| 300 | 0.00 |"),
    "sampling": (
        "{model} --out {new} --rows 2 --new-tokens 4 --repeats 1 --only generate before ours --old . --kl",
        "| ours / generate | ",
    ),
    "service_faults": (
        "--minutes 0.3 --every 4 --after 5 --drop 0 --people 4 --visitors 1 --think 1 --prompts 40 --stages 0",
        "| judgements: acknowledged = stored | 0 missing",
    ),
    "soak": (
        "--minutes 0.1 --warm-up 0 --every 3 --people 2 --visitors 1 --think 1 --prompts 20 --sample-every 0",
        "| manage.py verify finds no fault | Rows, files and counts agree. | kept |",
    ),
    "sft_hh_rlhf": ("{model} {pairs} --examples 24 --run {new}", "tokens_per_second"),
    "stored_examples": ("--examples 200", "| dpo | 200 | 153,600 |"),
    "upgrade": (
        "--old . --rows 100 --people 2 --prompts 20 --seconds 0.5",
        "| rows equal before and after | yes |",
    ),
    "train_vs_trl": (
        "{model} {pairs} --repeats 1 --tokens 8000 --held-out 4 --only trl 'ours, top' 'ours, frozen head'",
        '"roofline"',
    ),
}
# These set Django up, or measure whole processes. All others run here: starting torch anew takes longer than the work.
OWN_PROCESS = {
    "choices_vs_lm_eval",
    "cluster_faults",
    "contract",
    "experiment_pages",
    "holds",
    "hot_children",
    "import_formats",
    "imports",
    "load",
    "load_waiting",
    "mutated_imports",
    "pages",
    "ratings",
    "service_faults",
    "soak",
    "turns",
    "upgrade",
}
# These tell the memory of whole processes: a fork has its server's.
STARTED_ANEW = {"memory_estimates", "reward_streaming", "stored_examples"}
# Sites are started, runs work, and what was killed is waited for.
SECONDS = {"cluster_faults": 3600, "service_faults": 3600, "soak": 3600}
# Name and what it is given: a part of the one sentence with which it refuses.
REFUSED = {
    ("abnormal_texts", "{model} {domain} nowhere.txt"): "There is no file nowhere.txt",
    ("choices_vs_lm_eval", "{model} {new}"): "There are no blimp-*.jsonl",
    ("hot_children", "nowhere"): "There is no file nowhere/config.json",
    ("memory_estimates", "nowhere"): "There is no model in nowhere",
    ("load", "--databases --peers potato=nowhere/python"): "install potato in an environment of its own",
    ("load", "--databases --peers another=python"): "names no peer",
    ("ppo_peer", "work.json"): "This TRL has no PPO",
    ("ppo_vs_trl", "{model} --trl-python nowhere/python"): "name one that has trl 1.12",
    ("ppo_vs_trl", "nowhere"): "There is no model in nowhere",
    ("reward_judges", "nowhere.json {model} {new}"): "There is no file nowhere.json",
    ("sampling", "{model} --llama-python nowhere/python"): "name one that has xllamacpp",
    ("sampling", "{model} --old nowhere"): "There is no checkout of this repository in nowhere",
    ("sft_hh_rlhf", "{model} nowhere.jsonl"): "There are no pairs at nowhere.jsonl",
    ("train_vs_trl", "{model} nowhere.jsonl"): "There are no pairs at nowhere.jsonl",
    ("turns", "{new} --into {new}"): "run script/demo",
    ("upgrade", "--old no-such-version"): "name one with --old",
}


def test_each_benchmark_is_run_or_refuses_or_is_a_part_of_one_that_runs():
    refuse_always = {"load_peers", "ppo_peer", "turns"}  # load_peers by load --peers
    assert set(SMALL) | set(PARTS) | refuse_always == ALL
    assert set(PARTS.values()) <= set(SMALL)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ALL - {"ppo_peer", "contract_hooks"}))
def test_a_benchmark_imports(name: str):
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs_to_its_end(name: str, inputs: dict[str, Path], tmp_path: Path):
    options, last_figure = SMALL[name]
    ended = run(name, options, inputs, tmp_path)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert last_figure in ended.stdout, ended.stdout[-2000:]


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), REFUSED)
def test_what_is_missing_is_said_in_one_sentence(name: str, options: str, inputs: dict[str, Path], tmp_path: Path):
    ended = run(name, options, inputs, tmp_path)
    assert ended.returncode == 2, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert REFUSED[name, options] in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_load_whose_server_does_not_start_is_an_error(tmp_path: Path):
    with (
        patch.object(load, "ROOT", tmp_path),  # there is no config.asgi
        pytest.raises(RuntimeError, match="ended with status 1 before it answered"),
        load.web(dict(os.environ), 1),
    ):
        pass
    with (
        patch.object(load, "ROOT", tmp_path),
        pytest.raises(RuntimeError, match=r"did not answer within 0\.1 s at http.*: it was not asked|refused"),
        load.web(dict(os.environ), 2, patience=0.1),
    ):
        pass


@pytest.mark.thorough
def test_what_runs_in_this_process_here_runs_in_its_own_elsewhere(tmp_path: Path):
    given, log = tmp_path / "given.json", tmp_path / "log.txt"
    given.write_text('{"a":1}', encoding="utf-8")
    assert run_module("json.tool", given, log, PYTHONUTF8="1") == 0
    assert json.loads(log.read_text(encoding="utf-8")) == {"a": 1}
    assert run_module("json.tool", tmp_path / "nowhere.json") == 2


@pytest.mark.thorough
def test_script_lock_without_uv_says_so():
    """The rest of it asks a package index."""
    asked = {**os.environ, "UV": "no-such-uv"}
    ended = subprocess.run([ROOT / "script" / "lock"], env=asked, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stderr.startswith("script/lock needs uv")


@pytest.mark.thorough
@pytest.mark.slow
def test_script_rights_writes_the_table_that_stands_there(tmp_path: Path):
    clone = tmp_path / "clone"
    generated = {".git", ".venv", "data", ".mypy_cache", "node_modules"}
    shutil.copytree(ROOT, clone, symlinks=True, ignore=lambda at, names: generated if at == str(ROOT) else set())
    (clone / ".venv").symlink_to(Path(sys.prefix))
    table = Path("docs/guides/rights.md")
    (clone / table).unlink()
    subprocess.run([clone / "script" / "rights"], cwd="/", env={**os.environ, "ASSAY_DATA": str(tmp_path)}, check=True)
    assert (clone / table).read_bytes() == (ROOT / table).read_bytes()


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def run(name: str, options: str, inputs: dict[str, Path], folder: Path) -> Ended:
    """Run a benchmark as its docstring shows it: as a module, or as a script."""
    words = [word.format(**inputs, new=folder / "new") for word in shlex.split(options)]
    environment = {"ASSAY_DATA": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    as_module = f"-m benchmarks.{name}" in (ROOT / f"benchmarks/{name}.py").read_text(encoding="utf-8")
    starting = contextlib.nullcontext() if name in STARTED_ANEW else programs.forked()
    with patch.dict(os.environ, environment), contextlib.chdir(ROOT), starting:
        os.environ.pop("DATABASE_URL", None)
        return (run_there if name in OWN_PROCESS else run_here)(name, words, as_module)


def run_there(name: str, words: list[str], as_module: bool) -> Ended:
    script = ["-m", f"benchmarks.{name}"] if as_module else [f"benchmarks/{name}.py"]
    ended = subprocess.run(
        [sys.executable, *script, *words], capture_output=True, text=True, timeout=SECONDS.get(name, 600)
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def run_here(name: str, words: list[str], as_module: bool) -> Ended:
    """Run it in this process, and so what it would start in processes of their own."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    script = f"benchmarks/{name}.py"
    with (
        patch("sys.argv", [script, *words]), patch("sys.path", sys.path[:]),
        patch("benchmarks.own_process.run_module", run_module_here),
        patch("training.recipes.reward.head_fit.RIDGES", (30.0, 3.0)),
        patch("benchmarks.calibrate_intervals.DRAWS", 10), patch("benchmarks.calibrate_voters.LOOKS", 3),
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):  # fmt: skip
        try:
            if as_module:
                runpy.run_module(f"benchmarks.{name}", run_name="__main__")
            else:
                runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=err)
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Ended(status, out.getvalue(), err.getvalue())


def run_module_here(module: str, path: Path, log: Path | None = None, **environment: str) -> int:
    """Do in this process what `benchmarks.own_process.run_module` does in another."""
    with patch.dict(os.environ, environment):
        if module in ("benchmarks.trl_contestants", "benchmarks.gpu_work"):
            importlib.import_module(module).main(path)
            return 0
        is_package = importlib.util.find_spec(module).submodule_search_locations is not None
        recipe = importlib.import_module(f"{module}.__main__" if is_package else module)
        return entry.attempt(recipe.main, RunDirectory(path))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model with random weights, and files of made-up words in the shapes of those that the benchmarks are for."""
    folder, lot = tmp_path_factory.mktemp("inputs"), random.Random(0)

    def text(words: int) -> str:
        return " ".join(lot.choices(WORDS, k=words))

    def file(name: str, content: str) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    heads = [f"\n\nHuman: {n} {text(3)}?\n\nAssistant: " for n in range(120)]
    pairs = [{"chosen": f"{head}{text(4).upper()}?", "rejected": f"{head}{text(4)}."} for head in heads]
    file("blimp-made-up.jsonl", lines([{"sentence_good": text(5), "sentence_bad": text(5)} for _ in range(8)]))
    return {
        "folder": folder,
        "model": tiny_model.make(folder / "model"),
        "pairs": file("pairs.jsonl", lines(pairs)),
        "domain": file("domain.txt", "\n\n".join(text(60) for _ in range(400))),
        "foreign": file("foreign.txt", "\n\n".join(text(200).upper() for _ in range(60))),
        "pandalm": file("pandalm.json", json.dumps([_judged(n, text, lot) for n in range(60)])),
        "completions": file("completions.jsonl", lines([_answer(n, text, lot) for n in range(120)])),
    }


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _judged(n: int, text, lot: random.Random) -> dict:
    """Return a pair of which annotators mostly take the louder answer: the recipe refuses what follows nothing."""
    votes: dict = {f"annotator{k}": lot.choice((0, 1, 1, 1)) for k in (1, 2, 3)}
    votes["cmp_key"] = ("one_two", "one_three", "two_three")[n % 3]
    return {"instruction": f"{n} {text(5)}", "input": "", "response1": text(8).upper(), "response2": text(8), **votes}


def _answer(n: int, text, lot: random.Random) -> dict:
    prompt = [{"role": "user", "content": f"Question {n // 4}"}]
    return {"id": n, "prompt_id": n // 4, "prompt": prompt, "text": lot.choice(("You ", "I ", "")) + text(8)}


def test_a_peer_of_sampling_gets_the_weights_of_the_file_it_was_given(tmp_path):
    random, plain = np.random.default_rng(0), tmp_path / "plain.gguf"
    matrix, vector = random.normal(size=(8, 64)).astype("f4"), random.normal(size=64).astype("f4")
    writer = gguf.GGUFWriter(plain, "llama")
    writer.add_context_length(77)
    writer.add_token_list(["a", "bc"])
    writer.add_tensor("output.weight", matrix)
    writer.add_tensor("output_norm.weight", vector)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for kind, error in (("F16", 1e-3), ("Q8_0", 2e-2)):
        llama_cpp.write_as(plain, kind, tmp_path / f"{kind}.gguf")
        found = gguf.GGUFReader(tmp_path / f"{kind}.gguf")
        first, second = found.tensors
        assert (first.name, first.tensor_type.name) == ("output.weight", kind)
        assert gguf.quants.dequantize(first.data, first.tensor_type) == pytest.approx(matrix, abs=error)
        assert (second.data == vector).all()
        assert found.get_field("llama.context_length").contents() == 77
        assert found.get_field("tokenizer.ggml.tokens").contents() == ["a", "bc"]


STARTS_A_SERVER = """
import subprocess, sys, time
sys.argv[0] = "-m"  # as Python has it while it imports the package of `-m benchmarks.NAME`
import benchmarks
server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
try:
    print(server.pid, flush=True)
    time.sleep(60)
finally:
    server.kill()
    server.wait()
"""


def test_one_that_is_asked_to_end_ends_what_it_has_started():
    command = [sys.executable, "-c", STARTS_A_SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        process.terminate()
        assert process.wait(30) == 128 + 15
    assert not psutil.pid_exists(server)
