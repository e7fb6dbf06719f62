"""Carry out a TRL trainer as a run: adapters, arguments, progress, checkpoints, the model.

TRL's checkpoints are moved into the run directory's, so that a resume goes on with optimiser, schedule, generators and
place in the data. Sample completions of the same few prompts with the same seeds show what changes.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback

from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec, step_of
from training.recipes.common import chat_samples, children, loading, sharding
from training.recipes.common.children import KeptSteps
from training.recipes.common.features import adapted_layers
from training.recipes.common.fp32_master_weights import trained_parameters
from training.recipes.common.peft_adapters import lora_config
from training.recipes.common.processes import ONE_PROCESS, Processes
from training.recipes.common.steps import peak_memory_gb
from training.rl.sampler import Sampling

SAMPLED_PROMPTS = 4

# What TRL calls its figures, and what they are called here. Others are left out: most are constants.
NAMES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "kl": "kl",
    "reward": "score_mean",
    "reward_std": "score_std",
    "frac_reward_zero_std": "groups_alike",
    "entropy": "entropy",
    "completions/mean_length": "length_mean",
    "completions/clipped_ratio": "cut_share",
    "clip_ratio/region_mean": "clip_frac",
}


def load(spec: RunSpec, adapters: str, *, to_split: bool = False) -> tuple[Any, Any]:
    """Return (model, tokenizer). In float32 where every weight is trained: steps of 1e-4 round away in bfloat16."""
    dtype = torch.float32 if adapters == "full" else None
    model, tokenizer = loading.load_policy(spec.parent, dtype, to_split=to_split)
    # Where every weight is trained, GRPO and RLOO load their reference by this name: the parent, and not its base.
    model.config._name_or_path = spec.parent
    return model, tokenizer


def adapters_for(model: Any, adapters: str, rank: int) -> LoraConfig | None:
    """Return adapters on every layer, or in the top third. None trains it all."""
    if adapters == "full":
        return None
    return lora_config(model, adapted_layers(model, adapters), rank, "CAUSAL_LM")


def load_beginning(spec: RunSpec, adapters: str, described: LoraConfig | None) -> Any:
    """Return what learns in shares as it began, in one piece; `described` are its adapters."""
    whole = load(spec, adapters, to_split=True)[0]
    return whole if described is None else get_peft_model(whole, described)


def arguments(run: RunDirectory, spec: RunSpec, config: Any) -> Row:
    """Return what every trainer's config gets. A batch is cut into micro-batches whose gradients add up to it."""
    micro = config.micro_batch_size or config.batch_size
    return {
        "output_dir": str(run.path / ".trainer.partial"),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": config.batch_size // micro,
        "learning_rate": config.rate,
        "max_grad_norm": config.max_grad_norm,
        "weight_decay": 0.0,
        "optim": "adamw_torch",
        "seed": spec.seed % 2**32,
        "data_seed": spec.seed % 2**32,
        "bf16": config.adapters == "full" and loading.compute_dtype() == torch.bfloat16,
        "gradient_checkpointing": getattr(config, "activation_checkpointing", "off") == "on",
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "use_cpu": loading.device().type == "cpu",
        "dataloader_pin_memory": False,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": config.checkpoint_every,
        "report_to": "none",
        "disable_tqdm": True,
        "disable_dropout": True,
    }


