"""Measure how well a reward model agrees with annotations that it did not learn from: pairs, thumbs and stars.

In: `data/completions.jsonl`, `comparisons.jsonl`, `ratings.jsonl` of the eval split as
`evaluation.measures.preference_rows` writes them; or a dataset's in `data/other/`: those files as preferences are
frozen, or rows {"prompt", "chosen", "rejected"}. The parent is a reward model's folder. Of people or of simulations,
never both.

pair accuracy        of the pairs with a winner, how often the preferred answer scores higher; equal scores are half.
                     Beside it the same of always taking the longer answer, and the difference on the same pairs
tie separation       the chance that a pair with a winner has scores farther apart than a tied one (an area under the
                     ROC curve): a tie has no right side, and so is in no accuracy
thumbs AUC           the chance that an answer with a thumb up scores above one with a thumb down
stars correlation    Spearman's, of scores and stars
calibration error    where it is p sure of a pair (Bradley-Terry), by how much the share that it gets right differs from
                     p, on average over five bins

Judgements of one prompt hang together, and an item is all of one prompt and source. Intervals go by prompts, those of
pairs by voters as well. Sources (the arena, annotation, each import) have figures of their own.

Left out: a threshold under which scores count as a tie, which would have to be fitted to the very ties it judges.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from common import roc_auc
from evaluation.metrics.win_rates import clustered_mean, win_rate
from evaluation.recipes.common import result_figures
from evaluation.recipes.common.outcome import Item, Measured
from evaluation.recipes.common.reward_scores import identity_of
from evaluation.recipes.judging.judged_answers import Judgements, Pair, Rated, limited, read
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.reward import reward_accuracy as reward_measures
from training.recipes.reward.reward_accuracy import Judged
from training.recipes.reward.reward_model import RewardModel
from training.recipes.rewards.scoring import checked

LONGER, ABOVE = "pair accuracy of the longer answer", "pair accuracy above the longer answer"
WHO = {"person": "people", "simulation": "simulations"}
_TOLD = 20  # judgements of one prompt that are shown
_NOBODY, _NOTHING = np.zeros(0, dtype=np.int64), np.zeros(0)


def measure(run: RunDirectory, spec: RunSpec, config: Any) -> Measured:
    judgements = limited(read(run), config.limit)
    run.progress("loading the reward model", 0, 1)
    model = RewardModel.load(spec.parent)
    scores = scored(run, model, judgements, config.batch_size)
    measured = measured_of(judgements, scores, spec.seed, config.draws, model.tie_threshold)
    return replace(measured, signature=f"{measured.signature}; {identity_of(model)}")


def scored(run: RunDirectory, model: RewardModel, judgements: Judgements, batch_size: int) -> np.ndarray:
    """Return scores (N,) of every answer; NaN where nobody judged it."""
    answer_numbers = sorted({i for p in judgements.pairs for i in (p.a, p.b)} | {r.answer for r in judgements.rated})
    scores = np.full(len(judgements.answers), np.nan)
    step = max(batch_size, 1) * 8
    for start in range(0, len(answer_numbers), step):
        piece = answer_numbers[start : start + step]
        prompts = [judgements.prompts[judgements.answers[i][0]] for i in piece]
        score = model.score(prompts, [judgements.answers[i][1] for i in piece], batch_size)
        scores[piece] = checked(score, len(piece), "The reward model").cpu().numpy()
        run.progress("scoring answers", start + len(piece), len(answer_numbers))
    return scores


# Items


def measured_of(
    judgements: Judgements, scores: np.ndarray, seed: int, draws: int, tie_threshold: float = 0.0
) -> Measured:
    """Return items and figures. `scores` (N,) of the answers; `tie_threshold` of the reward model's likelihood.

    Raises RecipeFailure where nothing was said that a score could get right.
    """
    lengths = np.array([len(text) for _, text in judgements.answers], dtype=float)
    pairs_of, rated_of = _by_item(judgements, judgements.pairs), _by_item(judgements, judgements.rated)
    won = [p for p in judgements.pairs if p.won]
    if not won and judgements.rated and _all_alike(judgements.rated):
        raise RecipeFailure(
            "all_alike",
            f"All {len(judgements.rated)} ratings are equal, and no comparison has a winner, so there is nothing that "
            "a reward model can predict.",
            "Annotate more answers, good and bad ones.",
        )
    if not won and not judgements.rated:
        raise RecipeFailure(
            "all_ties",
            f"All {len(judgements.pairs)} comparisons are ties, so there is nothing that a reward model can predict.",
            "Compare more answers, from models that differ more.",
        )
    items = [
        _item(key, pairs_of.get(key, []), rated_of.get(key, []), judgements, scores, {p.source for p in won})
        for key in dict.fromkeys([*pairs_of, *rated_of])
    ]

    def fitted(chosen: list[Item]) -> dict[str, Row | None]:
        pairs = [p for item in chosen for p in pairs_of.get(item.id, [])]
        ratings = [r for item in chosen for r in rated_of.get(item.id, [])]
        bootstrap = partial(reward_measures.bootstrap, seed=seed, resamples=draws)
        return {**of_pairs(pairs, scores, lengths, bootstrap, tie_threshold), **of_ratings(ratings, scores, bootstrap)}

    judges = WHO.get(judgements.judge, "given judgements")
    signature = (
        "assay reward accuracy 2; ties in no accuracy, half a point in calibration, equal scores half; intervals by "
        "prompts and voters"
    )
    return Measured(f"agreement with {judges}", items, signature, notes=_notes(judgements), fitted=fitted)


def _all_alike(ratings: list[Rated]) -> bool:
    thumbs, stars = ({getattr(r, name) for r in ratings} - {None} for name in ("thumbs", "stars"))
    return len(thumbs) < 2 and len(stars) < 2


def _notes(judgements: Judgements) -> list[str]:
    won = sum(bool(p.won) for p in judgements.pairs)
    voters = {p.voter for p in judgements.pairs if p.voter > 0}  # below 0: nobody is named
    by = f" by {len(voters)} {WHO.get(judgements.judge, 'annotators')}" if voters else ""
    notes = [f"{won} pairs with a winner and {len(judgements.pairs) - won} ties{by}; {len(judgements.rated)} ratings."]
    if judgements.pairs and not won:
        notes.append("All comparisons are ties: there is no pair accuracy.")
    return [*notes, *judgements.notes]


def _by_item(judgements: Judgements, rows: list[Any]) -> dict[str, list[Any]]:
    """Group pairs or ratings by prompt and source."""
    rows_by_item: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        rows_by_item[f"{judgements.prompt_ids[row.prompt]} {row.source}".strip()].append(row)
    return rows_by_item


def _item(
    key: str, pairs: list[Pair], ratings: list[Rated], judgements: Judgements, scores: np.ndarray, sources: set[str]
) -> Item:
    """Return one item. `sources` are those with pairs that have a winner: they get figures of their own."""
    row: Pair | Rated = pairs[0] if pairs else ratings[0]
    prompt, text_of = judgements.prompts[row.prompt], judgements.text_of
    right = [_right(p, scores) for p in pairs if p.won]
    item_json = [
        prompt,
        [[text_of(p.a), text_of(p.b), p.won] for p in pairs],
        [[text_of(r.answer), r.thumbs, r.stars] for r in ratings],
    ]
    texts = [text_of(i) for p in pairs for i in (p.a, p.b)] + [text_of(r.answer) for r in ratings]
    return Item(
        key,
        str(item_json),
        {"pair accuracy": [sum(right), float(len(right))]} if sources else {},
        {"prompt": prompt, **_shown_fields(pairs, ratings, judgements, scores)},
        row.source if row.source in sources else "",
        (prompt[-1]["content"], *dict.fromkeys(texts)),
    )


def _right(pair: Pair, values: np.ndarray) -> float:
    margin = (values[pair.a] - values[pair.b]) * (1 if pair.won == "a" else -1)
    return float(margin > 0) + 0.5 * float(margin == 0)


def _shown_fields(pairs: list[Pair], ratings: list[Rated], judgements: Judgements, scores: np.ndarray) -> Row:
    """Return what people are shown: of one pair its answers, else a list of what was judged."""
    row: Row = _of_pair(pairs[0], judgements, scores) if len(pairs) == 1 else {}
    if len(pairs) > 1:
        row["pairs"] = [_of_pair(p, judgements, scores) for p in pairs[:_TOLD]]
    if ratings:
        row["rated"] = [
            {
                "answer": judgements.text_of(r.answer),
                "thumbs": r.thumbs,
                "stars": r.stars,
                "score": float(scores[r.answer]),
            }
            for r in ratings[:_TOLD]
        ]
    return row


def _of_pair(pair: Pair, judgements: Judgements, scores: np.ndarray) -> Row:
    first, second = (pair.b, pair.a) if pair.won == "b" else (pair.a, pair.b)
    names = ("chosen", "rejected") if pair.won else ("answer", "tied with")
    verdict = {1.0: "right", 0.5: "equal scores", 0.0: "wrong"}[_right(pair, scores)] if pair.won else "tie"
    return {
        names[0]: judgements.text_of(first),
        names[1]: judgements.text_of(second),
        "score": float(scores[first]),
        "other score": float(scores[second]),
        "verdict": verdict,
    }


# Figures

Bootstrap = partial[reward_measures.Estimate | None]  # bootstrap over prompts: (statistic of rows, prompts, floor=)


def of_pairs(
    pairs: list[Pair], scores: np.ndarray, lengths: np.ndarray, bootstrap: Bootstrap, tie_threshold: float = 0.0
) -> dict[str, Row | None]:
    """Return figures of pairs with a winner, and how far apart the scores of tied ones are beside them; None without
    the pairs.

    Ties are in no accuracy; in the calibration they are half a point, as the reward model expects them.
    """
    won = [p for p in pairs if p.won]
    if not won:
        return dict.fromkeys(("pair accuracy", LONGER, ABOVE, "tie separation", "calibration error"))
    voters, prompts = [p.voter for p in won], np.array([p.prompt for p in won])
    right, longer = (np.array([_right(p, values) for p in won]) for values in (scores, lengths))
    compared = np.array([p.prompt for p in pairs])
    return {
        "pair accuracy": _rate(right, voters, prompts, True),
        LONGER: _rate(longer, voters, prompts, None),
        ABOVE: _above(right - longer, voters, prompts),
        "tie separation": _separation(pairs, scores, bootstrap),
        "calibration error": _estimate(
            bootstrap(_calibration(scores, pairs, tie_threshold), compared, floor=None), False
        ),
    }


def _chosen(won: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the preferred answers, and of the others."""
    ends = np.array([(p.a, p.b) if p.won == "a" else (p.b, p.a) for p in won], dtype=np.int64)
    ends = ends.reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def _rate(right: np.ndarray, voters: list[int], prompts: np.ndarray, higher: bool | None) -> Row:
    rate = win_rate(right, voters, prompts)
    return result_figures.figure(rate.value, rate.standard_error, rate.lower, rate.upper, rate.n, higher)


