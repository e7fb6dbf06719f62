"""Direct preference optimisation with TRL: `python -m training.recipes.dpo RUN_DIR`.

Learns from the decided comparisons of `data/comparisons.jsonl` at once, without a reward model (Rafailov 2023,
2305.18290): the policy's likelihood of the chosen answer, relative to the parent's, is to rise above that of the
rejected one. The parent is the same model with its adapters disabled, or a frozen copy of it when every weight is
trained. Ties make no pair. On held-out prompts the implicit reward is measured against the votes afterwards; before, it
is 0 for every answer. Left out: thumbs and stars (see KTO and the reward model), strength of preference.
"""

from __future__ import annotations

import math
import time
from typing import Any

from datasets import Dataset
from trl import DPOConfig as TrainerConfig
from trl import DPOTrainer

from training.configs import DPOConfig
from training.recipes import preference_data, trl_runs
from training.recipes.entry import config_of, run_recipe
from training.recipes.preference_data import Judgements
from training.recipes.reward_measures import as_rows
from training.rl.sampler import Sampling
from training.run_directory import RecipeFailure, Row, RunDirectory, RunSpec

FEWEST_PAIRS = 8


class Trainer(DPOTrainer):
    def _prepare_dataset(self, dataset: Any, *given: Any, **named: Any) -> Any:
        return dataset  # token ids already, the same ids that the policy meets when it answers


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: DPOConfig = config_of(spec)
    run.progress("Loading the model", 0, 1)
    model, tokenizer = trl_runs.load(spec, config.adapters)
    reference = trl_runs.load(spec, "full")[0] if config.adapters == "full" else None  # to the bit the same function
    data = preference_data.read(run, tokenizer, config, spec.seed)
    rows = examples(data)
    begun = time.monotonic()
    trainer = Trainer(
        model=model,
        ref_model=reference,
        args=trainer_config(run, spec, config, len(rows)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=trl_runs.adapters_for(model, config.adapters, config.lora_rank),
        callbacks=[
            trl_runs.Follower(
                run, tokenizer, [data.messages[i] for i in data.training_pairs()[:, 0]], spec.seed,
                config.sample_every, Sampling(config.sample_tokens, 0.7), config.max_prompt_tokens,
                "Learning from pairs",
            )
        ],
    )  # fmt: skip
    trl_runs.train(trainer, run)
    run.progress("Measuring on held-out prompts", 0, 1)
    model = trainer.model
    assert model is not None
    model.eval()
    figures = preference_data.held_out_figures(model, reference, data, config.beta, tokenizer.pad_token_id, spec.seed)
    run.finish(
        {
            "pairs": len(rows),
            "held_out_pairs": len(data.pairs) - len(rows),
            **trl_runs.save(trainer, tokenizer, run),
            "adapters": config.adapters,
            "held_out": as_rows(figures),
            "verdict": preference_data.verdict(figures),
            "seconds": time.monotonic() - begun,
        }
    )


def examples(data: Judgements) -> list[Row]:
    """One example for each decided comparison on a training prompt. Raises RecipeFailure when there are too few."""
    pairs = data.training_pairs()
    if len(pairs) < FEWEST_PAIRS:
        raise RecipeFailure(
            "too_few_pairs",
            f"There are {len(pairs)} comparisons with a winner to train on; at least {FEWEST_PAIRS} are needed.",
            "Collect more comparisons, then freeze the dataset again; from thumbs alone KTO learns.",
        )
    return [
        {
            "prompt_ids": data.prompts[chosen],
            "chosen_ids": data.completions[chosen],
            "rejected_ids": data.completions[rejected],
        }
        for chosen, rejected in pairs.tolist()
    ]


def trainer_config(run: RunDirectory, spec: RunSpec, config: DPOConfig, count: int) -> TrainerConfig:
    steps = max(math.ceil(math.ceil(count / config.batch_size) * config.epochs), 1)
    return TrainerConfig(
        **trl_runs.arguments(run, spec, config),
        max_steps=steps,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(config.warmup_ratio * steps),
        beta=config.beta,
        loss_type=[config.loss],
        label_smoothing=config.label_smoothing,
        max_length=None,  # cut by preference_data
    )


if __name__ == "__main__":
    run_recipe(main)
