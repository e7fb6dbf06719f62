"""Do the ratings' promises hold? Simulated arenas whose truth is known, counted.

    python benchmarks/calibration.py [--only intervals|sequences|voters] [--arenas 1000] [--streams 2000] [--json FILE]

1. intervals: how often 95 % intervals of ratings and of differences hold the truth, over arenas with and without ties,
   with single and with repeated voters who have tastes of their own;
2. sequences: how many streams of votes ever leave the true mean outside their confidence sequence when it is looked at
   after every vote, and how many votes a better model takes against a test of a fixed number of votes;
3. voters: how many honest voters are ever called suspicious, looked at twenty times, how many are ever held by the
   whole defence (persons, addresses, visitors who came alike; held votes left out of the next fit), and how many bots.

The same seed prints the same numbers. A share of n is known to ±1.96·√(p(1 − p)/n): 1,000 arenas tell 95 % to ±1.4.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.calibrate_intervals import interval_rows
from benchmarks.calibrate_sequences import power_rows, repeated_rows, sequence_rows
from benchmarks.calibrate_voters import bot_rows, held_rows, honest_rows

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("intervals", "sequences", "voters"))
    parser.add_argument("--arenas", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--votes", type=int, default=2000, help="in each stream")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all numbers there as well")
    options = parser.parse_args()
    arenas, streams, votes, seed = options.arenas, options.streams, options.votes, options.seed
    tables = {
        "intervals": {"95 % intervals hold the truth in, %": interval_rows(arenas, seed)},
        "sequences": {
            "confidence sequences that ever exclude the truth, %": sequence_rows(streams, votes, seed),
            "votes until a better model is told, median": power_rows(streams // 4, 5 * votes, seed),
            "sequences of few people's votes that ever call an even pair decided, %": repeated_rows(streams // 4, seed),
        },
        "voters": {
            "honest voters ever flagged at 1 %, %": honest_rows(max(arenas // 25, 1), seed),
            "honest voters ever held by the whole defence at 1 %, %": held_rows(max(arenas // 25, 1), seed),
            "bots flagged at 1 %, %": bot_rows(max(arenas // 50, 1), seed),
        },
    }
    told = {}
    for part, titled in tables.items():
        if options.only in (None, part):
            for title, rows in titled.items():
                told[title] = show(title, rows)
    if options.json:
        options.json.write_text(json.dumps({"arguments": vars(options) | {"json": None}, "tables": told}, indent=1))


def show(title: str, rows: Iterator[Row]) -> list[Row]:
    """Print each row as it comes, under one line of names, and how long it took."""
    print(f"\n{title}", flush=True)
    all_rows: list[Row] = []
    begun = time.perf_counter()
    for row in rows:
        if not all_rows:
            print("  ".join(f"{name:>{_width(name, value)}}" for name, value in row.items()) + "   seconds")
        cells = (f"{_plain(value):>{_width(name, value)}}" for name, value in row.items())
        print("  ".join(cells) + f"{time.perf_counter() - begun:10.1f}", flush=True)
        all_rows.append(row)
    return all_rows


def _plain(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _width(name: str, value: Any) -> int:
    return max(len(name), 38 if isinstance(value, str) else 7)


if __name__ == "__main__":
    main()
