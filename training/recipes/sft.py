"""Supervised finetuning with TRL: `python -m training.recipes.sft RUN_DIR`.

Learns the completions of `data/examples.jsonl` (demonstrations, best-rated answers) with the loss on completions only.
Rows are tokenised here and not by TRL, so that an example is token for token what the policy meets when it answers:

    [chat-template prompt, cut from the left][completion][EOS, unless the completion was cut]

LoRA adapters are float32 over a bfloat16 model (PEFT's default; on a CPU 15 % slower than bfloat16 ones, whose small
Adam steps round away). TRL's checkpoints are moved into the run directory's, so that a resume continues with
optimiser, schedule, generators and place in the data. Sample completions of the same few prompts with the same seeds
show what changes. Left out: packing, evaluation loss.
"""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig as TrainerConfig
from trl import SFTTrainer

from training.configs import SFTConfig
from training.recipes import loading
from training.recipes.entry import config_of, run_recipe
from training.recipes.features import decoder_layers
from training.rl.decode import ModuleDecoder
from training.rl.sampler import Sampling, sample, sequence_seed
from training.run_directory import RecipeFailure, Row, RunDirectory, RunSpec

FEWEST_EXAMPLES = 2
SAMPLED_PROMPTS = 4


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: SFTConfig = config_of(spec)
    run.progress("Reading the examples", 0, 1)
    rows = read_examples(run)
    run.progress("Loading the model", 0, 1)
    # Every weight in float32, multiplied in the compute dtype: steps of 1e-4 would round away in bfloat16 weights.
    model, tokenizer = loading.load_policy(spec.parent, torch.float32 if config.adapters == "full" else None)
    examples = [encode_example(tokenizer, row, config.max_length) for row in rows]
    resumed = run.latest_checkpoint()
    run.truncate_logs(step_of(resumed))

    begun = time.monotonic()
    follower = Follower(run, tokenizer, [row["prompt"] for row in rows], spec.seed, config)
    trainer = SFTTrainer(
        model=model,
        args=trainer_config(run, spec, config, len(examples)),
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=None if config.adapters == "full" else lora(config, model),
        callbacks=[follower],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)

    run.progress("Saving", 0, 1)
    loading.save_policy(trainer.model, tokenizer, run.begin_model())
    run.commit_model()
    shutil.rmtree(str(trainer.args.output_dir), ignore_errors=True)
    trained = [e["completion_mask"] for e in examples]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]  # of every attempt
    run.finish(
        {
            "examples": len(examples),
            "completion_tokens": sum(map(sum, trained)),
            "cut_examples": sum(e["input_ids"][-1] != tokenizer.eos_token_id for e in examples),
            "steps": trainer.state.global_step,
            "first_loss": losses[0],
            "last_loss": losses[-1],
            "adapters": config.adapters,
            "hash": loading.weights_hash(run.model),
            "seconds": time.monotonic() - begun,
        }
    )


def read_examples(run: RunDirectory) -> list[Row]:
    """The examples with something to learn. Raises RecipeFailure when there are too few."""
    rows = [row for row in run.rows("examples") if row["completion"].strip()]
    if len(rows) < FEWEST_EXAMPLES:
        raise RecipeFailure(
            "too_few_examples",
            f"The dataset holds {len(rows)} usable examples; at least {FEWEST_EXAMPLES} are needed.",
            "Write demonstrations or rate more answers, then freeze the dataset again.",
        )
    return rows


def encode_example(tokenizer: Any, row: Row, max_length: int) -> dict[str, list[int]]:
    """`input_ids` and `completion_mask` of one example, at most `max_length` tokens; the prompt yields first.

    An answer that the length limit cut off (`is_cut`) gets no end token: its place teaches nothing.
    """
    completion = loading.encode_completion(tokenizer, row["completion"], max_length)
    end = [] if row.get("is_cut") else [tokenizer.eos_token_id]
    completion = [*completion, *end][: max_length - 1]
    prompt = loading.encode_prompt(tokenizer, row["prompt"], max_length - len(completion))
    return {"input_ids": prompt + completion, "completion_mask": [0] * len(prompt) + [1] * len(completion)}


