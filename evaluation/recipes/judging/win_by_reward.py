"""A win rate by a reward model: whose answers score higher, prompt by prompt."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.recipes.common import result_figures
from evaluation.recipes.common.reward_scores import identity_of, scores_of
from evaluation.recipes.judging.judgements import SAID, Answered, Judged, Vote, answered, of_answers, shown
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.reward.reward_model import RewardModel


def by_reward(run: RunDirectory, spec: RunSpec, config: Any) -> Judged:
    if not spec.reward_model:
        raise RecipeFailure(
            "no_reward_model", "There is no reward model as judge.", "Choose one, or another judged_by."
        )
    prompts = answered(run)
    run.progress("loading the reward model", 0, 1)
    model = RewardModel.load(spec.reward_model)
    flat = [(p.prompt, text) for p in prompts for text in (*p.own_answers, *p.opponent_answers)]
    scores = scores_of(run, model, flat, config.batch_size)
    votes, margins, index = [], [], 0
    for prompt in prompts:
        own_scores = scores[index : index + len(prompt.own_answers)]
        index += len(own_scores)
        opponent_scores = scores[index : index + len(prompt.opponent_answers)]
        index += len(opponent_scores)
        votes.append(_by_score(prompt, own_scores, opponent_scores))
        margins.append(float(own_scores.mean() - opponent_scores.mean()) / (model.score_std or 1.0))
    setting, notes = of_answers(run, prompts)
    if taught := (next(iter(run.rows("about")), {})).get("taught"):
        notes.append(
            f"{' and '.join(taught)} was trained with this reward model, so its preference for these answers "
            "does not show that people prefer them."
        )
    margin = result_figures.mean(np.array(margins), True)
    return Judged(
        votes,
        f"{identity_of(model)}; {setting}",
        notes,
        {"score margin": margin} if margin else {},
    )


def _by_score(prompt: Answered, own_scores: np.ndarray, opponent_scores: np.ndarray) -> Vote:
    """Return one vote: each of its answers against each of the opponent's, averaged."""
    gaps = own_scores[:, None] - opponent_scores[None, :]
    points = float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))
    best, other = int(own_scores.argmax()), int(opponent_scores.argmax())
    verdict = "ours" if points > 0.5 else "theirs" if points < 0.5 else "tie"
    fields = {"verdict": SAID[verdict], "score": float(own_scores[best]), "other score": float(opponent_scores[other])}
    if len(own_scores) > 1 or len(opponent_scores) > 1:
        fields |= {"pairs": int(gaps.size), "points": points}
    return Vote(
        id=str(prompt.id),
        prompt_id=prompt.id,
        prompt=prompt.prompt,
        category=prompt.category,
        prompt_key=prompt.prompt_key,
        points=points,
        longer_by=float(
            np.mean([len(t) for t in prompt.own_answers]) - np.mean([len(t) for t in prompt.opponent_answers])
        ),
        voter=1,
        shown=shown(prompt.prompt, prompt.own_answers[best], prompt.opponent_answers[other], **fields),
    )
