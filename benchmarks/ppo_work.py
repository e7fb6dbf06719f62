"""The pieces of work of `benchmarks.ppo_vs_trl`, and how ours and the peer are put to them, each in its own process."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.own_process import environment_with, run_module
from training.core.run_directory import RunDirectory, RunSpec, read_lines

NOUNS = [
    "rain", "sun", "moon", "sea", "dog", "cat", "tree", "car", "road", "bird", "fish", "sand", "snow", "wind",
    "fire", "book", "music", "bread", "tea", "river", "lake", "hill", "boat", "train", "shoe", "hat", "clock",
    "lamp", "chair", "table", "window", "door",
]  # fmt: skip
EPOCHS = 4
STAGES = ("sampling", "scoring", "updates")
PEER = Path(__file__).with_name("ppo_peer.py")


@dataclass(frozen=True)
class Work:
    model: str
    prompts: list[str]
    batch: int = 16
    new_tokens: int = 48
    temperature: float = 0.7
    learning_rate: float = 1e-5
    kl_coef: float = 0.05
    seed: int = 0

    @property
    def steps(self) -> int:
        return len(self.prompts) // self.batch


@dataclass(frozen=True)
class Contestant:
    """`reward`: rides on the reference's forward, has a forward of its own, or is a Python function. `recipe` carries
    ours out."""

    adapters: str
    dtype: str = "bfloat16"
    peer: bool = False
    reward: str = "shared"
    recipe: str = "training.recipes.ppo"


def timed_work(model: Path, episodes: int, new_tokens: int) -> Work:
    prompts = [f"Write one sentence about {NOUNS[i % len(NOUNS)]}." for i in range(episodes)]
    return Work(str(model), prompts, new_tokens=new_tokens)


def run_ours(work: Work, who: Contestant, folder: Path, taste: dict[str, float] | None = None) -> dict[str, Any]:
    run = RunDirectory(folder / "run")
    config = {
        "adapters": who.adapters, "steps": work.steps, "batch_size": work.batch, "max_new_tokens": work.new_tokens,
        "temperature": work.temperature, "epochs": EPOCHS, "minibatches": 1, "learning_rate": work.learning_rate,
        "kl_coef": work.kl_coef, "kl_target": 0.0, "calibration_episodes": 16 if taste is None else 64,
        "sample_prompts": 0, "checkpoint_every": 1000, "stop_kl": 0.0, "min_length_ratio": 0.0, "max_length_ratio": 1e6,
        "min_distinct_ratio": 0.0, "max_approx_kl": 0.0, "min_eos_ratio": 0.0, "max_surprise_rise": 0.0,
        "max_entropy_rise": 0.0, "min_entropy_ratio": 0.0, "max_foreign_share": 0.0, "fluency_coef": 0.0,
        "reward_function": "benchmarks.ppo_taste.short_words" if taste is not None else "",
    }  # fmt: skip
    rows = ({"id": i, "messages": [{"role": "user", "content": text}]} for i, text in enumerate(work.prompts))
    reward = None if taste is not None else str(reward_head(Path(work.model), folder, shared=who.reward == "shared"))
    spec = RunSpec("ppo", config, seed=work.seed, parent=work.model, reward_model=reward)
    run.create(spec, {"prompts": rows})
    if run_module(who.recipe, run.path, run.path / "log.txt", **_environment(who.dtype)) != 0:
        raise RuntimeError(f"Ours failed: {run.failure()}; see {run.path}/log.txt")
    steps = [row["values"] for row in read_lines(run.path / "metrics.jsonl")][: work.steps]  # the last has no update
    return {
        "seconds": sum(step["seconds"] for step in steps),
        "peak_gb": max(step["peak_memory_gb"] for step in steps),
        **{f"{stage}_s": sum(step[f"seconds_{stage}"] for step in steps) for stage in STAGES},
        "new_tokens": work.batch * sum(step["length_mean"] for step in steps),
        "parent": (run.result() or {})["parent"],
        "ratio_off": max(abs(step["ratio_first_max"] - 1) for step in steps),
        "steps": [{"kl": step["kl"], "kl_k3": step["kl_k3"], "score": step["score_mean"]} for step in steps],
    }


def run_peer(
    work: Work, who: Contestant, python: Path, folder: Path, taste: dict[str, float] | None = None
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    asked = {**asdict(work), "adapters": who.adapters, "dtype": who.dtype, "folder": str(folder), "taste": taste}
    (folder / "work.json").write_text(json.dumps(asked))
    process = subprocess.run(
        [str(python), str(PEER), str(folder / "work.json")], capture_output=True, text=True,
        env=environment_with(**_environment(who.dtype)),
    )  # fmt: skip
    if process.returncode:
        raise RuntimeError(f"The peer failed: {process.stderr[-2000:]}")
    return json.loads(process.stdout.strip().splitlines()[-1])


def reward_head(model: Path, folder: Path, *, shared: bool) -> Path:
    """A reward model as the `reward` recipe makes it, two pooled layers, with a head drawn at random: what it costs
    does not depend on what it says. Not `shared`, its trunk is a twin of the parent under another name.
    """
    import torch

    from training.recipes.common import loading
    from training.recipes.reward.reward_model import RewardModel

    config = json.loads((model / "config.json").read_text())
    depth, width = config["num_hidden_layers"], 2 * config["hidden_size"]
    folder = folder / "reward"
    folder.mkdir(parents=True)
    trunk = model if shared else _twin(model, folder.with_name("twin"))
    RewardModel(
        "head", ((depth // 2, "mean"), (2 * depth // 3, "mean")), torch.randn(width), torch.zeros(1),
        torch.zeros(width), torch.ones(width), str(trunk), loading.weights_hash(trunk), 256, 256,
    ).save(folder)  # fmt: skip
    return folder


def _twin(model: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in model.iterdir():
        if file.name != "config.json":
            (folder / file.name).symlink_to(file)
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "another_name": "twin"}))
    return folder


def _environment(dtype: str) -> dict[str, str]:
    return {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "ASSAY_DTYPE": dtype}
