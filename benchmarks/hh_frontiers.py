"""How far each method goes from its parent for a score, on hh-rlhf's harmless pairs; a second head is the gold scorer.

    python -m benchmarks.hh_frontiers PAIRS MODEL FOLDER [--methods best_of ppo grpo rloo dpo] [--seeds 0 1]

PAIRS is hh-rlhf's harmless-base test file, MODEL the parent. Prompts of `--unseen` are set aside. On the pairs of the
others one reward model is trained: its head from 70 % of the prompts is what methods follow, its second head, from the
other 30 %, is the gold scorer that nobody follows. Then every method learns, keeps nine models on its way, and each of
these and the last one answers the unseen prompts at temperature 1; best-of-n chooses among 32 answers of the parent.

For each of these ten points: KL from the parent in nats an answer (of n answers the bound log n - (n - 1) / n,
2204.05862), and both scores above the parent's, in deviations of the parent's answers, with 95 % intervals by prompt.
What is there already in FOLDER is not made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import hh_rlhf
from benchmarks.own_process import carry_out
from benchmarks.refusal import refuse, require_file, require_model
from benchmarks.turns import token_figures
from training import configs
from training.core import kept_steps
from training.core.run_directory import RunDirectory, RunSpec, read_lines

Row = dict[str, Any]
METHODS = ("best_of", "ppo", "grpo", "rloo", "dpo")
BY_REWARD = ("ppo", "grpo", "rloo")
CHOICES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # of best-of-n
POINTS = 10
LIMITS = (  # of PPO; 0 is none
    *("stop_kl", "max_gold_gap", "max_surprise_rise", "max_entropy_rise", "min_entropy_ratio", "max_foreign_share"),
    *("min_distinct_ratio", "min_eos_ratio", "min_length_ratio"),
)


@dataclass(frozen=True)
class Point:
    """One policy: its KL from the parent, and (difference, half of its 95 % interval) by either head."""

    method: str
    seed: int
    place: str  # a step, or n
    kl: float
    score: tuple[float, float]
    gold: tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--unseen", type=int, default=64, help="prompts set aside")
    parser.add_argument("--held-out", type=float, default=0.3, help="share of the other prompts, for the gold scorer")
    parser.add_argument("--episodes", type=int, default=640, help="of PPO, GRPO and RLOO")
    parser.add_argument("--pairs-learnt", type=int, default=640, help="of DPO")
    parser.add_argument("--learning-rate", type=float, help="of the methods that learn; each one's default")
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--most", type=int, help="pairs that are read")
    given = parser.parse_args()
    trial = Trial(require_file(given.pairs, "hh-rlhf's pairs"), require_model(given.model).resolve(), given)
    print("| method | seed | step or n | KL | score | gold |\n|---|---|---|---|---|---|", flush=True)
    for method in given.methods:
        for seed in given.seeds:
            for point in trial.best_of(seed) if method == "best_of" else trial.learnt(method, seed):
                (score, score_half), (gold, gold_half) = point.score, point.gold
                print(
                    f"| {point.method} | {point.seed} | {point.place} | {point.kl:.2f} "
                    f"| {score:+.2f} ± {score_half:.2f} | {gold:+.2f} ± {gold_half:.2f} |",
                    flush=True,
                )


class Trial:
    """The pairs, the unseen prompts, the reward model with both heads, and what the parent answers."""

    def __init__(self, pairs: Path, model: Path, given: argparse.Namespace) -> None:
        self.model, self.folder, self.given = str(model), given.folder, given
        rows = hh_rlhf.rows(pairs, given.most)
        prompts = {row["prompt_id"]: row["prompt"] for row in rows["completions"]}
        if len(prompts) < 2 * given.unseen:
            refuse(f"{pairs} has {len(prompts)} prompts: set aside fewer by --unseen.")
        aside = set(sorted(prompts, key=lambda number: hash_of(prompts[number]))[: given.unseen])
        self.unseen = [{"id": number, "messages": prompts[number]} for number in sorted(aside)]
        self.train = [{"id": n, "messages": prompts[n]} for n in sorted(set(prompts) - aside)]
        self.judged = {name: [row for row in of if row["prompt_id"] not in aside] for name, of in rows.items()}
        lengths = {"max_prompt_tokens": 160, "max_completion_tokens": 96}
        config = {"method": "head", "held_out": given.held_out, "curve": False, **lengths}
        self.reward = self._run("reward", "reward", config, 0, self.judged)
        result = self.reward.result() or {}
        held_out, gold = result["held_out"]["pair_accuracy"], result["gold_proxy"]
        if gold.get("lack"):
            refuse(f"The pairs make no gold scorer: {gold['lack']}")
        print(
            f"reward model: {held_out['value']:.3f} of {held_out['n']} held-out pairs; gold scorer: {json.dumps(gold)}"
        )
        self.parent = self._answers("parent", self.model, max(CHOICES))
        firsts = {key: scores for key, scores in self.parent.items() if key[1] < 2}
        self.deviations = [statistics.pstdev(pair[head] for pair in firsts.values()) or 1.0 for head in (0, 1)]
        self.means = [self._by_prompt(self.parent, head) for head in (0, 1)]

    def best_of(self, seed: int) -> Iterator[Point]:
        """Yield best-of-n for each n: the mean over disjoint groups of n answers of the answer that scores best."""
        for n in CHOICES:
            chosen: dict[Any, tuple[float, float]] = {}
            for prompt in self.unseen:
                of = [self.parent[prompt["id"], i] for i in range(max(CHOICES))]
                groups = [of[at : at + n] for at in range(0, len(of) - n + 1, n)]
                chosen |= {(prompt["id"], i): max(group) for i, group in enumerate(groups)}
            yield Point("best_of", seed, str(n), math.log(n) - (n - 1) / n, *self._above(chosen))

    def learnt(self, method: str, seed: int) -> Iterator[Point]:
        """Yield the policies on a method's way and at its end."""
        budget = self.given.pairs_learnt if method == "dpo" else self.given.episodes
        config: Row = {"kept_checkpoints": POINTS - 1, "max_prompt_tokens": 160}
        if method == "dpo":
            config |= {"max_completion_tokens": 96, "epochs": min(1.0, budget / len(self.judged["comparisons"]))}
        else:
            size = min(32, budget)
            config |= {"batch_size": size, "steps": max(1, budget // size), "max_new_tokens": self.given.new_tokens}
            config |= {"trust_unproven_reward": True}
            if method == "ppo":  # its limits are left out: the frontier goes on behind them
                config |= {"at_bound": "finish", "max_length_ratio": 1e6, **dict.fromkeys(LIMITS, 0.0)}
        data, way = self.judged if method == "dpo" else {"prompts": self.train}, f"{method}-{seed}"
        if rate := self.given.learning_rate:
            config["learning_rate"], way = rate, f"{way}-{rate:g}"
        run = self._run(way, method, config, seed, data)
        for folder in [*kept_steps.models(run), run.model]:
            name = f"{way}-{folder.name}"
            scores = self._answers(name, str(folder), 2)
            place = folder.name.removeprefix("step-").lstrip("0") if folder != run.model else "the last"
            yield Point(method, seed, place, self._kl(name, str(folder)), *self._above(scores))

    def _above(self, scores: dict[Any, tuple[float, float]]) -> list[tuple[float, float]]:
        found = []
        for head in (0, 1):
            means, parent = self._by_prompt(scores, head), self.means[head]
            gains = [(means[prompt] - parent[prompt]) / self.deviations[head] for prompt in means]
            found.append((statistics.fmean(gains), 1.96 * statistics.stdev(gains) / math.sqrt(len(gains))))
        return found

    def _by_prompt(self, scores: dict[Any, tuple[float, float]], head: int) -> dict[int, float]:
        by_prompt: dict[int, list[float]] = {}
        for (prompt, _), pair in scores.items():
            by_prompt.setdefault(prompt, []).append(pair[head])
        return {prompt: statistics.fmean(values) for prompt, values in by_prompt.items()}

    def _kl(self, name: str, model: str) -> float:
        """Return the mean over answers of the policy of log p - log p of the parent."""
        file = self.folder / f"answers-{name}" / "kl.json"
        if not file.is_file():
            texts = {(r["prompt_id"], r["index"]): r["text"] for r in read_lines(file.with_name("completions.jsonl"))}
            prompts = {prompt["id"]: prompt["messages"] for prompt in self.unseen}
            own, parent = (token_figures(folder, prompts, texts)["sums"] for folder in (model, self.model))
            file.write_text(json.dumps(statistics.fmean(a - b for a, b in zip(own, parent, strict=True))))
        return float(json.loads(file.read_text()))

    def _answers(self, name: str, model: str, n: int) -> dict[Any, tuple[float, float]]:
        """Return (score, gold) of a policy's answers to the unseen prompts, by (prompt, number)."""
        config = {
            "completions_per_prompt": n,
            "max_new_tokens": self.given.new_tokens,
            "temperature": 1.0,
            "top_p": 1.0,
        }
        run = self._run(f"answers-{name}", "sample", config, 7, {"prompts": self.unseen}, parent=model)
        file = run.path / "scores.json"
        rows = list(read_lines(run.path / "completions.jsonl"))
        if not file.is_file():
            from training.recipes.reward.reward_model import RewardModel

            messages = {prompt["id"]: prompt["messages"] for prompt in self.unseen}
            asked = [messages[row["prompt_id"]] for row in rows]
            heads = RewardModel.load(self.reward.model).score_both(asked, [row["text"] for row in rows])
            file.write_text(json.dumps([scores.tolist() for scores in heads]))
        scores = zip(*json.loads(file.read_text()), strict=True)
        return {(row["prompt_id"], row["index"]): pair for row, pair in zip(rows, scores, strict=True)}

    def _run(
        self, name: str, kind: str, values: Row, seed: int, data: dict[str, list[Row]], parent: str = ""
    ) -> RunDirectory:
        run = RunDirectory(self.folder / name)
        if run.result() is None:
            follows = str(self.reward.model) if kind in BY_REWARD else ""
            spec = RunSpec(kind, asdict(configs.parse(kind, values)), seed, parent or self.model, follows)
            run.create(spec, {name: iter(rows) for name, rows in data.items()})
            carry_out(run, kind)
        return run


def hash_of(messages: list[Row]) -> str:
    return hashlib.sha256(json.dumps(messages).encode()).hexdigest()


if __name__ == "__main__":
    main()
