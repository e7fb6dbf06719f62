"""PPO side by side with the last one of TRL: `python -m benchmarks.ppo_vs_trl MODEL --peer-python PYTHON`.

MODEL is a model folder. PYTHON is the interpreter of a virtual environment of its own, because TRL 1.13 and later
have no PPO: `pip install torch "trl==1.12.0" "transformers>=5.20,<6" peft rich datasets`. Without it, ours
alone is timed.

The work: 64 episodes in batches of 16, prompts of about 30 tokens, 48 new tokens at most, 4 epochs of one minibatch,
LoRA r=16 on all linear layers, bfloat16. The peer has a reward and a value network of the policy's size. Ours is timed
with adapters on all layers ("lora") and in the top third ("top"), both with a linear reward head on the trunk's middle
layers, random here: what it costs does not depend on what it says. The contestants take turns; medians and their ratios
are printed as one JSON line. Loading and saving are not counted on either side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from training.run_directory import RunDirectory, RunSpec, read_lines

NOUNS = [
    "rain",
    "sun",
    "moon",
    "sea",
    "dog",
    "cat",
    "tree",
    "car",
    "road",
    "bird",
    "fish",
    "sand",
    "snow",
    "wind",
    "fire",
    "book",
    "music",
    "bread",
    "tea",
    "river",
    "lake",
    "hill",
    "boat",
    "train",
    "shoe",
    "hat",
    "clock",
    "lamp",
    "chair",
    "table",
    "window",
    "door",
]
BATCH, STEPS, NEW_TOKENS = 16, 4, 48

PEER = """
import json, sys, time, resource, torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer
path, prompts = sys.argv[1], json.loads(sys.argv[2])
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
rows = [{"input_ids": tokenizer.apply_chat_template([{"role": "user", "content": p}], add_generation_prompt=True,
         return_dict=True)["input_ids"]} for p in prompts]
policy = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
reward, value = (AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=torch.bfloat16)
                 for _ in range(2))
for network in (reward, value):
    network.config.pad_token_id = tokenizer.pad_token_id
trainer = PPOTrainer(
    args=PPOConfig(output_dir=sys.argv[3], per_device_train_batch_size=BATCH, num_mini_batches=1, num_ppo_epochs=4,
                   local_rollout_forward_batch_size=BATCH, total_episodes=len(prompts), response_length=NEW_TOKENS,
                   learning_rate=1e-5, stop_token="eos", bf16=False, num_sample_generations=0, save_strategy="no",
                   report_to=[], use_cpu=True),
    processing_class=tokenizer, model=policy, ref_model=None, reward_model=reward, value_model=value,
    train_dataset=Dataset.from_list(rows),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
started = time.perf_counter()
trainer.train()
print(json.dumps({"seconds": time.perf_counter() - started,
                  "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
""".replace("BATCH", str(BATCH)).replace("NEW_TOKENS", str(NEW_TOKENS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    prompts = [f"Write one sentence about {NOUNS[i % len(NOUNS)]}." for i in range(BATCH * STEPS)]
    found: dict[str, list[dict[str, float]]] = {"ours, lora": [], "ours, top": []}
    if arguments.peer_python:
        found["trl 1.12, lora"] = []
    with tempfile.TemporaryDirectory() as scratch:
        head = _reward_head(arguments.model.resolve(), Path(scratch))
        for repeat in range(arguments.repeats):
            for name, results in found.items():
                folder = Path(scratch) / f"{name}-{repeat}".replace(" ", "")
                if name.startswith("ours"):
                    results.append(_ours(arguments.model.resolve(), prompts, folder, head, name.split()[-1]))
                else:
                    results.append(_peer(arguments.peer_python, arguments.model.resolve(), prompts, folder))
                print(name, results[-1], file=sys.stderr)
    print(json.dumps(_summary(found)))


def _reward_head(model: Path, scratch: Path) -> Path:
    """A reward model as the `reward` recipe makes it, two pooled layers, with a head drawn at random."""
    import torch

    from training.recipes import loading
    from training.recipes.reward_model import RewardModel

    config = json.loads((model / "config.json").read_text())
    depth, width = config["num_hidden_layers"], 2 * config["hidden_size"]
    folder = scratch / "reward"
    folder.mkdir()
    RewardModel(
        "head", ((depth // 2, "mean"), (2 * depth // 3, "mean")), torch.randn(width), torch.zeros(1),
        torch.zeros(width), torch.ones(width), str(model), loading.weights_hash(model), 256, 256,
    ).save(folder)  # fmt: skip
    return folder


def _ours(model: Path, prompts: list[str], folder: Path, reward_model: Path, adapters: str) -> dict[str, float]:
    run = RunDirectory(folder)
    config = {
        "adapters": adapters, "steps": STEPS, "batch_size": BATCH, "max_new_tokens": NEW_TOKENS, "epochs": 4,
        "minibatches": 1, "learning_rate": 1e-5, "calibration_episodes": BATCH, "sample_prompts": 0,
        "checkpoint_every": 100,
    }  # fmt: skip
    rows = ({"id": i, "messages": [{"role": "user", "content": text}]} for i, text in enumerate(prompts))
    run.create(RunSpec("ppo", config, parent=str(model), reward_model=str(reward_model)), {"prompts": rows})
    subprocess.run([sys.executable, "-m", "training.recipes.ppo", str(folder)], check=True, stderr=subprocess.DEVNULL)
    steps = [row["values"] for row in read_lines(folder / "metrics.jsonl")][:STEPS]  # the last rollout has no update
    stages = {f"{s}_s": sum(step[f"seconds_{s}"] for step in steps) for s in ("sampling", "scoring", "updates")}
    return {"seconds": sum(s["seconds"] for s in steps), "peak_gb": max(s["peak_memory_gb"] for s in steps), **stages}


def _peer(python: Path, model: Path, prompts: list[str], folder: Path) -> dict[str, float]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    command = [str(python), "-c", PEER, str(model), json.dumps(prompts), str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return json.loads(output.strip().splitlines()[-1])


def _summary(found: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    peer = statistics.median(r["seconds"] for r in found.get("trl 1.12, lora", [{"seconds": float("nan")}]))
    return {
        name: {
            **{key: round(statistics.median(r[key] for r in results), 3) for key in results[0]},
            "episodes_per_s": round(BATCH * STEPS / statistics.median(r["seconds"] for r in results), 3),
            "times_the_peers_speed": round(peer / statistics.median(r["seconds"] for r in results), 2),
        }
        for name, results in found.items()
    }


if __name__ == "__main__":
    main()
