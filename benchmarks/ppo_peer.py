"""TRL's last PPO on one piece of work, in TRL's own virtual environment: `PYTHON benchmarks/ppo_peer.py WORK.json`.

WORK.json: model, prompts, folder, batch, new_tokens, temperature, learning_rate, kl_coef, seed, adapters (lora or
full), dtype, and `taste`: null for a reward network of the policy's size, else what the score is shifted and scaled by.
Prints one line: seconds of training, peak RSS in GB, and what each step logged; with a taste, the policy is saved in
FOLDER/model. It imports nothing of Assay but the taste, which needs Python alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

try:
    from trl.experimental.ppo import PPOConfig, PPOTrainer
except ImportError:
    print(
        "This TRL has no PPO: run it by a Python that has trl 1.12, as benchmarks/ppo_vs_trl.py says.", file=sys.stderr
    )
    raise SystemExit(2) from None

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ppo_taste import short_words

ANSWERS = "<|im_start|>assistant\n"


class Taste(torch.nn.Module):
    """A Python function as the network that TRL asks for: it reads `score` of the last hidden states of `model`."""

    base_model_prefix = "model"

    def __init__(self, tokenizer, mean: float, std: float) -> None:
        super().__init__()
        self.tokenizer, self.mean, self.std = tokenizer, mean, std
        self.score = torch.nn.Identity()

    def model(self, input_ids, attention_mask, **_):
        rows = [ids[kept.bool()] for ids, kept in zip(input_ids, attention_mask, strict=True)]
        texts = [t.rsplit(ANSWERS, 1)[-1].split("<|im_end|>")[0] for t in self.tokenizer.batch_decode(rows)]
        scores = (torch.tensor(short_words(None, texts)) - self.mean) / self.std
        return SimpleNamespace(hidden_states=[scores.clamp(-3, 3)[:, None, None].expand(*input_ids.shape, 1)])


def main() -> None:
    work = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    torch.manual_seed(work.seed)
    dtype = getattr(torch, work.dtype)
    tokenizer = AutoTokenizer.from_pretrained(work.model, padding_side="left")
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        tokenizer.pad_token = "<|endoftext|>"

    def network(kind, **options):
        return kind.from_pretrained(work.model, dtype=dtype, **options)

    policy, value = network(AutoModelForCausalLM), network(AutoModelForSequenceClassification, num_labels=1)
    reference = None if work.adapters == "lora" else network(AutoModelForCausalLM)
    if work.taste is None:
        reward = network(AutoModelForSequenceClassification, num_labels=1)
        reward.config.pad_token_id = tokenizer.pad_token_id
    else:
        reward = Taste(tokenizer, **work.taste)
    value.config.pad_token_id = tokenizer.pad_token_id
    if work.taste is not None:
        torch.nn.init.zeros_(value.score.weight)  # a head drawn at random starts some units off
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=str(Path(work.folder) / "trl"), per_device_train_batch_size=work.batch, num_mini_batches=1,
            num_ppo_epochs=4, local_rollout_forward_batch_size=work.batch, total_episodes=len(work.prompts),
            response_length=work.new_tokens, learning_rate=work.learning_rate, kl_coef=work.kl_coef,
            temperature=work.temperature, stop_token="eos", bf16=False, num_sample_generations=0, save_strategy="no",
            logging_steps=1, report_to=[], use_cpu=not torch.cuda.is_available(), disable_tqdm=True, seed=work.seed,
        ),
        processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward, value_model=value,
        train_dataset=Dataset.from_list([{"input_ids": encoded(tokenizer, text)} for text in work.prompts]),
        peft_config=lora if work.adapters == "lora" else None,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    on_gpu = torch.cuda.is_available()
    peak = (
        torch.cuda.max_memory_allocated() if on_gpu else 1e3 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ) / 1e9
    logs = [entry for entry in trainer.state.log_history if "objective/kl" in entry]
    steps = [{"kl": float(e["objective/kl"]), "score": float(e["objective/scores"])} for e in logs]
    if work.taste is not None:
        trained = trainer.model.policy
        trained = trained.merge_and_unload() if hasattr(trained, "merge_and_unload") else trained
        trained.save_pretrained(Path(work.folder) / "model")
        tokenizer.save_pretrained(Path(work.folder) / "model")
    print("\n" + json.dumps({"seconds": seconds, "peak_gb": peak, "steps": steps}))


def encoded(tokenizer, text: str) -> list[int]:
    messages = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]


if __name__ == "__main__":
    main()
