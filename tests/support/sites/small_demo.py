"""`manage.py demo` with the smallest runs: `python -m config.watched -m tests.support.sites.small_demo OPTIONS`.

What cannot be given on the command line is smaller here; stages, runs and their order are the demo's own.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.core.management import execute_from_command_line  # noqa: E402

from evaluation.demo.plan import Plan  # noqa: E402
from evaluation.management.commands import demo  # noqa: E402

PROMPTS = 80
SHORT = {"steps": 6, "batch_size": 8, "calibration_episodes": 16, "max_new_tokens": 16, "epochs": 2}


@dataclass(frozen=True)
class SmallPlan(Plan):
    texts_measured: int = 8
    reward: dict[str, Any] = field(default_factory=lambda: {"curve": False, "features": "mean"})
    ppo: dict[str, Any] = field(default_factory=lambda: {**SHORT, "trust_unproven_reward": True})
    corpus: dict[str, Any] = field(default_factory=lambda: {"sources": "python:topics"})
    tokenizer: dict[str, Any] = field(default_factory=lambda: {"vocab_size": 512})
    pretrain: dict[str, Any] = field(default_factory=lambda: {"size": "1M", "context_length": 64, "batch_size": 8})


def main() -> None:
    demo.Plan = SmallPlan  # type: ignore[misc]
    demo.seed = partial(demo.seed, most_prompts=PROMPTS)
    execute_from_command_line(["manage.py", "demo", *sys.argv[1:]])


if __name__ == "__main__":
    main()
