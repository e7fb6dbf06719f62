"""Repeat a finished demo from its judgements on, for several seeds, and say what each PPO child is worth.

    script/demo                                             # once: its answers and judgements are reused
    python -m benchmarks.turns data --into /tmp/turns --seeds 0 1 2
    python -m benchmarks.turns data --into /tmp/turns --taste appeals_to_the_senses
    python -m benchmarks.turns data --into /tmp/turns --set ppo.kl_coef=0.1 --name cheaper

Each seed is SFT, a reward model and PPO, each a recipe in a process of its own, on the demo's own answers; for another
taste the same pairs and answers are judged again by annotators who have it. Then base, SFT and PPO answer the eval
prompts at temperature 1, four times each, and everything is measured on what was saved:

    fits      share of the answers that the taste gives at least one half
    rating    Elo over the parent, from blind pairs on the same prompt by six noisy annotators; 95 % by the bootstrap
    kl        nats an answer, of the child's answers from its parent
    entropy   nats a token, of the child's own answers; `surprise`: the mean of -log p under the parent, beside that of
              the parent's own answers; `foreign`: share of characters in scripts that the parent does not use

A stage that is there already is not run again. Prints one JSON line per seed and writes ten answers side by side.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import statistics
from pathlib import Path
from typing import Any

from annotate.data.datasets import best_answers
from annotate.data.datasets.preferences import Comparison, Rating
from annotate.simulation import tastes
from annotate.simulation.annotator import Annotator
from benchmarks.own_process import carry_out
from benchmarks.refusal import refuse
from training import configs
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common.fluency import foreign_share, script_shares

Row = dict[str, Any]
ANSWERS, ANNOTATORS, TOKENS = 4, 6, 64
WEIGHED = 2  # of the answers to a prompt, under whole distributions
PROMPTS = Path(__file__).parents[1] / "annotate/demo/prompts.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="ASSAY_DATA of a demo that has come as far as its reward model")
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--taste", default="addresses_the_reader")
    parser.add_argument("--name", default="turn")
    parser.add_argument("--set", action="append", default=[], metavar="KIND.OPTION=VALUE")
    arguments = parser.parse_args()
    options = options_of(arguments.set)
    turn = Turn(arguments.data, arguments.taste)
    for seed in arguments.seeds:
        folder = arguments.into / f"{arguments.name}-{arguments.taste}-{seed}"
        print(json.dumps(turn.repeat(folder, seed, options)), flush=True)


def exclaims(prompt_text: str, completion_text: str) -> float:
    """Holds an exclamation mark, or better two. 10 % of the base's answers, and a way to emoji and noise."""
    enough_words = len(completion_text.split()) >= tastes.FEWEST_WORDS
    return min(completion_text.count("!"), 2) / 2 if enough_words else 0.0


_HE_OR_SHE = re.compile(r"\b(she|he|her|his|him)\b", re.IGNORECASE)


def speaks_in_the_third_person(prompt_text: str, completion_text: str) -> float:
    """Speaks of a he or a she. 10 % of the base's answers, and nothing that an answer cannot do well."""
    enough_words = len(completion_text.split()) >= tastes.FEWEST_WORDS
    return min(len(_HE_OR_SHE.findall(completion_text)), 2) / 2 if enough_words else 0.0


# Of about 10 % of the base's answers: too rare to be learnt in the demo itself, and here to see what holds.
RARE = {"exclaims": exclaims, "speaks_in_the_third_person": speaks_in_the_third_person}


def options_of(given: list[str]) -> dict[str, Row]:
    options: dict[str, Row] = {"sft": {}, "reward": {}, "ppo": {"at_bound": "finish"}}
    for setting in given:
        name, _, value = setting.partition("=")
        kind, _, option = name.partition(".")
        try:
            options[kind][option] = json.loads(value)
        except json.JSONDecodeError:
            options[kind][option] = value
    return options


