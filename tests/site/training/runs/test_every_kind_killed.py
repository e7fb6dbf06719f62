"""Every kind of run, killed with signal 9 twice amid what it writes, ends with what it would have ended with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from common.judging.rubrics import VERDICTS
from tests.support import tiny_model
from tests.support.evaluation.judge_server import judge_server
from tests.support.training import corpora, killing, preference_runs
from training.core import kept_steps
from training.core.kinds import KINDS as REGISTERED
from training.core.run_directory import RunDirectory, RunSpec, read_lines

pytestmark = pytest.mark.slow

Build = Callable[[Path, Path], RunDirectory]
TWO_PENALTIES = "tests.support.training.reward_of_two_penalties"  # seven take a minute longer
REWARD = "tests.support.training.ppo_runs.share_of_vowels"


def make(kind: str, files: dict[str, list[dict]], config: dict) -> Build:
    def build(folder: Path, parent: Path) -> RunDirectory:
        run = RunDirectory(folder)
        spec = RunSpec(kind, config, seed=5, parent=str(parent))
        run.create(spec, {name: iter(rows) for name, rows in files.items()})
        return run

    return build


def judged(kind: str, **config) -> Build:
    prompts = 40 if kind == "reward" else 24  # the fewest that a reward model is trained on
    return lambda folder, parent: preference_runs.make(folder, kind, parent, prompts=prompts, **config)


def with_corpus(kind: str, *, from_tokenizer: bool = False, foreign: bool = False, texts: int = 300, **config) -> Build:
    def build(folder: Path, parent: Path) -> RunDirectory:
        if from_tokenizer:
            parent = corpora.make_tokenizer(folder.with_name(f"{folder.name}-tokenizer"))
        run = make(kind, {}, config)(folder, parent)
        corpora.write_corpus(run.path / "data", corpora.texts(texts), corpora.texts(60, seed=1))
        if foreign:
            words = [text[::-1] for text in corpora.texts(60, seed=2)]
            corpora.write_corpus(run.path / "data" / "other", words, words)
        return run

    return build


PROMPTS = [{"id": n, "messages": preference_runs.prompt(n)} for n in range(12)]
EXAMPLES = [{"prompt": preference_runs.prompt(n), "completion": "abab" * (1 + n % 4)} for n in range(32)]
TEXTS = [{"id": n, "text": "some words that are read " * (3 + n % 5)} for n in range(24)]
WINDOWS = {"batch_size": 2, "max_length": 128}
SPARSE = {"sample_every": 1000, "checkpoint_every": 2}
BRIEF = SPARSE | {"sample_tokens": 4}
KEPT = {"kept_checkpoints": 2}

LABELLED = [{"text": text, "label": "dog" if "dog" in text else "none"} for text in corpora.texts(120, seed=3)]
CARRIED = {"sources": "python:topics", "checkpoint_every": 20, "near_permutations": 32}
ROWS = {"context_length": 64, "batch_size": 4, "checkpoint_every": 3, "sample_every": 1000, "validate_every": 5}
ROWS |= {"sample_tokens": 4, "max_tokens": 4000, "validation_tokens": 1000}
POLICY = {"reward_function": REWARD, "batch_size": 8, "max_new_tokens": 12}
PPO = POLICY | {"steps": 4, "calibration_episodes": 8, "sample_prompts": 1, "stop_kl": 0.0, "min_distinct_ratio": 0.0}
PPO |= tiny_model.NO_FLUENCY_BOUNDS

BEST = {"reward_function": REWARD, "candidates": 3, "max_new_tokens": 12, "batch_size": 4}
PAIRS = [
    {"key": f"{n}-{n + 50}", "prompt": preference_runs.prompt(n), "text_a": f"Yes, {n}.", "text_b": f"No, {n}."}
    for n in range(8)
]

BEGIN_ANEW = {"export", "import", "label"}  # over in a moment

KINDS: dict[str, tuple[str, Build]] = {
    "sample": (
        "training.recipes.sample",
        make("sample", {"prompts": PROMPTS}, {"max_new_tokens": 16, "batch_size": 2, "completions_per_prompt": 2}),
    ),
    "sft": (
        "training.recipes.sft",
        make("sft", {"examples": EXAMPLES}, {"epochs": 1.5, "batch_size": 4, **BRIEF, **KEPT}),
    ),
    "reward head": (TWO_PENALTIES, judged("reward", method="head", batch_size=4, curve=False)),
    "reward finetune": (
        TWO_PENALTIES,
        judged("reward", method="finetune", features="mean", batch_size=8, checkpoint_every=2, curve=False),
    ),
    "ppo": ("training.recipes.ppo", make("ppo", {"prompts": PROMPTS}, PPO | KEPT)),
    "dpo": ("training.recipes.dpo", judged("dpo", batch_size=4, **BRIEF, **KEPT)),
    "kto": ("training.recipes.kto", judged("kto", batch_size=8, **BRIEF)),
    "grpo": ("training.recipes.grpo", make("grpo", {"prompts": PROMPTS}, POLICY | {"steps": 5, **SPARSE, **KEPT})),
    "rloo": ("training.recipes.rloo", make("rloo", {"prompts": PROMPTS}, POLICY | {"steps": 5, **SPARSE})),
    "best_of": ("training.recipes.best_of", make("best_of", {"prompts": PROMPTS}, BEST)),
    "rejection": ("training.recipes.best_of", make("rejection", {"prompts": PROMPTS}, BEST)),
    "corpus": ("training.recipes.corpus", make("corpus", {}, CARRIED)),
    "tokenizer": ("training.recipes.tokenizer", with_corpus("tokenizer", texts=5_000, vocab_size=390)),
    **{
        f"pretrain {objective}": (
            "training.recipes.pretrain",
            with_corpus("pretrain", from_tokenizer=True, size="1M", objective=objective, **ROWS, **KEPT),
        )
        for objective in ("masked", "mixture")  # test_recipe_pretrain cuts the others off, too
    },
    "domain": ("training.recipes.domain", with_corpus("domain", **ROWS, **KEPT)),
    # With other adapters test_recipe_classify cuts it off.
    "classify": (
        "training.recipes.classify",
        make("classify", {"rows": LABELLED}, {"adapters": "lora", "epochs": 1.0, "checkpoint_every": 2}),
    ),
    "surprise": (
        "evaluation.recipes.surprise",
        with_corpus("surprise", foreign=True, passage_bytes=60, passages=40, batch_size=2),
    ),
    "evaluate": ("evaluation.recipes.evaluate", make("evaluate", {"texts": TEXTS}, WINDOWS)),
    "evaluate choices": ("evaluation.recipes.evaluate", make("evaluate", {}, WINDOWS | {"measure": "choices"})),
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make_elsewhere(tmp_path_factory.mktemp("models") / "tiny")


# In the plain run the recipes' own tests cut them off within the process, and test_worker kills one.
@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_two_kills_change_nothing(parent, tmp_path, kind):
    module, build = KINDS[kind]
    whole = killing.undisturbed(module, build(tmp_path / "whole", parent))
    broken = killing.killed(module, build(tmp_path / "broken", parent), whole=whole, seed=len(kind))
    assert broken.kills == 2, "one of the signals met nothing at work"
    assert outcome(broken.run) == outcome(whole.run)


@pytest.mark.thorough
def test_two_kills_ask_a_judge_nothing_that_it_has_answered(tmp_path):
    module = "evaluation.recipes.judge_verdicts"
    with judge_server(lambda shown: f"Clear. [[{'AB'[shown.index('Yes') > shown.index('No')]}]]") as judge:
        whole = killing.undisturbed(module, verdicts_run(tmp_path / "whole", judge.url))
        broken = killing.killed(module, verdicts_run(tmp_path / "broken", judge.url), whole=whole, seed=1)
    assert broken.kills == 2
    assert verdicts(broken.run) == verdicts(whole.run) and len(verdicts(whole.run)) == 2 * len(PAIRS)
    assert broken.run.result() == whole.run.result()
    assert len(judge.requests) <= 2 * 2 * len(PAIRS) + broken.kills, "one for each kill may have been under way"


def verdicts(run: RunDirectory) -> list[tuple]:
    return [(row["key"], row["verdict"], row["reply"]) for row in read_lines(run.path / VERDICTS)]


def verdicts_run(folder: Path, url: str) -> RunDirectory:
    """Lay the directory of a run that asks the judge at `url` one question at a time."""
    run = RunDirectory(folder)
    judge = {"url": url, "model": "judge-1", "concurrency": 1, "allowed": ["127.0.0.1"], "template_options": {}}
    about = {"form": "pairwise", "rubric": "Which is better?", "same_texts": 0}
    spec = RunSpec("verdicts", {"judge": "the judge"}, endpoints={"judge": judge})
    run.create(spec, {"items": iter(PAIRS), "about": iter([about])})
    return run


def test_every_kind_has_a_case():
    assert {kind.partition(" ")[0] for kind in KINDS} | {"verdicts"} == REGISTERED.keys() - BEGIN_ANEW


def outcome(run: RunDirectory) -> dict[str, str]:
    """Weights and rows by file, and the figures that were logged, but for what the clock says."""
    found = {}
    kept = (".safetensors", ".jsonl", ".json")
    for folder in (run.model, run.dataset, run.path / kept_steps.FOLDER):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in kept):
            found[str(path.relative_to(run.path))] = hashlib.sha256(path.read_bytes()).hexdigest()
    if (run.path / "completions.jsonl").exists():
        found["completions"] = (run.path / "completions.jsonl").read_text()
    if (run.path / "items.jsonl").exists():  # of an evaluation, whose result holds no time of day
        found |= {name: (run.path / name).read_text() for name in ("items.jsonl", "result.json")}
    found["metrics"] = json.dumps([_timeless(row) for row in run_metrics(run)])
    assert found
    return found


def run_metrics(run: RunDirectory) -> list[dict]:
    path = run.path / "metrics.jsonl"
    return [json.loads(line) for line in path.open(encoding="utf-8")] if path.exists() else []


def _timeless(row: dict) -> dict:
    clock = ("seconds", "per_second", "memory")
    return {
        "step": row["step"],
        **{name: value for name, value in row["values"].items() if not any(word in name for word in clock)},
    }
