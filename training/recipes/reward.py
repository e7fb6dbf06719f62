"""Learn one scalar score from thumbs, stars and pairs together: `python -m training.recipes.reward RUN_DIR`.

1. Count what the judgements tell, and refuse in words when they are too few (`annotate.preferences`).
2. Split by prompt: a share is held out and looked at once, at the end.
3. Forward every judged completion once through the parent model and pool its hidden states (`features`). This is what
   takes time; what is pooled is kept in the checkpoints.
4. head: choose layers and penalty by cross-validation on the training prompts, then one convex fit (`head_fit`) of the
   joint likelihood (`feedback_likelihood`). finetune: start from that head and train the trunk too (`reward_finetune`).
   auto: head alone below `finetune_from` judgements, else both, and held-out accuracy chooses.
5. Measure on the held-out prompts (`reward_measures`), beside always preferring the longer answer.

The model that is saved is the one that was measured: it is not refitted on the held-out prompts.
Left out: a judge's own noise level, ensembles.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from annotate import preferences
from training.configs import RewardConfig
from training.recipes import features as seen
from training.recipes import feedback_likelihood as likelihood
from training.recipes import head_fit, loading, reward_finetune, reward_measures
from training.recipes.entry import config_of, run_recipe
from training.recipes.feedback_likelihood import Observations
from training.recipes.head_fit import Candidate, Head
from training.recipes.reward_finetune import Sequences
from training.recipes.reward_measures import Estimate, Judged
from training.recipes.reward_model import RewardModel
from training.run_directory import RecipeFailure, Row, RunDirectory, RunSpec

CHECKPOINT_EVERY = 8  # batches of the feature forwards
FOLDS = 5
CHANCE = {"pair_accuracy": 0.5, "thumbs_auc": 0.5, "stars_spearman": 0.0}


@dataclass(frozen=True)
class Feedback:
    completions: list[Row]  # those that were judged
    prompts: Tensor  # (N,) the prompt of each
    observed: Observations
    tells: preferences.Tells
    given: int  # comparisons and ratings as people gave them: thumbs and stars for one answer are one


@dataclass(frozen=True)
class Fitted:
    """A reward model with its held-out figures."""

    model: RewardModel
    figures: dict[str, Estimate | None]
    calibration: dict[str, Any]
    tie_parameter: float
    seconds: float


def headline(figures: dict[str, Estimate | None]) -> tuple[str, Estimate] | None:
    """The figure that rests on most judgements (pairs first): it decides between models and against chance."""
    known = [(name, e) for name, e in figures.items() if e is not None]
    return max(known, key=lambda pair: pair[1].n, default=None)


def beats_chance(figures: dict[str, Estimate | None]) -> bool:
    """One figure decides and not any of them: with three, one is above chance by luck often enough."""
    found = headline(figures)
    return found is not None and found[1].lower > CHANCE[found[0]]


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: RewardConfig = config_of(spec)
    run.progress("Counting what the judgements tell", 0, 1)
    feedback = read_feedback(run)
    print(feedback.tells.sentence)
    training = training_rows(feedback.prompts, config.held_out, spec.seed)

    run.progress("Loading the model", 0, 1)
    trunk, tokenizer = loading.load_policy(spec.parent)
    sequences = encode(feedback, tokenizer, config)
    sets = feature_sets(trunk.config.num_hidden_layers)
    every = tuple(dict.fromkeys(feature for features in sets for feature in features))
    begun = time.monotonic()
    pooled, step = pooled_features(run, trunk, sequences, every, config.batch_size, tokenizer.pad_token_id)
    forward_seconds = time.monotonic() - begun

    begun = time.monotonic()
    observed = without_empty(feedback.observed, sequences)
    width = trunk.config.hidden_size
    candidates = choose_features(run, pooled, observed, feedback.prompts, training, every, sets, width, spec.seed, step)
    best = min(candidates, key=lambda c: c.nll)
    x = pooled[:, head_fit.columns(best.features, every, width)]
    refuse_what_follows_nothing(x, observed, feedback, training, best, spec.seed)
    with head_fit.one_thread():
        head = head_fit.fit(head_fit.Design.of(x, torch.nonzero(training)[:, 0]), observed.among(training), best.ridge)
    seconds = time.monotonic() - begun
    fitted = [assess("head", head, head.scores(x), best, observed, feedback, training, spec, config, seconds)]
    if wants_finetuning(config, feedback.given):
        tuned = reward_finetune.finetune(
            run, trunk, sequences, observed, training, head, best, config, spec.seed, tokenizer.pad_token_id,
            first_step=step + len(candidates),
        )  # fmt: skip
        fitted.append(
            assess(
                "finetune", tuned.head, tuned.scores, best, observed, feedback, training, spec, config, tuned.seconds
            )
        )
    winner, why = choose(fitted, config, feedback.given)
    save(run, winner.model, trunk, tokenizer)
    lengths = np.array([len(c) for c in sequences.completions], dtype=np.float64)
    longer = measure(lengths, observed, feedback, training, spec.seed)
    run.finish(
        report(winner, why, fitted, candidates, longer, feedback, training, sequences)
        | {"seconds": {"forward": forward_seconds, **{f.model.method: f.seconds for f in fitted}}}
    )


def read_feedback(run: RunDirectory) -> Feedback:
    """The judged completions. Raises RecipeFailure when rows are wrong or tell too little."""
    try:
        comparisons = preferences.comparisons_from(run.rows("comparisons"))
        ratings = [
            r for r in preferences.ratings_from(run.rows("ratings")) if r.thumbs is not None or r.stars is not None
        ]
    except (ValueError, KeyError) as error:
        raise RecipeFailure(
            "bad_data", f"The judgements cannot be read: {error}", "Freeze the dataset again."
        ) from error
    judged = {c for x in comparisons for c in (x.completion_a, x.completion_b)} | {r.completion for r in ratings}
    rows = [row for row in run.rows("completions") if row["id"] in judged]
    if missing := judged - {row["id"] for row in rows}:
        raise RecipeFailure(
            "bad_data", f"{len(missing)} judged completions are not in the dataset, among them {min(missing)}.",
            "Freeze the dataset again.",
        )  # fmt: skip
    index_of = {row["id"]: i for i, row in enumerate(rows)}
    tells = preferences.tells(comparisons, ratings, {row["id"]: row["prompt_id"] for row in rows})
    if not tells.enough:
        raise RecipeFailure("too_few_judgements", f"{tells.sentence} {tells.lack}", tells.remedy)
    return Feedback(
        rows,
        torch.tensor([row["prompt_id"] for row in rows]),
        likelihood.observe(comparisons, ratings, index_of),
        tells,
        len(comparisons) + len(ratings),
    )


def training_rows(prompts: Tensor, held_out: float, seed: int) -> Tensor:
    """(N,) True where a completion trains; whole prompts are held out, at least one."""
    unique = torch.unique(prompts)
    order = np.random.default_rng(seed).permutation(len(unique))
    kept_back = unique[torch.from_numpy(order[: max(round(held_out * len(unique)), 1)])]
    return ~torch.isin(prompts, kept_back)


def encode(feedback: Feedback, tokenizer: Any, config: RewardConfig) -> Sequences:
    prompts: dict[int, list[int]] = {}
    for row in feedback.completions:
        if row["prompt_id"] not in prompts:
            prompts[row["prompt_id"]] = loading.encode_prompt(tokenizer, row["prompt"], config.max_prompt_tokens)
    completions = [
        loading.encode_completion(tokenizer, row["text"], config.max_completion_tokens) for row in feedback.completions
    ]
    return Sequences(prompts, completions, feedback.prompts.tolist())


def feature_sets(layers: int) -> list[tuple[seen.Feature, ...]]:
    """What is worth pooling, simplest first: layers at a half and two thirds of the depth, and around them.

    On SmolLM2-135M (30 layers) nothing above two thirds helped any of ten probes, so the upper third never runs; the
    last token there sees how an answer ends (AUC 0.997 against 0.85 for means alone).
    """
    sixth, third, half, top = (max(round(layers * share), 1) for share in (1 / 6, 1 / 3, 1 / 2, 2 / 3))
    middle = tuple(dict.fromkeys([(half, "mean"), (top, "mean")]))
    wide = tuple(dict.fromkeys([(third, "mean"), *middle]))
    widest = tuple(dict.fromkeys([(sixth, "mean"), *wide]))
    last = ((top, "last"),)
    return [middle, wide, middle + last, widest + last]


def pooled_features(
    run: RunDirectory, trunk: Any, sequences: Sequences, features: tuple[seen.Feature, ...], size: int, pad: int
) -> tuple[Tensor, int]:
    """((N, F) float32, number of batches). Batches are fixed by the data, so a resume repeats every bit."""
    batches = sequences.batches(size)
    pooled = torch.zeros(len(sequences.completions), len(features) * trunk.config.hidden_size)
    done = 0
    if latest := run.latest_checkpoint():
        pooled = load_file(latest / "pooled.safetensors")["pooled"]
        reached = int(latest.name.removeprefix("step-"))
        run.truncate_logs(reached)
        done = min(reached, len(batches))
    run.progress("Reading the answers", done, len(batches))
    work = np.array([sequences.tokens(rows) for rows in batches])
    started = time.monotonic()
    for step, rows in enumerate(batches[done:], start=done + 1):
        begun = time.monotonic()
        with torch.inference_mode():
            pooled[rows] = reward_finetune.pooled_batch(trunk, sequences, rows, features, pad).cpu()
        run.log_metrics(step, completions_per_second=len(rows) / (time.monotonic() - begun))
        pace = (time.monotonic() - started) / work[done:step].sum()
        run.progress("Reading the answers", step, len(batches), eta_seconds=float(pace * work[step:].sum()))
        if step % CHECKPOINT_EVERY == 0 or step == len(batches):
            save_file({"pooled": pooled}, run.begin_checkpoint(step) / "pooled.safetensors")
            run.commit_checkpoint(step, keep=1)
    if not torch.isfinite(pooled).all():
        raise RecipeFailure(
            "not_finite", "The parent model gives numbers that are not finite.", "Choose another parent."
        )
    return pooled, len(batches)


def without_empty(observed: Observations, sequences: Sequences) -> Observations:
    """An empty answer has no tokens to pool; what was said of it is left out, and its score is the lowest of all."""
    return observed.among(torch.tensor([len(c) > 0 for c in sequences.completions]))


def choose_features(
    run: RunDirectory, pooled: Tensor, observed: Observations, prompts: Tensor, training: Tensor,
    every: tuple[seen.Feature, ...], sets: list[tuple[seen.Feature, ...]], width: int, seed: int, first_step: int,
) -> list[Candidate]:  # fmt: skip
    """Cross-validate on the training prompts alone; each candidate is one step of the log."""
    folds = training_folds(prompts, training, seed)
    most = len(sets) * len(head_fit.RIDGES)
    resumed = run.latest_checkpoint()
    logged = int(resumed.name.removeprefix("step-")) if resumed else 0
    found: list[Candidate] = []

    def report_one(candidate: Candidate) -> None:
        found.append(candidate)
        step = first_step + len(found)
        run.progress("Choosing layers and penalty", len(found), most)
        if step > logged:  # a resume of finetuning chooses again, and has logged it before
            accuracy = {} if candidate.accuracy is None else {"cv_accuracy": candidate.accuracy}
            run.log_metrics(step, cv_nll=candidate.nll, **accuracy)

    run.progress("Choosing layers and penalty", 0, most)
    head_fit.cross_validate(pooled, observed, folds, every, sets, width, report_one)
    return found


def training_folds(prompts: Tensor, training: Tensor, seed: int) -> Tensor:
    """(N,) the fold of each training completion, -1 for the held-out ones."""
    folds = torch.full((len(prompts),), -1)
    folds[training] = head_fit.folds_by_prompt(prompts[training], FOLDS, seed)
    return folds


def refuse_what_follows_nothing(
    x: Tensor, observed: Observations, feedback: Feedback, training: Tensor, best: Candidate, seed: int
) -> None:
    """Many judgements may still be noise: refuse what cross-validation cannot tell from chance.

    With one vote in ten wrong, a taste that 4 % of 720 answers fit leaves 150 judgements that seem to tell something;
    most of them are errors. Tried with two such tastes and with none at all, two draws each: all six are refused here,
    and a taste that 30 % fit passes.
    """
    folds = training_folds(feedback.prompts, training, seed)
    scores = head_fit.out_of_fold(x, observed, folds, best.ridge)
    judged = as_judged(observed.among(training))
    figures = reward_measures.measures(scores.numpy(), judged, feedback.prompts.numpy(), seed)
    if beats_chance(figures):
        return
    known = ", ".join(f"{name.replace('_', ' ')} {e}" for name, e in figures.items() if e is not None)
    raise RecipeFailure(
        "nothing_learnt",
        f"{feedback.tells.sentence} What they follow cannot be told from chance on prompts left out in turn: {known}.",
        "Judge more answers, write clearer guidelines so that judges agree, or sample answers that differ more.",
    )


def wants_finetuning(config: RewardConfig, judgements: int) -> bool:
    return config.method == "finetune" or (config.method == "auto" and judgements >= config.finetune_from)


def assess(
    method: str, head: Head, scores: Tensor, best: Candidate, observed: Observations, feedback: Feedback,
    training: Tensor, spec: RunSpec, config: RewardConfig, seconds: float,
) -> Fitted:  # fmt: skip
    """The reward model of a fit, its scores shifted to average 0 over the training completions, and its figures."""
    centre, spread = scores[training].mean().item(), scores[training].std().item()
    model = RewardModel(
        method=method, features=best.features, weight=head.weight.float(), bias=torch.tensor([-centre]),
        feature_mean=head.mean.float(), feature_std=head.std.float(),
        trunk_folder=spec.parent if method == "head" else "trunk",
        trunk_hash=loading.weights_hash(spec.parent) if method == "head" else "",
        max_prompt_tokens=config.max_prompt_tokens, max_completion_tokens=config.max_completion_tokens,
        score_mean=0.0, score_std=max(spread, 1e-6), empty_score=scores[training].min().item() - centre,
    )  # fmt: skip
    figures = measure(scores.numpy(), observed, feedback, training, spec.seed)
    ties = likelihood.split_cuts(head.cuts, observed).pair_cuts[0].item()
    held_out = as_judged(observed.among(~training))
    return Fitted(model, figures, reward_measures.calibration(scores.numpy(), held_out), ties, seconds)


def measure(
    scores: Any, observed: Observations, feedback: Feedback, training: Tensor, seed: int
) -> dict[str, Estimate | None]:
    return reward_measures.measures(scores, as_judged(observed.among(~training)), feedback.prompts.numpy(), seed)


def as_judged(observed: Observations) -> Judged:
    o = observed
    return Judged(*(t.numpy() for t in (o.chosen, o.rejected, o.thumbed, o.thumbs, o.starred, o.stars.double())))


def choose(fitted: list[Fitted], config: RewardConfig, judgements: int) -> tuple[Fitted, str]:
    """The model to keep, and why in words."""
    if len(fitted) == 1:
        if config.method == "head":
            return fitted[0], "The config asks for a head on the frozen trunk."
        return fitted[
            0
        ], f"{judgements} judgements are fewer than {config.finetune_from}: a linear head is what they carry."
    if config.method == "finetune":
        return fitted[1], "The config asks for finetuning."
    head, tuned = fitted
    found, other = headline(head.figures), headline(tuned.figures)
    if found is None or other is None:
        return head, "No held-out judgement could tell the two apart, so the simpler one is kept."
    name, ours, theirs = found[0], found[1].value, other[1].value
    words = f"held-out {name.replace('_', ' ')} is {theirs:.3f} finetuned and {ours:.3f} with the head"
    # The one-standard-error rule (Breiman 1984): the simpler one, unless the other is better by more than chance gives.
    error = (found[1].upper - found[1].lower) / (2 * 1.96)
    if theirs > ours + error:
        return tuned, f"Finetuning wins: {words}."
    if theirs > ours:
        return head, f"The head is kept: {words}, a difference within one standard error ({error:.3f})."
    return head, f"The head wins: {words}."


def save(run: RunDirectory, model: RewardModel, trunk: Any, tokenizer: Any) -> None:
    run.progress("Saving", 0, 1)
    folder = run.begin_model()
    if model.method == "finetune":
        loading.save_policy(reward_finetune.merge(trunk), tokenizer, folder / "trunk")
        model.trunk_hash = loading.weights_hash(folder / "trunk")
    model.save(folder)
    run.commit_model()
    run.progress("Saving", 1, 1)


def report(
    winner: Fitted, why: str, fitted: list[Fitted], candidates: list[Candidate], longer: dict[str, Estimate | None],
    feedback: Feedback, training: Tensor, sequences: Sequences,
) -> Row:  # fmt: skip
    """What result.json says."""
    tells = feedback.tells
    return {
        "method": winner.model.method,
        "why": why,
        "verdict": verdict(winner, longer),
        "beats_chance": beats_chance(winner.figures),
        "features": [list(feature) for feature in winner.model.features],
        "judgements": {**asdict(tells), "telling": tells.telling, "sentence": tells.sentence},
        "completions": {"training": int(training.sum()), "held_out": int((~training).sum())},
        "empty_completions": sum(not c for c in sequences.completions),
        "held_out": reward_measures.as_rows(winner.figures),
        "longer": reward_measures.as_rows(longer),
        "methods": {f.model.method: reward_measures.as_rows(f.figures) for f in fitted},
        "calibration": winner.calibration,
        "tie_parameter": winner.tie_parameter,
        "score_mean": winner.model.score_mean,
        "score_std": winner.model.score_std,
        "candidates": [asdict(c) for c in candidates],
    }


def verdict(winner: Fitted, longer: dict[str, Estimate | None]) -> str:
    """One honest sentence about the held-out prompts."""
    found = headline(winner.figures)
    if found is None:
        return "Nothing was judged on the held-out prompts, so nobody knows how good this is. Collect more judgements."
    said = {
        "pair_accuracy": "right about {:.0%} of {} pairs",
        "thumbs_auc": "AUC {:.2f} on {} thumbs",
        "stars_spearman": "rank correlation {:.2f} with {} star ratings",
    }
    spoken = []
    for name, figure in winner.figures.items():
        if figure is not None:
            null = longer[name]
            beside = f"; preferring the longer answer gets {null.value:.2f}" if null else ""
            interval = f"95 % interval {figure.lower:.2f} to {figure.upper:.2f}"
            spoken.append(f"{said[name].format(figure.value, figure.n)} ({interval}{beside})")
    text = f"On {found[1].prompts} prompts that it never saw: {', '.join(spoken)}."
    if not beats_chance(winner.figures):
        text += " This cannot be told from chance: collect more judgements before training on it."
    return text


if __name__ == "__main__":
    run_recipe(main)
