"""Markdown of what `benchmarks.ppo_vs_trl` has measured so far."""

from __future__ import annotations

import statistics
from typing import Any

PEERS = {"bfloat16": "trl, lora", "lora": "trl, lora, float32", "full": "trl, full, float32"}
Found = dict[str, Any]


def table(found: Found) -> str:
    parts = [_speed(found), _roofline(found), _profile(found), _matched(found), _compared(found), _over_seeds(found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _episodes(found: Found) -> int:
    return found.get("machine", {}).get("episodes", 64)  # results of before say none: 64 was the only number


def _grid(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def peer_of(name: str) -> str:
    if "float32" not in name:
        return PEERS["bfloat16"]
    return PEERS["full" if "full" in name else "lora"]


def _speed(found: Found) -> str:
    speed: dict[str, list[dict[str, float]]] = found.get("speed", {})
    rows = []
    for name, runs in speed.items():
        rates = sorted(_episodes(found) / run["seconds"] for run in runs)
        row = [name, f"{statistics.median(rates):.3f} ({rates[0]:.3f} to {rates[-1]:.3f}, {len(runs)} timed)"]
        row.append(f"{_median(runs, 'peak_gb'):.2f}")
        row += [
            f"{_median(runs, f'{s}_s'):.1f}" if f"{s}_s" in runs[0] else "" for s in ("sampling", "scoring", "updates")
        ]
        peer = speed.get(peer_of(name))
        row.append(f"{_median(peer, 'seconds') / _median(runs, 'seconds'):.2f}" if peer else "")
        row.append(f"{_median(runs, 'peak_gb') / _median(peer, 'peak_gb'):.2f}" if peer else "")
        rows.append(row)
    head = ["", "episodes/s", "peak GB", "sampling s", "scoring s", "updates s", "times TRL's speed", "of its memory"]
    return _grid(head, rows) if rows else ""


def _median(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def _roofline(found: Found) -> str:
    rows = []
    for name, r in found.get("roofline", {}).items():
        if "reading" not in r:  # results of before: products alone were counted
            continue
        row = [name, f"{r['rate'] / 1e12:.2f}", f"{r['reading'] / 1e9:.0f}", f"{r['operations'] / 1e12:.1f}"]
        row += [f"{_episodes(found) / r['least_seconds']:.2f}", f"{r['share']:.0%}", f"{r['share_of_products']:.0%}"]
        rows.append(row)
    head = ["", "TFLOP/s", "GB/s read", "least TFLOP", "episodes/s at these rates", "reached", "by products alone"]
    return _grid(head, rows) if rows else ""


def _profile(found: Found) -> str:
    profiles: dict[str, dict[str, dict[str, float]]] = found.get("profile", {})
    kinds = ["matrix products", "attention's products", "softmax", "elementwise and copies", "Python and the rest"]
    rows = [
        [f"{name}: {stage}", *(f"{times.get(kind, 0):.2f}" for kind in kinds)]
        for name, stages in profiles.items()
        for stage, times in stages.items()
    ]
    return _grid(["seconds of one step", *kinds], rows) if rows else ""


def _matched(found: Found) -> str:
    columns = ["score", "kl", "base_perplexity", "distinct", "distinct_2", "eos_rate", "tokens"]
    rows = [
        [name, *(f"{run['behaviour'][column]:.2f}" for column in columns)]
        for name, run in found.get("matched", {}).items()
    ]
    return _grid(["answers to unseen prompts", *(c.replace("_", " ") for c in columns)], rows) if rows else ""


def _compared(found: Found) -> str:
    rows = []
    for seed, compared in found.get("compared", {}).items():
        for name, by in compared["by"].items():
            rows.append([seed, name, *(_number(by[key]) for key in by)])
    head = ["", "", "episodes to TRL's best score", "score at TRL's KL there", "highest score"]
    return _grid(head, rows) if rows else ""


def _over_seeds(found: Found) -> str:
    rows = []
    for name, at in found.get("over seeds", {}).items():
        for row in at:
            scores = [f"{row[who]:.2f} ({n})" for who, n in zip(("peers", "ours"), row["seeds"], strict=True)]
            rows.append([name, row["at"], *scores, f"{row['difference']:+.2f} ± {row['half']:.2f}"])
    return _grid(["", "at", "TRL's score (seeds)", "ours (seeds)", "difference, 95 %"], rows) if rows else ""


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")
