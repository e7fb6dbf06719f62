"""Learn one scalar score from thumbs, stars and pairs together: `python -m training.recipes.reward RUN_DIR`.

1. Count what the annotations tell, and refuse in words when they are too few (`annotate.data.datasets.preferences`).
2. Split by prompt: a share is held out and looked at at the end alone; nothing before is chosen by it.
3. Forward every judged completion once through the parent model and pool its hidden states (`reward_forwards`). This is
   what takes time; what is pooled is kept in the checkpoints.
4. head: choose layers and penalty by cross-validation on the training prompts (`reward_choice`), and how much judges
   differ (`reward_judges`), then one fit (`head_fit`) of the joint likelihood (`feedback_likelihood`).
   finetune: start from that head and train the trunk too (`reward_finetune`).
   auto: head alone below `finetune_from` annotations, else both, and held-out accuracy chooses: of two, and only when
   the difference is beyond one standard error, so that the winner's figure is flattered by little.
5. A head for each aspect that enough was said of, on the same features (`reward_aspects`).
6. A second head on the held-out annotations, which watches while a policy follows the first (`reward_gold`).
7. Measure on the held-out prompts (`reward_measures`, `reward_evidence`), beside always preferring the longer answer;
   and what pairs, ratings, and fewer annotations would have given (`reward_studies`).

The head that is saved is the one that was measured: it is not refitted on the held-out prompts.
Several processes share the forwards and the steps of finetuning; what is computed of pooled features, the first alone.
Left out: ensembles, tastes that differ between annotators.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import torch

from training.configs import RewardConfig
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import loading, sharding
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.common.processes import directory_of, join
from training.recipes.reward import ablations as reward_studies
from training.recipes.reward import annotator_effects, head_fit, reward_report
from training.recipes.reward import aspect_heads as reward_aspects
from training.recipes.reward import feature_choice as reward_choice
from training.recipes.reward import feedback_rows as reward_data
from training.recipes.reward import finetuning as reward_finetune
from training.recipes.reward import gold_head as reward_gold
from training.recipes.reward import pooled_forwards as reward_forwards
from training.recipes.reward.annotator_effects import Trial
from training.recipes.reward.aspect_heads import Aspect
from training.recipes.reward.designs.design import Design
from training.recipes.reward.feature_choice import Pooled
from training.recipes.reward.feedback_likelihood import Priors
from training.recipes.reward.head_fit import Head
from training.recipes.reward.reward_model import RewardModel


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: RewardConfig = config_of(spec)
    together = join(sharding=config.sharding, batch_size=config.batch_size)
    run = directory_of(run, together)
    run.progress("Counting informative annotations", 0, 1)
    feedback = reward_data.read_feedback(run)
    print(feedback.informativeness.sentence)
    prompts = feedback.prompts
    training = reward_data.split(feedback, config.held_out, spec.seed)
    folds = reward_choice.training_folds(prompts, training, spec.seed)

    run.progress("Loading the model", 0, 1)
    trunk, tokenizer = loading.load_policy(
        spec.parent, reward_finetune.trunk_dtype(spec, config), to_split=together.is_sharded
    )
    if together.is_sharded:
        sharding.shard(trunk)
    sequences = together.first_then_all(lambda: reward_data.encode(run, feedback, tokenizer, config))
    sets = reward_forwards.feature_sets(trunk.config.num_hidden_layers, config.features)
    every = tuple(dict.fromkeys(feature for features in sets for feature in features))
    started = time.monotonic()
    values, step = reward_forwards.pooled_features(
        run, trunk, sequences, every, config.batch_size, tokenizer.pad_token_id, together
    )
    pooled, forwarded = Pooled(values, every, trunk.config.hidden_size), time.monotonic()

    observed = reward_data.without_empty(feedback.observed, sequences)
    candidates = together.from_first(
        lambda: reward_choice.choose_features(run, pooled, observed, feedback, training, folds, sets, step)
    )
    best = min(candidates, key=lambda c: c.nll)
    run.progress("Comparing the annotators", 0, 1)
    annotations = observed.among(training)
    if together.is_first:  # what is computed of pooled features is its alone
        x = pooled.of(best.features)
        design = pooled.design_of(best.features, torch.nonzero(training)[:, 0])

    def fit_head() -> tuple[Priors, list[Trial], Head]:
        priors, trials = annotator_effects.choose_priors(design, observed, prompts, folds, best.ridge)
        run.progress("Testing whether the annotations follow anything", 0, 1)
        reward_choice.refuse_what_follows_nothing(design, observed, feedback, folds, best, priors, spec.seed)
        run.progress("Fitting the head", 0, 1)
        return priors, trials, head_fit.fit(design, annotations, best.ridge, priors=priors)

    priors, trials, head = together.from_first(fit_head)
    seconds = time.monotonic() - forwarded
    tuned = None
    if config.wants_finetuning(feedback.feedback_count):
        trunk = reward_finetune.learning_trunk(trunk, best.features, config, spec, together)
        tuned = reward_finetune.finetune(
            run, trunk, sequences, observed, training, head, best, priors, config, spec, tokenizer,
            together.from_first(lambda: begin_trunk(run)), step + len(candidates), together,
        )  # fmt: skip
    together.leave()
    if not together.is_first:
        return
    run.progress("Measuring on held-out prompts", 0, 1)
    common = (best.features, observed, feedback, training, spec, config)
    fitted, fidelity = [reward_report.assess("head", head, x, *common, seconds)], {}
    if tuned is not None:
        fidelity = tuned.facts
        fitted.append(reward_report.assess("finetune", tuned.head, tuned.pooled, *common, tuned.seconds))
    judges = annotator_effects.annotators(design, annotations, head, best.ridge, priors)
    winner, reason = reward_report.choose(fitted, config, feedback.feedback_count)

    study = (prompts, training, folds)
    run.progress("Learning the second head", 0, 1)
    aspect_design = design if winner is fitted[0] else Design.of(winner.pooled, torch.nonzero(training)[:, 0])
    gold = reward_gold.learn(winner.pooled, winner.scores, observed, prompts, training, best.ridge, priors, spec.seed)
    reward_gold.keep(winner.model, gold, winner.pooled, training)
    run.progress("Learning the aspects", 0, 1)
    aspect_annotations = {name: reward_data.without_empty(o, sequences) for name, o in feedback.aspects.items()}
    aspects = reward_aspects.learn(aspect_design, aspect_annotations, *study, spec.seed)
    save(run, winner.model, aspects, spec)
    run.progress("Measuring the value of each part", 0, 1)
    shares = (design, observed, *study, fitted[0].scores, spec.seed)
    annotator_effects.write_authors(run, judges)
    longer = reward_report.longer_answer(sequences, observed, feedback, training, spec.seed)
    run.finish(
        reward_report.report(winner, reason, fitted, longer, feedback, training, sequences)
        | {
            "candidates": reward_choice.table(candidates),
            "judges": {
                "shift": priors.shift,
                "reliability": priors.reliability,
                "trials": [trial.__dict__ for trial in trials],
                "rows": annotator_effects.as_rows(judges),
            },
            "aspects": reward_aspects.as_rows(aspects),
            "gold_proxy": reward_gold.as_row(gold),
            "ablation": reward_studies.ablation(*shares),
            **(fidelity if winner.model.method == "finetune" else {}),
            "curve": reward_studies.learning_curve(*shares) if config.curve else [],
            "seconds": {"forward": forwarded - started, **{f.model.method: f.seconds for f in fitted}},
        }
    )


def begin_trunk(run: RunDirectory) -> Path:
    """Return where a finetuned trunk waits until it is chosen: as deep as it will lie, since it names its base from
    there."""
    shutil.rmtree(run.path / ".trunk.partial", ignore_errors=True)
    return run.path / ".trunk.partial" / "trunk"


def save(run: RunDirectory, model: RewardModel, aspects: list[Aspect], spec: RunSpec) -> None:
    run.progress("Saving", 0, 1)
    folder = run.begin_model()
    if model.method == "finetune":
        (run.path / ".trunk.partial" / "trunk").rename(folder / "trunk")
        model.trunk_hash = loading.weights_hash(folder / "trunk")
    else:
        # As seen from the reward model, so that both may move together; the absolute place is a second chance.
        model.trunk_folder = os.path.relpath(Path(spec.parent).resolve(), run.model.resolve())
        model.trunk_was = str(Path(spec.parent).resolve())
    model.keep_aspects({a.name: (a.weight, a.bias) for a in aspects if a.weight is not None})
    model.save(folder)
    run.commit_model()
    shutil.rmtree(run.path / ".trunk.partial", ignore_errors=True)
    run.progress("Saving", 1, 1)


if __name__ == "__main__":
    run_recipe(main)
