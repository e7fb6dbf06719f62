"""How long ratings take: one million votes over 100 models, in memory and from a database, beside other tools.

    python benchmarks/ratings.py [--votes 1000000] [--models 100] [--ten]
        [--tools-python reference/bin/python] [--fastchat rating_systems.py]

The other tools are those of this Python or of `--tools-python`: choix, evalica and arena-rank from PyPI, and with
`--fastchat` the file fastchat/serve/monitor/rating_systems.py of lm-sys/FastChat, which was never released as a package
(it needs pandas, scipy and tqdm). A tool that is not there is named and left out. `--ten` repeats the database with ten
times the votes, whose memory must be the same; it wants some gigabytes of disk and ten minutes.

Every tool and every step runs in a process of its own, so that its peak of memory is its own. Times are medians; one
BLAS thread: on a busy machine the threads of so small systems wait for each other longer than they compute.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

HERE = Path(__file__).resolve().parent
PEERS = ("fastchat", "arena-rank", "evalica", "choix")
TARGETS = {"warm page ms": 50.0, "one more vote": 1.0, "refit": 600.0}  # milliseconds


def draw_votes(votes: int, models: int, path: Path) -> None:
    """Voters who follow Bradley-Terry, a fifth of them undecided; some vote a hundred times, most a few."""
    random = np.random.default_rng(0)
    strength = random.normal(0, 0.8, models)
    a = random.integers(0, models, votes)
    b = (a + random.integers(1, models, votes)) % models
    wins = random.random(votes) < 1 / (1 + np.exp(strength[b] - strength[a]))
    label = np.where(random.random(votes) < 0.2, random.integers(2, 4, votes), np.where(wins, 0, 1))
    people = max(20, votes // 20)
    voter = np.minimum(random.exponential(people / 4, votes).astype(np.int64), people - 1)
    _, voter = np.unique(voter, return_inverse=True)
    np.savez(path, a=a, b=b, label=label, voter=voter, models=models, votes=votes, voters=voter.max() + 1)


def asked(command: list[str], what: str) -> dict[str, Any]:
    """The JSON that the last line of the command's output is."""
    print(f"… {what}", file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def in_memory(votes: Path, options: argparse.Namespace) -> None:
    script, repeats = str(HERE / "ratings_peers.py"), str(options.repeats)
    mine = asked([sys.executable, script, "ours", str(votes), repeats], "ours, in memory")
    steps = mine["steps"]
    refit = steps["fit"] + steps["100 bootstraps"]
    print(f"\nIn memory, {options.votes:,} votes over {options.models} models")
    _line("ours: count the votes", steps["count"])
    _line("ours: fit and sandwich", steps["fit"])
    _line("ours: one more vote", steps["one more vote"], TARGETS["one more vote"])
    _line("ours: fit, sandwich and 100 bootstraps", refit, TARGETS["refit"])
    print(f"{'ours: peak of memory':<44} {mine['peak_mb']:10.0f} MB, votes included")
    for name in PEERS:
        path = [options.fastchat or "no file was given: --fastchat"] if name == "fastchat" else []
        found = asked([options.tools_python, script, name, str(votes), repeats, *path], name)
        _peer(name, found, mine)


def _peer(name: str, fields: dict[str, Any], mine: dict[str, Any]) -> None:
    if "missing" in fields:
        print(f"{name:<44} left out: {fields['missing']}")
        return
    whole = {"fastchat": "100 bootstraps"}.get(name)
    for step, taken in fields["steps"].items():
        beside = mine["steps"]["100 bootstraps"] if step == whole else mine["steps"]["fit"] + mine["steps"]["count"]
        print(f"{f'{name}: {step}':<44} {taken:10.1f} ms   {taken / beside:8.1f} × ours")
    apart = np.abs(np.array(fields["ratings"]) - np.array(mine["ratings"])).max()
    print(f"{f'{name}: peak, largest difference to ours':<44} {fields['peak_mb']:10.0f} MB, {apart:.4f} points")


def from_the_database(votes: Path, count: int, folder: Path) -> dict[str, float]:
    """Peaks of memory of each step, after a table of their times."""
    script, peaks = str(HERE / "ratings_site.py"), {}
    print(f"\nFrom the database (SQLite), {count:,} votes")
    for step in ("load", "fold", "voters", "page"):
        found = asked([sys.executable, script, step, str(folder), str(votes)], f"database: {step}")
        if "missing" in found:
            raise SystemExit(f"The step {step!r} failed: {found['missing']}")
        peaks[step] = found.pop("peak MB")
        for what, value in found.items():
            unit = what.rsplit(" ", 1)[1]
            _line(what, value, TARGETS.get(what), unit)
        print(f"{f'{step}: peak of memory':<44} {peaks[step]:10.0f} MB")
    return peaks


def _line(what: str, value: float, target: float | None = None, unit: str = "ms") -> None:
    text = "" if target is None else f"   {'within' if value <= target else 'MORE THAN'} {target:g} {unit}"
    print(f"{what:<44} {value:10.3f} {unit}{text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tools-python", default=sys.executable, help="a Python that has the other tools")
    parser.add_argument("--fastchat", help="FastChat's rating_systems.py")
    parser.add_argument("--ten", action="store_true", help="the database with ten times the votes, too")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="assay-ratings-") as name:
        votes = Path(name) / "votes.npz"
        draw_votes(options.votes, options.models, votes)
        in_memory(votes, options)
        peaks = from_the_database(votes, options.votes, Path(name) / "data")
        if options.ten:
            shutil.rmtree(Path(name) / "data")
            draw_votes(10 * options.votes, options.models, votes)
            more = from_the_database(votes, 10 * options.votes, Path(name) / "data")
            print()
            for step in ("fold", "voters", "page"):
                print(f"{step}: peak with ten times the votes {more[step] / peaks[step]:.2f} × that with as many")


if __name__ == "__main__":
    main()