def lora(config: SFTConfig, model: Any) -> LoraConfig:
    """Adapters on every layer, or in the top third: no gradient flows through the layers below, which saves time."""
    blocks = list(decoder_layers(model))
    adapted = blocks[-max(len(blocks) // 3, 1) :] if config.adapters == "top" else blocks
    inside = {module for block in adapted for module in block.modules() if isinstance(module, torch.nn.Linear)}
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules=[name for name, module in model.named_modules() if module in inside],
        task_type="CAUSAL_LM",
    )


def trainer_config(run: RunDirectory, spec: RunSpec, config: SFTConfig, examples: int) -> TrainerConfig:
    steps = max(math.ceil(math.ceil(examples / config.batch_size) * config.epochs), 1)
    return TrainerConfig(
        output_dir=str(run.path / ".trainer.partial"),
        per_device_train_batch_size=config.batch_size,
        max_steps=steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(config.warmup_ratio * steps),
        max_grad_norm=1.0,
        weight_decay=0.0,
        optim="adamw_torch",
        seed=spec.seed,
        data_seed=spec.seed,
        completion_only_loss=True,
        max_length=None,  # cut by encode_example, from the prompt's left
        packing=False,
        bf16=config.adapters == "full" and loading.compute_dtype() == torch.bfloat16,
        gradient_checkpointing=False,
        use_cpu=loading.device().type == "cpu",
        dataloader_pin_memory=False,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        report_to="none",
        disable_tqdm=True,
    )


class Follower(TrainerCallback):
    """Writes what the trainer does into the run directory."""

    def __init__(self, run: RunDirectory, tokenizer: Any, prompts: list[Any], seed: int, config: SFTConfig) -> None:
        self.run, self.tokenizer, self.seed, self.config = run, tokenizer, seed, config
        distinct = {str(messages): messages for messages in prompts}
        self.prompts = list(distinct.values())[:SAMPLED_PROMPTS]

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.run.progress("Finetuning", state.global_step, state.max_steps)
        if state.global_step == 0:
            self._sample(given["model"], 0)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **given: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise RecipeFailure(
                "not_finite",
                f"The loss was {loss} and the gradient norm {norm} at step {state.global_step}: training diverged.",
                "Lower learning_rate and start a new run.",
            )
        figures = {"loss": loss, "grad_norm": norm, "learning_rate": float(logs["learning_rate"])}
        if "mean_token_accuracy" in logs:
            figures["token_accuracy"] = float(logs["mean_token_accuracy"])
        self.run.log_metrics(state.global_step, **figures)
        self.run.progress("Finetuning", state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step % self.config.sample_every == 0 or state.global_step == state.max_steps:
            self._sample(given["model"], state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """TRL has just written its checkpoint whole: give it the run directory's name, durably."""
        step = state.global_step
        folder = self.run.begin_checkpoint(step)
        folder.rmdir()
        (Path(args.output_dir) / f"checkpoint-{step}").rename(folder)
        self.run.commit_checkpoint(step)

    def _sample(self, model: Any, step: int) -> None:
        """The same prompts with the same seeds each time; the trainer's own generators are not touched."""
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        was_training = inner.training
        inner.eval()
        prompts = [loading.encode_prompt(self.tokenizer, p, self.config.max_length) for p in self.prompts]
        done = sample(
            ModuleDecoder(inner),
            prompts,
            [sequence_seed(self.seed, "sft sample", i) for i in range(len(prompts))],
            Sampling(max_new_tokens=self.config.sample_tokens, temperature=0.7),
            end_ids=loading.eos_token_ids(inner, self.tokenizer),
            pad_id=self.tokenizer.pad_token_id,
            device=inner.device,
        )
        inner.train(was_training)
        for messages, tokens, length in zip(self.prompts, done.tokens.tolist(), done.lengths.tolist(), strict=True):
            text = self.tokenizer.decode(tokens[:length], skip_special_tokens=True)
            self.run.log_sample(step, messages, text)


def step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_warning()
    run_recipe(main)