def _above(gaps: np.ndarray, voters: list[int], prompts: np.ndarray) -> Row | None:
    """Return the paired difference to the longer answer; none where it does not vary, as where every longer answer
    won."""
    mean = clustered_mean(gaps, voters, prompts)
    if mean is None:
        return None
    lower, upper = max(-1.0, mean.lower), min(1.0, mean.upper)
    return result_figures.figure(mean.value, mean.standard_error, lower, upper, len(gaps), True)


def _separation(pairs: list[Pair], scores: np.ndarray, bootstrap: Bootstrap) -> Row | None:
    apart = np.array([abs(scores[p.a] - scores[p.b]) for p in pairs])
    won = np.array([bool(p.won) for p in pairs])

    def statistic(rows: np.ndarray) -> float:
        is_won = won[rows]
        return roc_auc.auc(apart[rows][~is_won], apart[rows][is_won]) if 0 < is_won.sum() < len(rows) else float("nan")

    return _estimate(bootstrap(statistic, np.array([p.prompt for p in pairs])), True)


def _calibration(scores: np.ndarray, pairs: list[Pair], tie_threshold: float) -> Any:
    def statistic(rows: np.ndarray) -> float:
        pair_sample = [pairs[row] for row in rows]
        ties = np.array([(p.a, p.b) for p in pair_sample if not p.won], dtype=np.int64).reshape(-1, 2)
        won = _chosen([p for p in pair_sample if p.won])
        judgements = Judged(*won, _NOBODY, _NOTHING, _NOBODY, _NOTHING, ties[:, 0], ties[:, 1])
        return float(reward_measures.calibration(scores, judgements, tie_threshold)["error"])

    return statistic


