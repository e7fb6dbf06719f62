"""Share the tests among processes (`pytest -n 2`): a module stays in one of them, and the slowest modules go first.

A process builds the fixtures of a module once, and only one process builds the site that nearly all of
tests/site/browser look at.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from xdist.scheduler import LoadScopeScheduling

BROWSER = "tests/site/browser"
BENCHMARKS = "tests/site/whole/test_benchmarks.py"
# They start sites of their own, for minutes: another process may do so beside the rest of their module or folder.
APART = (
    f"{BENCHMARKS}::test_a_benchmark_runs_to_its_end[cluster_faults]",
    f"{BENCHMARKS}::test_a_benchmark_runs_to_its_end[service_faults]",
    f"{BROWSER}/test_first_model.py",
)
# Minutes each, longest first: one that came last would keep one process busy while the others wait.
SLOWEST = (
    BENCHMARKS,
    BROWSER,
    APART[0],
    "tests/site/evaluation/demo/test_demo_pipeline.py",
    "tests/site/training/runs/test_every_kind_killed.py",
    "tests/site/training/runs/test_ray_cluster.py",
    "tests/site/evaluation/test_first_model_guides.py",
    "tests/site/training/runs/test_sharding.py",
    *APART[1:],
    "tests/site/training/runs/test_runs_without_sharing.py",
    "tests/site/training/runs/test_ray_runs.py",
    "tests/recipes/training/common/test_real_children.py",
    "tests/site/whole/test_kills.py",
    "tests/site/training/runs/test_processes.py",
    "tests/recipes/training/sft/test_recipe_sft.py",
    "tests/recipes/training/reward/test_recipe_reward.py",
    "tests/site/evaluation/measures/test_overlap_run.py",
    "tests/site/evaluation/measures/test_evaluation_run.py",
    "tests/recipes/training/pretrain/test_estimate.py",
    "tests/site/training/runs/test_ppo_from_queue_to_model.py",
    "tests/web/evaluation/annotator_quality/test_quality_crowd.py",
    "tests/web/evaluation/vote_integrity/test_lookup_attack.py",
    "tests/web/evaluation/vote_integrity/test_attack.py",
    "tests/web/whole/test_permission_matrix.py",
    "tests/web/whole/test_crawl.py",
)


class ByModule(LoadScopeScheduling):
    """Give out whole modules, in the order in which the tests were collected (`slowest_first`)."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = (
            False  # by itself it begins with the modules of most tests, and ends with the slowest
        )

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """Return what stays together: a module, or all of tests/site/browser, but for what is APART."""
    for part in APART:
        if nodeid.startswith(part):
            return part
    module = nodeid.split("::", 1)[0]
    return BROWSER if module.startswith(f"{BROWSER}/") else module


def slowest_first(nodeid: str) -> int:
    """Sort by this: 0 for what takes longest; all that SLOWEST does not name comes after it, in its own order."""
    scope = scope_of(nodeid)
    return SLOWEST.index(scope) if scope in SLOWEST else len(SLOWEST)


def separate_process(worker: str) -> None:
    """Give the process `worker` ("gw0", "gw1", …) a data folder, a Redis database and a Postgres server of its own.

    pytest gives it a temporary folder, and pytest-django a database, by the same name. Redis has 16 numbers; 0 is for
    tests in one process. Raise pytest.UsageError where there are fewer Postgres servers than processes.
    """
    number = int(worker.removeprefix("gw"))
    if folder := os.environ.get("ASSAY_DATA"):
        os.environ["ASSAY_DATA"] = str(Path(folder) / worker)
        Path(os.environ["ASSAY_DATA"]).mkdir(parents=True, exist_ok=True)
    if url := os.environ.get("REDIS_URL"):
        os.environ["REDIS_URL"] = urlsplit(url)._replace(path=f"/{1 + number % 15}").geturl()
    if urls := os.environ.get("DATABASE_URLS", "").split():
        if number >= len(urls):
            raise pytest.UsageError(
                f"Process {worker} has no Postgres server of its own: start as many as processes, "
                "with python -m tests.support.servers -n."
            )
        os.environ["DATABASE_URL"] = urls[number]
