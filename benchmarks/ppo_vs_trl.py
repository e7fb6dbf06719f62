"""PPO side by side with the last one of TRL: `python -m benchmarks.ppo_vs_trl MODEL --trl-python PYTHON --out FOLDER`.

MODEL is a model folder. PYTHON is the interpreter of a virtual environment of its own, because TRL 1.13 and later
have no PPO: `pip install torch "trl==1.12.0" "transformers>=5.20,<6" peft rich datasets`. Without it, ours alone runs.

`speed`: 64 episodes in batches of 16, prompts of about 30 tokens, 48 new tokens at most at temperature 0.7 (TRL's
default), 4 epochs of one minibatch. The peer has reward and value networks of the policy's size. Ours scores by a
linear head on the reference's middle layers and values by another, which is how it is meant to be used and less work;
"own reward" runs the reward model's forward by itself, so that one sees what that is worth, and "own networks" has a
value network of the policy's size as well (`benchmarks.ppo_own_networks`), the peer's work. Contestants take turns.
`roofline`: the share reached of what the machine's matrix rate and its memory allow, and a profile of one step.
`matched`: one fixed reward function, see `benchmarks.ppo_matched`.

Every run is written to FOLDER/results.json as it ends, and a call goes on where the last one was cut off; the table is
FOLDER/table.md. Loading, calibrating and saving are not timed on either side.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import ppo_matched, ppo_roofline
from benchmarks.ppo_report import table
from benchmarks.ppo_work import Contestant, Work, run_ours, run_peer, timed_work
from benchmarks.refusal import refuse, require_model

OWN_NETWORKS = "benchmarks.ppo_own_networks"
CONTESTANTS = {
    "trl, lora": Contestant("lora", peer=True),
    "ours, lora": Contestant("lora"),
    "ours, lora, own reward": Contestant("lora", reward="own"),
    "ours, lora, own networks": Contestant("lora", reward="own", recipe=OWN_NETWORKS),
    "ours, top": Contestant("top"),
    "trl, lora, float32": Contestant("lora", "float32", peer=True),
    "ours, lora, float32": Contestant("lora", "float32"),
    "ours, lora, own networks, float32": Contestant("lora", "float32", reward="own", recipe=OWN_NETWORKS),
    "ours, top, float32": Contestant("top", "float32"),
    "trl, full, float32": Contestant("full", "float32", peer=True),
    "ours, full, float32": Contestant("full", "float32"),
}
HEADLINE = ("trl, lora", "ours, lora", "ours, lora, own reward", "ours, top")


def main() -> None:
    arguments = _arguments()
    require_model(arguments.model)
    if arguments.trl_python and not arguments.trl_python.is_file():
        refuse(f"There is no Python at {arguments.trl_python}: name one that has trl 1.12, or leave --trl-python out.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.out / "results.json")
    model = arguments.model.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        if "speed" in arguments.parts:
            _speed(results, timed_work(model, arguments.episodes, arguments.new_tokens), arguments, Path(scratch))
        if "roofline" in arguments.parts:
            _roofline(results, timed_work(model, arguments.episodes, arguments.new_tokens), _adapters(arguments))
        if "matched" in arguments.parts:
            _matched(results, model, arguments, Path(scratch))
    report = table(results.found)
    (arguments.out / "table.md").write_text(report)
    print(report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--trl-python", type=Path)
    parser.add_argument("--out", type=Path, default=Path("ppo-vs-trl"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=64, help="of the timed parts, in batches of 16")
    parser.add_argument("--new-tokens", type=int, default=Work.new_tokens, help="of an answer, at most")
    parser.add_argument("--matched-episodes", type=int, default=ppo_matched.EPISODES)
    parts = ["speed", "roofline", "matched"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=HEADLINE, metavar="CONTESTANT")
    parser.add_argument("--peer-rates", nargs="+", type=float, default=[1e-4, 3e-4], help="of the matched part")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the matched part")
    parser.add_argument("--peer-seeds", type=int, help="of how many of these seeds the peer runs, too; all by default")
    return parser.parse_args()


class Results:
    """What has been measured, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def keep(self, part: str, name: str, value: Any) -> None:
        self.found.setdefault(part, {})[name] = value
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(self.found, indent=1))
        draft.replace(self.path)