def of_ratings(ratings: list[Rated], scores: np.ndarray, bootstrap: Bootstrap) -> dict[str, Row | None]:
    """Return figures of thumbs and of stars; None where there are too few, or they are all alike."""
    thumbed, starred = [r for r in ratings if r.thumbs is not None], [r for r in ratings if r.stars is not None]
    thumbs, stars = np.array([float(bool(r.thumbs)) for r in thumbed]), np.array([float(r.stars or 0) for r in starred])
    of_thumbs, of_stars = (np.array([scores[r.answer] for r in ratings_part]) for ratings_part in (thumbed, starred))
    auc = bootstrap(
        lambda rows: roc_auc.of_labels(of_thumbs[rows], thumbs[rows]), np.array([r.prompt for r in thumbed])
    )
    rank = bootstrap(
        lambda rows: reward_measures.spearman(of_stars[rows], stars[rows]),
        np.array([r.prompt for r in starred]),
        floor=-1.0,
    )
    return {"thumbs AUC": _estimate(auc, True), "stars correlation": _estimate(rank, True)}


def _estimate(estimate: reward_measures.Estimate | None, higher: bool) -> Row | None:
    if estimate is None:
        return None
    has_width = estimate.lower < estimate.upper  # where no draw differed, nothing is known of how others would
    lower, upper = (estimate.lower, estimate.upper) if has_width else (None, None)
    return result_figures.figure(estimate.value, None, lower, upper, estimate.n, higher)
