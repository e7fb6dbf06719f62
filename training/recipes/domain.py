"""Finetune a policy for a domain: `python -m training.recipes.domain RUN_DIR`.

The model goes on learning to predict the next token, on the texts of one field or one author (Gururangan 2020, "Don't
stop pretraining", 2004.10964): rows, loss and loop are those of pretraining (`learning`). LoRA adapters on all layers
or the top third, float32 over the frozen model, kept beside it at the end; or every weight, with float32 masters.

Perplexity on the corpus' held-out texts is measured before the first step, on the way, and on what was saved. A second
dataset, where one is given, is replayed: a share of the rows comes from it, so that what the model could before is
rehearsed (Ibrahim 2024, 2403.08763). Texts are separated by <|endoftext|> where the tokenizer has it, as in
pretraining, and not by the token that ends an answer. Left out: a new vocabulary, and the data of pretraining itself.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers

from training.configs import DomainConfig
from training.core import batch_planner, resource_estimate
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common import children, loading, sharding
from training.recipes.common.children import KeptSteps
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.common.features import adapted_layers
from training.recipes.common.memory import check_disk, does_not_fit, memory_around
from training.recipes.common.processes import Processes, directory_of, join
from training.recipes.pretrain import architectures, text_samples
from training.recipes.pretrain import held_out_loss as held_out
from training.recipes.pretrain.learner import Learner
from training.recipes.pretrain.learning import Standing, learn, steps_of
from training.recipes.pretrain.objectives import Vocabulary, objective_named
from training.recipes.pretrain.text_rows import TextRows, validation_rows
from training.recipes.pretrain.tokenized_corpus import Corpus, read_corpus
from training.rl.lora import add_adapters


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: DomainConfig = config_of(spec)
    together = join(sharding=config.sharding, batch_size=config.batch_size)
    run = directory_of(run, together)
    run.progress("Loading the model", 0, 1)
    dtype = loading.compute_dtype() if config.dtype == "auto" else getattr(torch, config.dtype)
    model, tokenizer = loading.load_policy(
        spec.parent, torch.float32 if config.adapters == "full" else dtype, to_split=together.is_sharded
    )
    check_context(model, config)
    loading.require_readable_logits(model)
    vocabulary = Vocabulary.of(tokenizer, "causal")
    corpus = read_corpus(
        run, tokenizer, together, end=vocabulary.end, length=config.context_length,
        validation_tokens=config.validation_tokens,
    )  # fmt: skip
    choose_weights(model, config, spec.seed)
    learner = prepare(run, spec, config, model, tokenizer, vocabulary, corpus, dtype, together)
    write = children.child_writer(spec.parent, tokenizer)
    kept = KeptSteps(run, together, write, config.kept_checkpoints, learner.total_steps)

    def keep(step: int) -> None:
        with architectures.unpacked(model):
            kept.note(step, lambda: whole_model(spec, config, learner))

    learner.keep = keep
    standing = learn(learner)
    run.progress("Saving", 0, 1)
    trained = whole_model(spec, config, learner)
    facts: Row = {}
    if together.is_first:
        rows = [[int(token) for token in row] for row in learner.validation[: children.SEQUENCES]]
        with architectures.unpacked(trained.model):
            saved = children.save_child(spec.parent, trained.model, tokenizer, run.begin_model(), rows, trained.weights)
        run.commit_model()
        facts = saved.facts() | kept.facts()
    together.wait()
    run.progress("Measuring what was saved", 0, 1)
    child = saved.model if facts else loading.load_policy(run.model, dtype, to_split=together.is_sharded)[0]
    learner.model = architectures.pack(child)
    if together.is_sharded:
        sharding.shard(child)
    standing.last_validation = held_out.validate(learner)
    if together.is_first:
        finish(run, config, learner, standing, facts)
    together.wait()
    together.leave()


def check_context(model: Any, config: DomainConfig) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit and config.context_length > limit:
        raise RecipeFailure(
            "context_too_long",
            f"The model has {limit} positions, but context_length is {config.context_length}.",
            f"Queue it again with context_length at most {limit}.",
            {"context_length": limit},
        )


def whole_model(spec: RunSpec, config: DomainConfig, learner: Learner) -> sharding.Trained:
    """Return what has learnt, to be saved: on the first process, where the processes hold shares."""
    is_full = config.adapters == "full"  # in float32 an adapter of the parent is one with its base

    def load() -> Any:
        model = loading.load_policy(spec.parent, torch.float32 if is_full else learner.dtype, to_split=True)[0]
        choose_weights(model, config, spec.seed)
        return architectures.pack(model)

    rounded, is_first = learner.dtype if is_full else None, learner.together.is_first
    return sharding.trained(learner.model, learner.masters, load, is_first=is_first, dtype=rounded)


def choose_weights(model: Any, config: DomainConfig, seed: int) -> None:
    """Give gradients to what learns: every weight, or adapters on the layers that were chosen."""
    if config.adapters == "full":
        model.requires_grad_(True)
        return
    model.requires_grad_(False)
    chosen = torch.nn.ModuleList(adapted_layers(model, config.adapters))
    add_adapters(chosen, config.lora_rank, 2.0 * config.lora_rank, seed)


def prepare(
    run: RunDirectory,
    spec: RunSpec,
    config: DomainConfig,
    model: Any,
    tokenizer: Any,
    vocabulary: Vocabulary,
    corpus: Corpus,
    dtype: torch.dtype,
    together: Processes,
) -> Learner:
    plan = together.first_then_all(
        lambda: batch_planner.remembered(run.path, "rows", lambda: plan_of(run, config, model, dtype, together))
    )
    if plan["checkpointing"]:
        model.activation_checkpointing_enable()
        model.enable_input_require_grads()  # frozen embeddings: else nothing says that the layers need gradients
    if together.is_sharded:
        sharding.shard(model, dtype if config.adapters == "full" else None)
    rows = TextRows(corpus.train, config.context_length, spec.seed, corpus.replay, config.replay_share)
    starts = text_samples.beginnings(corpus.held_out.ids, vocabulary.end)

    def sample(step: int) -> None:
        if together.is_first or together.is_sharded:
            text_samples.log_samples(
                run, model, tokenizer, starts, step=step, seed=spec.seed, tokens=config.sample_tokens
            )

    objective = objective_named("causal", vocabulary)
    return Learner(
        run=run,
        config=config,
        model=architectures.pack(model).train(),
        objective=objective,
        validators={"causal": objective},
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


def plan_of(
    run: RunDirectory, config: DomainConfig, model: Any, dtype: torch.dtype, together: Processes
) -> dict[str, Any]:
    """Return the rows at once, and whether activations are computed twice. Raises RecipeFailure when one row does not
    fit."""
    total = loading.count_parameters(model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # Full weights are saved in float32 where bfloat16 would not keep the update; of adapters, the adapters alone.
    check_disk(run.path, trained=trained, model_bytes=4 * (total if config.adapters == "full" else trained))
    try:
        plan = resource_estimate.plan(
            resource_estimate.shape_of_config(model.config, parameters=total, trained=trained),
            length=config.context_length,
            batch=-(-config.batch_size // together.count),
            available=memory_around(model, together.count),
            is_bfloat16=dtype == torch.bfloat16,
            device=loading.device().type,
            rows=config.micro_batch_size,
            checkpointing={"on": True, "off": False}.get(config.activation_checkpointing),
            shares=together.shares,
        )
    except resource_estimate.DoesNotFit as error:
        raise does_not_fit("Training this model", error) from error
    return {"rows": plan.rows, "checkpointing": plan.checkpointing}


def finish(run: RunDirectory, config: DomainConfig, learner: Learner, standing: Standing, facts: Row) -> None:
    before, after = standing.first_validation or {}, standing.last_validation or {}
    run.finish(
        {
            "adapters": config.adapters,
            "corpus_documents": learner.rows.file.counts.documents,
            "corpus_tokens": learner.rows.file.counts.tokens,
            "replayed_share": config.replay_share if learner.rows.replay is not None else 0.0,
            "tokens": standing.tokens,
            "steps": standing.step,
            "first_loss": standing.first_loss,
            "last_loss": standing.last_loss,
            **{f"{name}_before": value for name, value in before.items()},
            **after,
            "tokens_per_second": standing.tokens / max(standing.seconds, 1e-9),
            "hash": loading.weights_hash(run.model),
            **facts,
            "seconds": standing.seconds,
        }
    )


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    run_recipe(main)