@dataclass
class Follower(TrainerCallback):
    """Write what the trainer does into the run directory; `extra` gives further figures of the step that is logged.

    Of several processes each has one, and a trainer that keeps checkpoints by itself (`shared_trainer`).
    """

    run: RunDirectory
    tokenizer: Any
    prompts: list[Any]
    seed: int
    sample_every: int
    sampling: Sampling
    max_prompt_tokens: int
    phase: str
    kept: KeptSteps
    load_whole: Callable[[], Any]  # what learns in shares as it began, in one piece
    extra: Callable[[], dict[str, float]] = dict
    together: Processes = ONE_PROCESS
    score: chat_samples.Score | None = None  # of the samples
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        distinct = {str(messages): messages for messages in self.prompts}
        self.prompts = list(distinct.values())[:SAMPLED_PROMPTS]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.run.progress(self.phase, state.global_step, state.max_steps)
        if state.global_step == 0:
            self._sample(kwargs["model"], 0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise RecipeFailure(
                "not_finite",
                f"The loss was {loss} and the gradient norm {norm} at step {state.global_step}: training diverged.",
                "Queue it again with a lower learning_rate.",
            )
        figures = {name: float(logs[trl_name]) for trl_name, name in NAMES.items() if trl_name in logs}
        self.run.log_metrics(
            state.global_step, **figures, **self.extra(), seconds=time.monotonic() - self.started,
            peak_memory_gb=peak_memory_gb(loading.device()),
        )  # fmt: skip
        self.run.progress(self.phase, state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.sample_every == 0 or state.global_step == state.max_steps:
            self._sample(kwargs["model"], state.global_step)
        self.kept.note(state.global_step, lambda: whole_model(kwargs["model"], self.load_whole, self.together))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Rename the checkpoint durably to the run directory's name; TRL has just written it whole."""
        step = state.global_step
        written = Path(args.output_dir) / f"checkpoint-{step}"
        if not written.exists():
            return
        folder = self.run.begin_checkpoint(step)
        folder.rmdir()
        written.rename(folder)
        self.run.commit_checkpoint(step)

    def _sample(self, model: Any, step: int) -> None:
        """Log answers to the same prompts with the same seeds each time; the trainer's own generators are not
        touched."""
        if not (self.together.is_first or self.together.is_sharded):
            return
        is_whole = not sharding.is_sharded(model)  # a split model runs as the whole that was split
        inner = model.get_base_model() if is_whole and hasattr(model, "get_base_model") else model
        chat_samples.log_answers(
            self.run, inner, self.tokenizer, self.prompts, step=step, seeds=(self.seed, "sample"),
            sampling=self.sampling, max_prompt_tokens=self.max_prompt_tokens, score=self.score,
        )  # fmt: skip


def whole_model(model: Any, load_whole: Callable[[], Any], together: Processes) -> sharding.Trained:
    """Return what learns, whole, on the first process at least; where it is split, `load_whole` gives its beginning."""
    learnt: dict[str, torch.Tensor] = {**trained_parameters(model)}
    return sharding.Trained(sharding.trained(model, learnt, load_whole, is_first=together.is_first).model, {})


def train(trainer: Any, run: RunDirectory, together: Processes = ONE_PROCESS) -> None:
    """Train from the last checkpoint, if there is one, to the end."""
    transformers.utils.logging.set_verbosity_warning()
    trainer.remove_callback(transformers.PrinterCallback)
    resumed = run.latest_checkpoint()
    together.wait()  # nobody writes a checkpoint before everybody has looked for one
    run.truncate_logs(step_of(resumed) if resumed else -1)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)


def save(
    trainer: Any, tokenizer: Any, run: RunDirectory, spec: RunSpec, sequences: Iterable[Sequence[int]],
    together: Processes, follower: Follower,
) -> tuple[Any, Row]:  # fmt: skip
    """Write the model: (it, as it was loaded back, in shares where it was; facts for result.json).

    The facts: first and last loss of all attempts, steps, the hash of the weights, and how near the saved model is to
    the trained one (`children`), on the token ids of these sequences.
    """
    run.progress("Saving", 0, 1)
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # no autocast: as it is sampled
    trained.eval()
    whole = whole_model(trained, follower.load_whole, together).model
    saved = None
    if together.is_first:
        saved = children.save_child(spec.parent, whole.eval(), tokenizer, run.begin_model(), sequences)
        run.commit_model()
        shutil.rmtree(str(trainer.args.output_dir), ignore_errors=True)
    together.wait()
    child = saved.model if saved else loading.load_policy(run.model, trained.dtype, to_split=together.is_sharded)[0]
    if together.is_sharded:
        sharding.shard(child)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    facts = {
        "steps": trainer.state.global_step,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "hash": loading.weights_hash(run.model),
        **(saved.facts() if saved else {}),
        **(follower.kept.facts() if saved else {}),
    }
    return child, facts
