"""Pretrain a model from nothing: `python -m training.recipes.pretrain RUN_DIR`.

    1. tokens      the corpus as token ids in a mapped file (`token_files`), once
    2. rows        documents packed into rows that do not see each other (`packing`), in a shuffled order
    3. objective   next token, masked tokens, missing spans, or a mixture (`objectives`)
    4. model       Llama, ModernBERT or T5 of the chosen size (`configs.presets`, `architectures`)
    5. learning    AdamW on float32 masters, warm-up and cosine or WSD, clipped gradients (`learning`)

The parent is a tokenizer; a causal model becomes a policy, a masked one an encoder, a span one a seq2seq. Every draw
depends on the run's seed and the row's number, so that a run that is killed and resumed ends with the same weights
(bitwise on a processor). With `processes` above 1, `accelerate launch` starts this module so many times, and each takes
its share of every step's rows, and of the weights, too, with `sharding` full. Left out: dropout, curricula.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import transformers

from training.configs import PretrainConfig
from training.configs.presets import PRESETS
from training.core import batch_planner, resource_estimate
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common import loading, sharding
from training.recipes.common.children import KeptSteps
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.common.memory import available_memory, check_disk, does_not_fit, machine_name
from training.recipes.common.processes import Processes, directory_of, join
from training.recipes.pretrain import architectures, text_samples, token_files
from training.recipes.pretrain import held_out_loss as held_out
from training.recipes.pretrain.learner import Learner
from training.recipes.pretrain.learning import Standing, learn, steps_of
from training.recipes.pretrain.objectives import Objective, Vocabulary, objective_named
from training.recipes.pretrain.text_rows import TextRows, validation_rows
from training.recipes.pretrain.tokenized_corpus import read_corpus


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: PretrainConfig = config_of(spec)
    together = join(sharding=config.sharding, batch_size=config.batch_size)
    run = directory_of(run, together)
    learner, tokenizer = prepare(run, spec, config, together)
    kept = KeptSteps(run, together, writer(config, tokenizer), config.kept_checkpoints, learner.total_steps)
    learner.keep = lambda step: kept.note(step, lambda: whole_model(learner, tokenizer))
    standing = learn(learner)
    run.progress("Saving", 0, 1)
    trained = whole_model(learner, tokenizer)
    if together.is_first:
        kept.write(trained, run.begin_model())
        run.commit_model()
    round_as_saved(learner.model)
    standing.last_validation = held_out.validate(learner)
    if together.is_first:
        finish(run, config, learner, standing, kept.facts())
    together.wait()
    together.leave()


def prepare(run: RunDirectory, spec: RunSpec, config: PretrainConfig, together: Processes) -> tuple[Learner, Any]:
    tokenizer = load_tokenizer(spec.parent)
    vocabulary = Vocabulary.of(tokenizer, config.objective)
    _check_sentinels(config, vocabulary)
    corpus = read_corpus(
        run, tokenizer, together, end=vocabulary.end, length=config.context_length,
        validation_tokens=config.validation_tokens,
    )  # fmt: skip
    token_files.check_tokenizer(corpus.train, len(tokenizer))
    dtype = compute_dtype(config.dtype)
    plan = together.from_first(
        lambda: batch_planner.remembered(
            run.path, "rows", lambda: plan_of(run, config, len(tokenizer), dtype, together)
        )
    )
    torch.manual_seed(spec.seed)
    model = architectures.build(PRESETS[config.size], config.objective, tokenizer, config.context_length)
    if plan["checkpointing"]:
        model.activation_checkpointing_enable()
    if together.is_sharded:
        sharding.shard(model, dtype)
    else:
        model.to(loading.device())
    rows = TextRows(corpus.train, config.context_length, spec.seed)
    starts = text_samples.beginnings(corpus.held_out.ids, vocabulary.end)
    writes = architectures.MODEL_KINDS[config.objective] == "policy" and (together.is_first or together.is_sharded)

    def sample(step: int) -> None:
        if writes:
            text_samples.log_samples(
                run, model, tokenizer, starts, step=step, seed=spec.seed, tokens=config.sample_tokens
            )

    objective = objective_of(config, vocabulary, config.causal_probability)
    learner = Learner(
        run=run,
        config=config,
        model=model,
        objective=objective,
        validators=validators(config, vocabulary, objective),
        rows=rows,
        validation=validation_rows(corpus.held_out, config.context_length, vocabulary.end),
        validation_bytes_per_token=corpus.held_out.bytes_per_token,
        total_steps=steps_of(config, rows),
        micro_batch=plan["rows"],
        dtype=dtype,
        device=loading.device(),
        together=together,
        sample=sample,
    )
    return learner, tokenizer


def objective_of(config: PretrainConfig, vocabulary: Vocabulary, causal_probability: float) -> Objective:
    return objective_named(
        config.objective,
        vocabulary,
        hidden_share=config.hidden_share,
        mask_style=config.mask_style,
        mean_span=config.mean_span,
        causal_probability=causal_probability,
    )


def validators(config: PretrainConfig, vocabulary: Vocabulary, objective: Objective) -> dict[str, Objective]:
    """Return the validators: a mixture is validated on all rows by each of its two, so that its figures compare with a
    causal model's."""
    if config.objective != "mixture":
        return {config.objective: objective}
    return {"causal": objective_of(config, vocabulary, 1.0), "masked": objective_of(config, vocabulary, 0.0)}


