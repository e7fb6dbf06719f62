"""Choose what a reward head reads, and test whether annotations follow anything, by cross-validation on training
prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.core.run_directory import RecipeFailure, RunDirectory, step_of
from training.recipes.common import features as text_features
from training.recipes.reward import evidence as reward_evidence
from training.recipes.reward import head_fit
from training.recipes.reward import reward_accuracy as reward_measures
from training.recipes.reward.designs.design import Design
from training.recipes.reward.designs.stored_features import Features, StoredFeatures, read_few
from training.recipes.reward.feedback_likelihood import Observations, Priors
from training.recipes.reward.feedback_rows import Feedback
from training.recipes.reward.head_fit import Candidate
from training.recipes.reward.reward_accuracy import Judged

FOLDS = 5


@dataclass(frozen=True)
class Pooled:
    """The pooled features of every completion, (N, F), and which columns are which."""

    values: StoredFeatures
    features: tuple[text_features.Feature, ...]
    width: int
    _last: dict[tuple[text_features.Feature, ...], Design] = field(default_factory=dict, repr=False)

    def of(self, features: tuple[text_features.Feature, ...]) -> Features:
        """Return the columns of these features, in memory where they are few."""
        starts = [self.features.index(feature) * self.width for feature in features]
        return read_few(self.values.of(slice(start, start + self.width) for start in starts))

    def design_of(self, features: tuple[text_features.Feature, ...], rows: Tensor) -> Design:
        """Return the design of these features on the training `rows`; asked again at once, the same one."""
        if features not in self._last:
            self._last.clear()  # two matrices of all pairs of columns would be the most that a run holds
            self._last[features] = Design.of(self.of(features), rows)
        return self._last[features]


def training_folds(prompts: Tensor, training: Tensor, seed: int) -> Tensor:
    """Return (N,) the fold of each training completion, -1 for the held-out ones."""
    folds = torch.full((len(prompts),), -1)
    folds[training] = head_fit.folds_by_prompt(prompts[training], FOLDS, seed)
    return folds


def choose_features(
    run: RunDirectory, pooled: Pooled, observed: Observations, feedback: Feedback, training: Tensor, folds: Tensor,
    sets: list[tuple[text_features.Feature, ...]], first_step: int,
) -> list[Candidate]:  # fmt: skip
    """Yield every set of features with every penalty worth trying; each candidate is one step of the log."""
    most = len(sets) * len(head_fit.RIDGES)
    resumed = run.latest_checkpoint()
    logged = step_of(resumed) if resumed else 0
    count = 0

    def report_one(candidate: Candidate) -> None:
        nonlocal count
        count += 1
        run.progress("Choosing layers and penalty", count, most)
        if first_step + count > logged:  # a resume of finetuning chooses again, and has logged it before
            accuracy = {} if candidate.accuracy is None else {"cv_accuracy": candidate.accuracy}
            run.log_metrics(first_step + count, cv_nll=candidate.nll, **accuracy)

    def designs() -> Iterator[tuple[tuple[text_features.Feature, ...], Design]]:
        rows = torch.nonzero(training)[:, 0]
        for features in sets:
            yield features, pooled.design_of(features, rows)

    run.progress("Choosing layers and penalty", 0, most)
    return head_fit.cross_validate(designs(), observed, feedback.prompts, folds, report_one)


def table(candidates: list[Candidate]) -> list[dict[str, Any]]:
    """Return a row for each set of features with its best penalty, simplest first.

    `behind` is the loss per annotation above the best one's, with its standard error over prompts; a set `within` one
    standard error would have done as well for all that the data can say. The best is taken all the same: it costs
    nothing more to score with.
    """
    best = min(candidates, key=lambda c: c.nll)
    judgements = best.losses.sum().item() / best.nll if best.nll else 0.0
    rows = []
    for features in dict.fromkeys(c.features for c in candidates):
        best_of_set = min((c for c in candidates if c.features == features), key=lambda c: c.nll)
        error = ((best_of_set.losses - best.losses).std() * len(best.losses) ** 0.5).item() / max(judgements, 1.0)
        behind = best_of_set.nll - best.nll
        rows.append(
            {
                "features": [list(feature) for feature in features],
                "ridge": best_of_set.ridge,
                "nll": best_of_set.nll,
                "accuracy": best_of_set.accuracy,
                "behind": behind,
                "error": error,
                "is_best": best_of_set is best,
                "within": behind <= error,
            }
        )
    return rows


def refuse_what_follows_nothing(
    design: Design,
    observed: Observations,
    feedback: Feedback,
    folds: Tensor,
    best: Candidate,
    priors: Priors,
    seed: int,
) -> None:
    """Refuse annotations that cross-validation cannot tell from chance: many may still be noise.

    With one vote in ten wrong, a taste that 4 % of 720 answers fit leaves 150 annotations that seem to tell something;
    most of them are errors.
    """
    inside = observed.among(folds >= 0)
    scores = head_fit.out_of_fold(design, observed, folds, best.ridge, priors, best.heads)
    evidence = reward_evidence.slope(scores, inside, feedback.prompts)
    if evidence is not None and evidence.lower > 0:
        return
    figures = reward_measures.measures(scores.numpy(), Judged.of(inside), feedback.prompts.numpy(), seed)
    known_figures = ", ".join(f"{name.replace('_', ' ')} {e}" for name, e in figures.items() if e is not None)
    joint = f"slope of all annotations {evidence}" if evidence is not None else "no two scores differ"
    raise RecipeFailure(
        "nothing_learnt",
        f"{feedback.informativeness.sentence} In cross-validation the result is not better than chance: "
        f"{joint}; {known_figures}.",
        "Annotate more answers, write clearer guidelines so that annotators agree, or sample answers that differ more.",
    )
