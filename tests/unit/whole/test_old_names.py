"""Names of before answer for one version: options of PPO, the background worker's command, the runner's program."""

from __future__ import annotations

import subprocess
import sys

from django.conf import settings
from django.core.management import load_command_class

from training import configs


def test_old_options_of_ppo_are_taken_by_their_new_names():
    config = configs.parse("ppo", {"brake_every": 2, "brake_waits": True, "brake_judge": "simulation"})
    assert (config.review_every, config.review_waits, config.review_by) == (2, True, "simulation")


def test_where_both_names_are_given_the_new_one_counts():
    assert configs.current_names("ppo", {"review_every": 3, "brake_every": 2}) == {"review_every": 3}


def test_options_of_other_kinds_are_left_as_they_are():
    assert configs.current_names("sft", {"brake_every": 2}) == {"brake_every": 2}


def test_the_old_command_is_the_background_worker():
    old, new = (load_command_class("annotate", name) for name in ("run_clerk", "run_background_worker"))
    assert type(old) is type(new)


def test_the_old_program_of_the_procfile_runs_a_module():
    ran = subprocess.run(
        [sys.executable, "-m", "config.tethered", "-m", "this"], cwd=settings.BASE_DIR, capture_output=True, text=True
    )
    assert ran.returncode == 0 and "Zen of Python" in ran.stdout