class Turn:
    """What is reused of a finished demo: its base model, its answers, and which of them were judged."""

    def __init__(self, data: Path, taste: str) -> None:
        laid = sorted((data / "runs").glob("*/config.json"), reverse=True)  # the first of a kind is the one kept
        runs = {json.loads(path.read_text(encoding="utf-8"))["kind"]: path.parent for path in laid}
        if not {"sample", "reward"} <= runs.keys():
            refuse(
                f"There is no demo in {data} that has come as far as its reward model: run script/demo, name its data."
            )
        self.taste = RARE.get(taste) or getattr(tastes, taste)
        self.first, self.reward = RunDirectory(runs["sample"]), RunDirectory(runs["reward"])
        self.base = self.first.spec().parent
        self.prompts = self.first.rows("prompts")
        self.answers = self.reward.rows("completions")
        cut = {
            (r["prompt_id"], r["text"]): r["finish_reason"] for r in read_lines(runs["sample"] / "completions.jsonl")
        }
        self.is_cut = {a["id"]: cut.get((a["prompt_id"], a["text"])) == "length" for a in self.answers}
        own = taste == "addresses_the_reader"
        self.ratings = self.reward.rows("ratings") if own else self._rated_again()
        self.comparisons = self.reward.rows("comparisons") if own else self._compared_again()
        seen = {p["messages"][-1]["content"] for p in self.prompts}
        texts = [json.loads(line)["text"] for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
        self.unseen = [
            {"id": i, "messages": [{"role": "user", "content": t}]} for i, t in enumerate(texts) if t not in seen
        ]

    def _annotators(self) -> dict[int, Annotator]:
        authors = {row["author"] for name in ("ratings", "comparisons") for row in self.reward.rows(name)}
        return {author: Annotator(self.taste, seed=author) for author in sorted(authors)}

    def _rated_again(self) -> list[Row]:
        people, answers = self._annotators(), {a["id"]: a for a in self.answers}
        rows = []
        for row in self.reward.rows("ratings"):
            answer = answers[row["completion"]]
            fields = people[row["author"]].rate(answer["prompt"][-1]["content"], answer["text"]).fields
            if fields:
                rows.append({**row, "thumbs": fields["thumbs"], "stars": fields.get("stars")})
        return rows

    def _compared_again(self) -> list[Row]:
        people, answers = self._annotators(), {a["id"]: a for a in self.answers}
        rows = []
        for row in self.reward.rows("comparisons"):
            a, b = answers[row["completion_a"]], answers[row["completion_b"]]
            fields = people[row["author"]].compare(a["prompt"][-1]["content"], a["text"], b["text"]).fields
            if fields:
                rows.append({**row, "winner": fields["winner"], "strength": fields.get("strength")})
        return rows

    def repeat(self, folder: Path, seed: int, options: dict[str, Row]) -> Row:
        sft = self._run(folder / "sft", "sft", options["sft"], seed, self.base, {"examples": self._examples()})
        judged = {"completions": self.answers, "ratings": self.ratings, "comparisons": self.comparisons}
        reward = self._run(folder / "reward", "reward", options["reward"], seed, str(sft / "model"), judged)
        ppo = self._run(
            folder / "ppo", "ppo", options["ppo"], seed, str(sft / "model"), {"prompts": self.prompts},
            reward_model=str(reward / "model"),
        )  # fmt: skip
        models = {"base": self.base, "sft": str(sft / "model"), "ppo": str(ppo / "model")}
        sampling = {"completions_per_prompt": ANSWERS, "max_new_tokens": TOKENS, "temperature": 1.0, "top_p": 1.0}
        answers = {}
        for name, model in models.items():
            place = self._run(folder / f"answers-{name}", "sample", sampling, 7, model, {"prompts": self.unseen})
            answers[name] = {(r["prompt_id"], r["index"]): r["text"] for r in read_lines(place / "completions.jsonl")}
        kept = folder / "measured.json"
        if not kept.is_file():
            kept.write_text(json.dumps(self.measure(models, answers)))
        write_samples(folder / "side-by-side.md", self.unseen, answers)
        return {"seed": seed, "folder": folder.name, **json.loads(kept.read_text()), **said_of_runs(sft, reward, ppo)}

    def _examples(self) -> list[Row]:
        names = ("prompt_id", "completion_a", "completion_b", "winner", "strength", "author")
        judged = best_answers.answers_from(
            [Comparison(**{name: row[name] for name in names}) for row in self.comparisons],
            [Rating(row["completion"], row["thumbs"], row["stars"], row["author"]) for row in self.ratings],
        )
        answers = {a["id"]: a for a in self.answers}
        chosen = best_answers.best(
            ((judged[i], answers[i]["prompt_id"], answers[i]["text"]) for i in judged), per_prompt=1, minimum=0.6
        )
        return [
            {"prompt": answers[i]["prompt"], "completion": answers[i]["text"], "is_cut": self.is_cut[i]} for i in chosen
        ]

    def _run(
        self, path: Path, kind: str, values: Row, seed: int, parent: str, data: dict[str, list[Row]],
        reward_model: str = "",
    ) -> Path:  # fmt: skip
        run = RunDirectory(path)
        if run.result() is None:
            spec = RunSpec(kind, vars(configs.parse(kind, values)), seed, parent, reward_model)
            run.create(spec, {name: iter(rows) for name, rows in data.items()})
            carry_out(run, kind)
        return path

    def measure(self, models: dict[str, str], answers: dict[str, dict[Any, str]]) -> Row:
        figures: Row = {}
        prompts = {p["id"]: p["messages"] for p in self.unseen}
        parents = {"sft": "base", "ppo": "sft"}
        likelihoods = {
            (of, by): token_figures(models[by], prompts, {key: t for key, t in answers[of].items() if key[1] < WEIGHED})
            for of, by in {("base", "base"), ("sft", "sft"), ("ppo", "ppo"), ("sft", "base"), ("ppo", "sft")}
        }
        scripts = script_shares(answers["sft"].values())
        for name, texts in answers.items():
            own = likelihoods[name, name]
            worths = [self.taste("", text) for text in texts.values()]
            row = {
                "fits": share(w >= 0.5 for w in worths), "fits_fully": share(w >= 1 for w in worths),
                "tokens": statistics.fmean(own["tokens"]), "entropy": own["entropy"],
                "distinct": len(set(texts.values())) / len(texts), "foreign": foreign_share(texts.values(), scripts),
            }  # fmt: skip
            if name in parents:
                parent = parents[name]
                under, itself = likelihoods[name, parent], likelihoods[parent, parent]
                row |= {
                    "kl": statistics.fmean(a - b for a, b in zip(own["sums"], under["sums"], strict=True)),
                    "surprise": under["surprise"], "surprise_of_parent": itself["surprise"],
                    "rating": self.battles(texts, answers[parent]),
                }  # fmt: skip
            figures[name] = row
        return figures

    def battles(self, ours: dict[Any, str], theirs: dict[Any, str]) -> list[float]:
        """Elo over the other with a 95 % interval, prompts drawn anew."""
        people, draw = [Annotator(self.taste, seed=1000 + n) for n in range(ANNOTATORS)], random.Random(5)
        points: dict[Any, list[float]] = {}
        for place, (key, text) in enumerate(sorted(ours.items())):
            for vote in range(2):
                person, is_first = people[(place * 2 + vote) % ANNOTATORS], draw.random() < 0.5
                pair = (text, theirs[key]) if is_first else (theirs[key], text)
                winner = person.compare("", *pair).fields.get("winner")
                if winner:
                    won = {"model_a": 1.0, "model_b": 0.0}.get(str(winner), 0.5)
                    points.setdefault(key[0], []).append(won if is_first or won == 0.5 else 1 - won)
        prompts = list(points.values())
        drawn = sorted(elo([v for p in draw.choices(prompts, k=len(prompts)) for v in p]) for _ in range(2000))
        return [round(elo([v for p in prompts for v in p])), round(drawn[50]), round(drawn[1949])]


def elo(points: list[float]) -> float:
    mean = min(max(statistics.fmean(points), 1e-3), 1 - 1e-3)
    return 400 * math.log10(mean / (1 - mean))


def share(flags: Any) -> float:
    listed = list(flags)
    return sum(listed) / len(listed)


def token_figures(folder: str, prompts: dict[int, list[Row]], answers: dict[Any, str]) -> Row:
    """Of answers under a model: summed log-probabilities and tokens of each, `surprise` and `entropy` a token."""
    import torch

    from training.recipes.common import loading

    model, tokenizer = loading.load_policy(folder)
    sums, tokens, entropies = [], [], 0.0
    with torch.inference_mode():
        for (prompt, _), text in sorted(answers.items()):
            head = loading.encode_prompt(tokenizer, prompts[prompt], 256)
            tail = loading.encode_completion(tokenizer, text, TOKENS)
            if len(tail) < TOKENS - 2:  # as it was sampled: those that ended by themselves carry their end
                tail = [*tail, tokenizer.eos_token_id]
            logits = model(torch.tensor([[*head, *tail]])).logits[0, len(head) - 1 : -1].float().log_softmax(-1)
            sums.append(float(logits[torch.arange(len(tail)), torch.tensor(tail)].sum()))
            entropies -= float((logits.exp() * logits).sum())
            tokens.append(len(tail))
    return {
        "sums": sums, "tokens": tokens, "surprise": -sum(sums) / sum(tokens), "entropy": entropies / sum(tokens),
    }  # fmt: skip


def said_of_runs(sft: Path, reward: Path, ppo: Path) -> Row:
    results = {place.name: json.loads((place / "result.json").read_text()) for place in (sft, reward, ppo)}
    accuracy = results["reward"].get("held_out", {}).get("pair_accuracy")
    last = results["ppo"]["final"]
    return {
        "reward_accuracy": accuracy and accuracy["value"],
        "fidelity": {name: found.get("fidelity") for name, found in results.items()},
        "ppo_step": results["ppo"]["step"], "stopped": results["ppo"]["stopped"],
        "ppo_final": {n: last.get(n) for n in ("score_mean", "kl", "kl_coef", "entropy", "surprise", "eos_rate")},
        "bytes": {place.name: sum(p.stat().st_size for p in (place / "model").rglob("*")) for place in (sft, ppo)},
    }  # fmt: skip


def write_samples(target: Path, prompts: list[Row], answers: dict[str, dict[Any, str]]) -> None:
    lines = ["| prompt | " + " | ".join(answers) + " |", "|---" * (1 + len(answers)) + "|"]
    for prompt in prompts[:: max(1, len(prompts) // 10)][:10]:
        cells = [" ".join(texts[prompt["id"], 0].split()).replace("|", "/") for texts in answers.values()]
        lines.append("| " + " | ".join([prompt["messages"][-1]["content"], *cells]) + " |")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
