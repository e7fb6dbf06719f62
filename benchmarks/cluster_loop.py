"""Turn the demo's loop once on a site of several hosts: a part of `cluster_faults`, in a process of its own.

Every stage finds what is there and makes what is missing. So one that a fault has cut short (a web process that is
killed, a database or storage that does not answer) is begun again, by way of the other web process.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import django

django.setup()

from django.core.management.base import CommandError  # noqa: E402
from django.db import Error, close_old_connections  # noqa: E402
from httpx import HTTPError  # noqa: E402

from annotate.demo.seed import seed  # noqa: E402
from annotate.simulation.client import ApiError, Unreachable  # noqa: E402
from common.artefacts.storage_problems import StorageProblem  # noqa: E402
from evaluation.demo.plan import Plan, Turn  # noqa: E402
from evaluation.demo.stages import STAGES  # noqa: E402
from tests.support.tiny_model import NO_FLUENCY_BOUNDS  # noqa: E402

PASSES = (ApiError, Unreachable, StorageProblem, Error, HTTPError, CommandError, ConnectionError)
_TRIES, _PAUSE = 60, 5.0
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "taste": "tests.support.tastes.likes_vowels",
        "annotators": 3,
        "completions_per_prompt": 2,
        "max_new_tokens": 16,
        "ratings": 160,
        "comparisons": 160,
        "battles": 30,
        "pretrain_tokens": 20_000,
        "ppo": {"steps": 4, "trust_unproven_reward": True, **NO_FLUENCY_BOUNDS},
    },
    "small": {  # the demo's own model and taste, an eighth of the computing
        "annotators": 4,
        "completions_per_prompt": 2,
        "max_new_tokens": 32,
        "ratings": 200,
        "comparisons": 200,
        "eval_completions_per_prompt": 1,
        "battles": 80,
        "pretrain_tokens": 100_000,
        "texts_measured": 20,
        "ppo": {"steps": 6, "batch_size": 16, "epochs": 2, "trust_unproven_reward": True, **NO_FLUENCY_BOUNDS},
    },
    "demo": {},
}


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    plan = replace(Plan(), **SIZES[options.size], **({"model": options.model} if options.model else {}))
    urls = itertools.cycle(options.urls)
    seeded = seed(slug=options.project, name=f"Loop {options.project}", max_new_tokens=plan.max_new_tokens)
    turn = Turn(next(urls), seeded.project, seeded.researcher, plan)
    repeats = 0
    for stage in STAGES[: options.stages]:
        began = time.monotonic()
        for _ in range(_TRIES):
            try:
                summary = stage.carry_out(turn, lambda *_: None)
                break
            except PASSES as error:
                repeats += 1
                print(f"  begun again: {stage.title}: {type(error).__name__}: {error}"[:300], flush=True)
                turn.url = next(urls)
                time.sleep(_PAUSE)
                close_old_connections()
        else:
            print(f"{stage.title} did not come to its end.", flush=True)
            return 1
        print(f"  {time.monotonic() - began:5.0f} s  {stage.title}: {summary}", flush=True)
    print(f"stages begun again: {repeats}", flush=True)
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--stages", type=int, default=len(STAGES))
    parser.add_argument("--model", type=Path, default=None)
    options = parser.parse_args(arguments)
    options.model = str(options.model) if options.model else ""
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