def _speed(results: Results, work: Work, arguments: argparse.Namespace, scratch: Path) -> None:
    results.keep("machine", "episodes", arguments.episodes)
    results.keep("machine", "prompt_tokens", ppo_roofline.prompt_tokens(work))
    for repeat in range(arguments.repeats):
        for name in arguments.only:
            who, runs = CONTESTANTS[name], results.found.get("speed", {}).get(name, [])
            if len(runs) > repeat or (who.peer and not arguments.trl_python):
                continue
            folder = scratch / f"{name}-{repeat}".replace(" ", "").replace(",", "-")
            run = run_peer(work, who, arguments.trl_python, folder) if who.peer else run_ours(work, who, folder)
            run.pop("steps")
            results.keep("speed", name, [*runs, {**run, "load": os.getloadavg()[0]}])
            print(name, run, file=sys.stderr)


def _adapters(arguments: argparse.Namespace) -> list[str]:
    """Return the adapters of ours that are profiled and matched: those of the contestants, as far as they are of the
    headline."""
    chosen = {CONTESTANTS[name].adapters for name in arguments.only}
    return [adapters for adapters in ("lora", "top") if adapters in chosen] or ["lora", "top"]


def _roofline(results: Results, work: Work, profiled: list[str]) -> None:
    """By the tokens that each contestant of ours drew, in the dtype it ran in; the machine's rates are measured now."""
    for name, runs in results.found.get("speed", {}).items():
        who = CONTESTANTS[name]
        if who.peer or who.recipe == OWN_NETWORKS:  # what two more networks take is not counted
            continue
        machine, drawn = ppo_roofline.machine_of(who.dtype), statistics.median(run["new_tokens"] for run in runs)
        least = ppo_roofline.least(work, who.adapters, results.found["machine"]["prompt_tokens"], drawn)
        seconds, least_seconds = statistics.median(run["seconds"] for run in runs), least.seconds(machine)
        results.keep(
            "roofline", name, {
                "operations": least.drawing + least.rest, "rate": machine.rate, "reading": machine.reading,
                "least_seconds": least_seconds, "share": least_seconds / seconds,
                "share_of_products": least.seconds_of_products(machine) / seconds,
            },
        )  # fmt: skip
    for adapters in profiled:
        results.keep("profile", f"ours, {adapters}", ppo_roofline.profile(work, adapters))


def _matched(results: Results, model: Path, arguments: argparse.Namespace, scratch: Path) -> None:
    if "the parent" not in results.found.get("matched", {}):
        results.keep("matched", "the parent", {"behaviour": ppo_matched.behaviour(model, model, arguments.new_tokens)})
    for place, seed in enumerate(arguments.seeds):
        work = ppo_matched.matched_work(model, 3e-4, seed, arguments.matched_episodes, arguments.new_tokens)
        ours = {f"ours, {adapters}, seed {seed}": Contestant(adapters) for adapters in _adapters(arguments)}
        found = {name: _trained(results, name, work, who, None, scratch, {}) for name, who in ours.items()}
        if not arguments.trl_python or place >= (arguments.peer_seeds or len(arguments.seeds)):
            continue
        parent = next(iter(found.values()))["parent"]
        taste = {"mean": parent["raw_score_mean"], "std": parent["raw_score_std"]}
        peers = {}
        for rate in arguments.peer_rates:
            name, at_rate = f"trl, lora, rate {rate:g}, seed {seed}", dataclasses.replace(work, learning_rate=rate)
            who = Contestant("lora", peer=True)
            peers[name] = _trained(results, name, at_rate, who, arguments.trl_python, scratch, taste)
        results.keep("compared", f"seed {seed}", ppo_matched.compare(peers, found))
    _over_seeds(results)


def _over_seeds(results: Results) -> None:
    """Compare each rate of the peer with each of our adapters, over all seeds that have run."""
    by: dict[str, list[list[ppo_matched.Step]]] = {}
    for name, run in results.found["matched"].items():
        if ", seed " in name:
            by.setdefault(name.rsplit(", seed ")[0], []).append(run["steps"])
    for (peer, theirs), (name, ours) in itertools.product(by.items(), by.items()):
        if peer.startswith("trl") and name.startswith("ours"):
            results.keep("over seeds", f"{name}; {peer}", ppo_matched.over_seeds(theirs, ours))


def _trained(
    results: Results, name: str, work: Work, who: Contestant, python: Path | None, scratch: Path,
    taste: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Trained and measured, unless an earlier call did."""
    if name not in results.found.get("matched", {}):
        folder = scratch / name.replace(" ", "").replace(",", "-")
        run = run_peer(work, who, python, folder, taste) if python else run_ours(work, who, folder, taste)
        trained = folder / "model" if python else folder / "run" / "model"
        behaviour = ppo_matched.behaviour(trained, Path(work.model), work.new_tokens)
        results.keep("matched", name, {**run, "behaviour": behaviour})
        print(name, behaviour, file=sys.stderr)
    return results.found["matched"][name]


if __name__ == "__main__":
    main()
