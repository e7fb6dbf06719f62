"""Hand pairs of answers to people during training, and read what they said so far.

At set steps a few answers of the policy are written into the run directory beside the parent's own answers to the same
prompts. Both are drawn as answers are served and not as rollouts are: people judge what they would meet. Whoever
supervises the run has them judged, blind, and writes the verdicts back. They decide whether the run pauses and nothing
else: no weight depends on when somebody found time to judge.
"""

from __future__ import annotations

from typing import Any

from common.sampling import TEMPERATURE, TOP_P
from training.core import review_agreement
from training.core.run_directory import Row
from training.recipes.engine.policy_engine import shuffled
from training.recipes.ppo.rollouts import PPO, Episodes
from training.recipes.reward import rao_kupper
from training.rl.sampler import Sampling

DISAGREE, WAITING = "people_disagree", "waiting_for_people"
MOST_PARENTS = 32  # answers of the parent that reviews choose from


def served(ppo: PPO) -> Sampling:
    """Return how answers to be judged are drawn."""
    return Sampling(ppo.config.max_new_tokens, TEMPERATURE, TOP_P)


def parents_answers(ppo: PPO) -> list[Row]:
    """Draw the parent's answers to the first prompts of the calibration. While the policy is still the parent."""
    count = min(ppo.config.calibration_episodes, MOST_PARENTS)
    order, seeds = ppo.shuffled_prompts("calibration", 0, count), ppo.seeds("review", "parent", count=count)
    rows = answers_of(list(ppo.collect_batches(order, seeds, served(ppo))))
    return [{**row, "sampling": served(ppo).__dict__} for row in rows]


def answers_of(episodes: list[Episodes]) -> list[Row]:
    """Return the parent's answers, one for each prompt, as rows that a checkpoint can hold."""
    rows: dict[int, Row] = {}
    for batch in episodes:
        for place, index in enumerate(batch.indices):
            if batch.texts[place].strip():
                rows.setdefault(index, {"index": index, **_answer(batch, place)})
    return list(rows.values())


def is_due(ppo: PPO, step: int) -> bool:
    every = ppo.config.review_every
    return bool(every) and step > 0 and step % every == 0


def ask(ppo: PPO, parents: list[Row], step: int) -> None:
    """Sample the policy on a few of the prompts that the parent has answered, and hand the pairs over, once a step."""
    if not is_due(ppo, step) or not parents or ppo.together.from_first(lambda: _is_asked(ppo, step)):
        return
    count = min(ppo.config.review_samples, len(parents))
    chosen = [parents[i] for i in shuffled(len(parents), ppo.spec.seed, "review", step)[:count]]
    # As the parent's answers were drawn: in a run that an earlier version began, at temperature 1.
    sampling = Sampling(**parents[0].get("sampling", ppo.sampling.__dict__))
    batch = ppo.collect([row["index"] for row in chosen], ppo.seeds("review", step, count=count), sampling=sampling)
    rows = []
    for index, parent in enumerate(chosen):
        answer = _answer(batch, index)
        rows.append(
            {
                "step": step,
                "prompt": batch.prompts[index],
                "prompt_id": ppo.prompt_ids[parent["index"]],
                "policy": answer,
                "parent": {name: parent[name] for name in answer},
                "predicted": _preference(ppo, answer["score"] - parent["score"]),
                "sampling": sampling.__dict__,
            }
        )
    ppo.run.ask_for_review(rows)


def agreed_pause(ppo: PPO, step: int) -> dict[str, Any] | None:
    """Return what `must_pause` does, as the first of several processes has read it."""
    return ppo.together.from_first(lambda: must_pause(ppo, step, ppo.run.amendments()))


def _is_asked(ppo: PPO, step: int) -> bool:
    return any(row["step"] == step for row in ppo.run.reviews())


def must_pause(ppo: PPO, step: int, amendments: list[Row]) -> dict[str, Any] | None:
    """Return why people's opinion stops the run at this step, with the choices; None when it does not."""
    config = ppo.config
    if not config.review_every:
        return None
    since = max((a["step"] for a in amendments if a["code"] == DISAGREE), default=0)
    group = "people" if config.review_by == "person" else "simulated annotators"
    opinions = review_agreement.of_rows(ppo.run.opinions(), config.review_by)
    agreement = review_agreement.agreement(review_agreement.recent(opinions, after=since - 1))
    if config.review_agreement and review_agreement.disagree(agreement, config.review_agreement):
        return _disagreement(step, review_agreement.in_words(agreement, group, _reward(ppo)), _reward(ppo))
    last = max((row["step"] for row in ppo.run.reviews()), default=0)
    if config.review_waits and 0 < last < step and (open_pairs := _open(ppo, last)):
        return _waiting(step, last, open_pairs, group)
    return None


def _answer(batch: Episodes, index: int) -> Row:
    return {
        "text": batch.texts[index],
        "score": float(batch.scores[index]),
        "tokens": int(batch.rollout.lengths[index]),
        "finish_reason": "stop" if bool(batch.rollout.finished[index]) else "length",
    }


def _preference(ppo: PPO, difference: float) -> float:
    """Return the share of votes that the first answer is expected to get, a tie as half of one.

    A reward model's likelihood says it, of a difference of raw scores; a function or a sum of parts has none, and a
    favourite at most.
    """
    if ppo.scorer.model is not None and not ppo.config.rewards:
        return float(rao_kupper.expected_points(difference, ppo.scorer.model.tie_threshold))
    return 0.5 if difference == 0 else float(difference > 0)


def _open(ppo: PPO, step: int) -> int:
    """Return the pairs of that review that can be annotated and are not. The supervisor says which cannot."""
    rows = [row for row in ppo.run.opinions() if row["step"] == step]
    done = {row["sequence"] for row in rows if row["judge"] in (ppo.config.review_by, "nobody")}
    return sum(1 for row in ppo.run.reviews() if row["step"] == step and row["sequence"] not in done)


def _reward(ppo: PPO) -> str:
    if ppo.config.rewards:
        return "the reward"
    return "the reward model" if ppo.scorer.model is not None else "the reward function"


def _disagreement(step: int, text: str, reward: str) -> dict[str, Any]:
    return {
        "code": DISAGREE,
        "step": step,
        "message": f"People and {reward} disagree: {text}.",
        "remedy": "The score no longer agrees with people. Their votes are among the project's annotations: "
        "freeze them, train the reward model again, and start a new run; or read the pairs and decide.",
        "choices": [
            _choice("finish", "Finish", "Keep the last measured model within the limits.", "finish"),
            _choice("on", "Continue", "The run can pause again after the next reviews.", "resume"),
            _choice("blind", "Continue without this check", "", "resume", review_agreement=0.0),
        ],
    }


def _waiting(step: int, last: int, open_pairs: int, group: str) -> dict[str, Any]:
    pairs = "1 pair is" if open_pairs == 1 else f"{open_pairs} pairs are"
    return {
        "code": WAITING,
        "step": step,
        "message": f"Waiting for {group}: of the review of step {last} {pairs} not annotated yet.",
        "remedy": "The run continues automatically when they are.",
        "choices": [
            _choice("on", "Continue without waiting", "For this and later reviews.", "resume", review_waits=False),
            _choice("finish", "Finish", "Keep the last measured model within the limits.", "finish"),
        ],
    }


def _choice(name: str, label: str, meaning: str, action: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "label": label, "help": meaning, "action": action, "changes": changes}
