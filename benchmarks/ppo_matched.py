"""Ours and the peer optimise one fixed reward function: the score by KL and by episodes, and what the text is like.

The reward is the share of short words (`benchmarks.ppo_taste`), shifted and scaled for both by what the parent's own
completions get. Both: LoRA r=16 on all layers, batches of 16, 4 epochs of one minibatch, kl_coef fixed at 0.05,
temperature 1, 256 episodes on prompts about 24 nouns. The peer runs at each of the rates it is given, ours at one. The
last policies answer prompts about 8 other nouns, all measured by the same code.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from benchmarks.ppo_work import NOUNS, Work
from common.distributions import student95

ASKS = (
    "Write one sentence about {}.",
    "Tell me something about {}.",
    "Describe {} to a child.",
    "What is {} good for?",
)
EPISODES, WINDOW = 256, 3
SEEN, UNSEEN = NOUNS[:24], NOUNS[24:]
Step = dict[str, float]


def matched_work(model: Path, rate: float, seed: int, episodes: int, new_tokens: int) -> Work:
    asks = [ask.format(noun) for noun in SEEN for ask in ASKS]
    prompts = [asks[i * 37 % len(asks)] for i in range(episodes)]
    return Work(str(model), prompts, new_tokens=new_tokens, temperature=1.0, learning_rate=rate, seed=seed)


def behaviour(model: Path, base: Path, new_tokens: int, samples: int = 2) -> dict[str, float]:
    """Of answers to unseen prompts: raw score, KL from the base in nats an answer, and the text."""
    import torch

    from benchmarks.ppo_taste import short_words
    from training.recipes.common import loading
    from training.rl import guards
    from training.rl.decode import decoder_for
    from training.rl.policy import Policy
    from training.rl.rollout import rollout_of
    from training.rl.sampler import Sampling, sample, sequence_seed

    trained, _ = loading.load_policy(model)
    parent, tokenizer = loading.load_policy(base)
    asks = [ask.format(noun) for noun in UNSEEN for ask in ASKS] * samples
    prompts = [loading.encode_prompt(tokenizer, [{"role": "user", "content": ask}], 256) for ask in asks]
    ends = loading.eos_token_ids(parent, tokenizer)
    seeds = [sequence_seed(0, "unseen", i) for i in range(len(asks))]
    pad = tokenizer.pad_token_id
    rollout = rollout_of(
        prompts, sample(decoder_for(trained), prompts, seeds, Sampling(new_tokens), end_ids=ends, pad_id=pad), pad
    )
    words = [row[:n] for row, n in zip(rollout.tokens.tolist(), rollout.lengths.tolist(), strict=True)]
    texts = tokenizer.batch_decode(words, skip_special_tokens=True)
    of_trained, of_parent = (_logprobs(Policy(network, "lora"), rollout) for network in (trained, parent))
    log_r = of_parent - of_trained
    return {
        "score": sum(short_words(None, texts)) / len(texts),
        "kl": float((log_r.exp() - 1 - log_r).sum(1).mean()),
        "base_perplexity": float(torch.exp(-of_parent.sum() / rollout.mask.sum())),
        "distinct": guards.distinct_share(texts),
        "distinct_2": guards.distinct_pairs(texts),
        "eos_rate": float(rollout.finished.float().mean()),
        "tokens": float(rollout.lengths.float().mean()),
        "answers": float(len(texts)),
    }


def _logprobs(policy: Any, rollout: Any) -> Any:
    import torch

    with torch.no_grad():
        return policy.logprobs(policy.lower(rollout)[0], rollout)[0]


def smoothed(steps: list[Step]) -> list[Step]:
    """Running means of `WINDOW` steps, each with the episodes seen when its last one was drawn."""
    batch = Work.batch
    return [
        {
            "episodes": (end - 1) * batch,
            **{name: sum(s[name] for s in steps[end - WINDOW : end]) / WINDOW for name in ("kl", "score")},
        }
        for end in range(WINDOW, len(steps) + 1)
    ]


def episodes_to(steps: list[Step], score: float) -> float | None:
    """Episodes of training until the smoothed score is reached; None when it never is."""
    return next((s["episodes"] for s in smoothed(steps) if s["score"] >= score), None)


def score_at(steps: list[Step], kl: float) -> float | None:
    """The smoothed score where the smoothed KL first passes `kl`, between two steps by their distance; None beyond."""
    curve = smoothed(steps)
    for before, after in itertools.pairwise(curve):
        if before["kl"] <= kl <= after["kl"]:
            share = (kl - before["kl"]) / max(after["kl"] - before["kl"], 1e-9)
            return before["score"] + share * (after["score"] - before["score"])
    return None


def compare(peers: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ours against the peer at whichever rate served it best: the episodes to its best score, the score at its KL."""
    best = max(peers, key=lambda name: max(s["score"] for s in smoothed(peers[name]["steps"])))
    curve = smoothed(peers[best]["steps"])
    peak = max(curve, key=lambda s: s["score"])
    rows = {
        name: {
            "episodes_to_the_peers_best": episodes_to(found["steps"], peak["score"]),
            "score_at_the_peers_kl": score_at(found["steps"], peak["kl"]),
            "highest_score": max(s["score"] for s in smoothed(found["steps"])),
        }
        for name, found in {best: peers[best], **ours}.items()
    }
    return {"peer": best, "best_score": peak["score"], "at_kl": peak["kl"], "at_episodes": peak["episodes"], "by": rows}


def over_seeds(peers: list[list[Step]], ours: list[list[Step]]) -> list[dict[str, Any]]:
    """What runs of several seeds score at the same KL and after the same episodes: means, and ours less the peer's.

    The KLs are a half and the whole of the largest that every run reached. `half` is half of Welch's 95 % interval.
    """
    runs = [*peers, *ours]
    reached = min(max(s["kl"] for s in smoothed(steps)) for steps in runs)
    last = min(smoothed(steps)[-1]["episodes"] for steps in runs)
    rows = []
    for name, places in {
        f"KL {reached / 2:.1f}": [[score_at(steps, reached / 2) for steps in of] for of in (peers, ours)],
        f"KL {reached:.1f}": [[score_at(steps, reached) for steps in of] for of in (peers, ours)],
        f"{last:g} episodes": [[_after(steps, last) for steps in of] for of in (peers, ours)],
    }.items():
        their, own = ([score for score in scores if score is not None] for scores in places)
        if min(len(their), len(own)) > 1:
            rows.append(
                {"at": name, "peers": fmean(their), "ours": fmean(own), "difference": fmean(own) - fmean(their)}
                | {"half": _welch(their, own), "seeds": [len(their), len(own)]}
            )
    return rows


def _after(steps: list[Step], episodes: float) -> float | None:
    return next((s["score"] for s in smoothed(steps) if s["episodes"] >= episodes), None)


def _welch(one: list[float], other: list[float]) -> float:
    parts = [(variance(values) / len(values), len(values) - 1) for values in (one, other)]
    error = sum(part for part, _ in parts)
    degrees = error**2 / max(sum(part**2 / free for part, free in parts), 1e-30)
    return student95(max(degrees, 1.0)) * math.sqrt(error)