def load_tokenizer(folder: str) -> Any:
    if not Path(folder).is_dir():
        raise RecipeFailure(
            "tokenizer_missing",
            f"There is no tokenizer in {folder}.",
            "Choose another tokenizer, or train one on this corpus.",
        )
    try:
        return loading.load_tokenizer(folder)
    except (OSError, ValueError) as error:
        raise RecipeFailure(
            "tokenizer_unreadable",
            f"The tokenizer in {folder} cannot be loaded: {error}",
            "Choose another tokenizer, or train one on this corpus.",
        ) from error


def compute_dtype(named: str) -> torch.dtype:
    return loading.compute_dtype() if named == "auto" else getattr(torch, named)


def plan_of(
    run: RunDirectory, config: PretrainConfig, vocabulary: int, dtype: torch.dtype, together: Processes
) -> dict[str, Any]:
    """Return rows at once and whether activations are computed twice. Raises RecipeFailure when not even one row
    fits."""
    shape = resource_estimate.shape_of(PRESETS[config.size], vocabulary, config.objective)
    check_disk(run.path, trained=shape.parameters, model_bytes=2 * shape.parameters)

    def plan_for(size: str) -> resource_estimate.Plan:
        return resource_estimate.plan(
            resource_estimate.shape_of(PRESETS[size], vocabulary, config.objective),
            length=config.context_length,
            batch=-(-config.batch_size // together.count),
            available=available_memory(together.count),
            is_bfloat16=dtype == torch.bfloat16,
            device=loading.device().type,
            rows=config.micro_batch_size,
            checkpointing={"on": True, "off": False}.get(config.activation_checkpointing),
            shares=together.shares,
        )

    try:
        plan = plan_for(config.size)
    except resource_estimate.DoesNotFit as error:
        fitting = largest_below(config.size, plan_for)
        raise does_not_fit(f"A model of size {config.size}", error, {"size": fitting} if fitting else None) from error
    return {"rows": plan.rows, "checkpointing": plan.checkpointing}


def largest_below(size: str, plan_for: Callable[[str], resource_estimate.Plan]) -> str | None:
    """Return the largest preset under `size` that fits; None when none does."""
    names = list(PRESETS)
    for smaller in reversed(names[: names.index(size)]):
        with suppress(resource_estimate.DoesNotFit):
            plan_for(smaller)
            return smaller
    return None


def writer(config: PretrainConfig, tokenizer: Any) -> Callable[[sharding.Trained, Path], None]:
    """Return what writes a model: a policy as every other; an encoder or seq2seq as transformers' Auto classes load
    it."""
    tokenizer.model_max_length = config.context_length
    is_policy = architectures.MODEL_KINDS[config.objective] == "policy"
    save = loading.save_policy if is_policy else loading.save_weights
    return lambda trained, folder: save(trained.model, tokenizer, folder)


def whole_model(learner: Learner, tokenizer: Any) -> sharding.Trained:
    """Return the model to be saved: the one that learnt, or on the first process a whole one of the processes'
    shares."""
    config = learner.config

    def build() -> Any:
        return architectures.build(PRESETS[config.size], config.objective, tokenizer, config.context_length)

    return sharding.trained(learner.model, learner.masters, build, is_first=learner.together.is_first)


@torch.no_grad()
def round_as_saved(model: Any) -> None:
    """Give a model in float32 the weights of its file, which are in bfloat16: it is measured as it was saved."""
    for parameter in map(sharding.local, model.parameters()):
        parameter.copy_(parameter.to(torch.bfloat16))


def finish(run: RunDirectory, config: PretrainConfig, learner: Learner, standing: Standing, kept: Row) -> None:
    train = learner.rows.file.counts
    before, after = standing.first_validation or {}, standing.last_validation or {}
    run.finish(
        {
            "model_kind": architectures.MODEL_KINDS[config.objective],
            "parameters": loading.count_parameters(learner.model),
            "objective": config.objective,
            "corpus_documents": train.documents,
            "corpus_tokens": train.tokens,
            "vocabulary_used": train.used,
            "tokens": standing.tokens,
            "steps": standing.step,
            "first_loss": standing.first_loss,
            "last_loss": standing.last_loss,
            **after,
            "validation_loss_before": before.get("validation_loss"),
            "micro_batch": learner.micro_batch,
            "tokens_per_second": standing.tokens / max(standing.seconds, 1e-9),
            "machine": machine_name(learner.together.count),
            "hash": loading.weights_hash(run.model),
            "seconds": standing.seconds,
            **kept,
        }
    )


def _check_sentinels(config: PretrainConfig, vocabulary: Vocabulary) -> None:
    if config.objective != "span":
        return
    most = round(config.context_length * config.hidden_share / config.mean_span)
    if most > len(vocabulary.sentinels):
        raise RecipeFailure(
            "context_too_long",
            f"A row of {config.context_length} tokens can have {most} missing spans, but the tokenizer has "
            f"{len(vocabulary.sentinels)} sentinels.",
            "Choose a shorter context_length, a lower mask_rate or a longer mean_span.",
        )


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    run_recipe(main)
