"""The house rules on imports, each held by a check that looks at what really gets imported.

The arrows between apps and packages are contracts in pyproject.toml, read by import-linter. What a process loads is
asked of a fresh interpreter, since this one has loaded everything already.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "scipy", "ray")

WEB = """
import config.asgi
from django.urls import get_resolver
def walk(patterns):
    for pattern in patterns:
        walk(getattr(pattern, "url_patterns", []))
walk(get_resolver().url_patterns)
"""
WORKER = """
import django
django.setup()
import pkgutil, importlib, training, training.runs.launchers
importlib.import_module("training.management.commands.run_worker")
importlib.import_module("training.runs.worker")
for module in pkgutil.iter_modules(training.runs.launchers.__path__):
    importlib.import_module("training.runs.launchers." + module.name)
"""


def loaded_by(code: str, names: tuple[str, ...], data: Path) -> list[str]:
    """Which of `names` a fresh interpreter has loaded once it has run `code`."""
    program = f"{code}\nimport sys, json\nprint(json.dumps([n for n in {names!r} if n in sys.modules]))"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "ASSAY_DATA": str(data)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def modules_below(package: str) -> list[str]:
    folder = ROOT / package.replace(".", "/")
    return [package, *(name for _, name, _ in pkgutil.walk_packages([str(folder)], prefix=f"{package}."))]


def importing(*packages: str) -> str:
    names = [name for package in packages for name in modules_below(package)]
    return "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names)


@pytest.mark.slow
def test_a_web_process_takes_what_it_loaded_out_of_the_collectors_sight(tmp_path):
    """A full collection stops all threads: with 200,000 objects, for 100 to 200 ms."""
    counts = "gc.get_freeze_count(), len(gc.get_objects()), 'annotate.arena.api' in sys.modules"
    program = f"import config.asgi, gc, sys; print({counts})"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "ASSAY_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    frozen, seen, has_pages = done.stdout.split()[-3:]
    assert int(frozen) > 100_000 > 10 * int(seen) and has_pages == "True", done.stderr


def test_imports_follow_the_contracts():
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("process", "code"), [("web", WEB), ("worker", WORKER)])
def test_web_and_worker_load_no_model_library(process, code, tmp_path):
    assert loaded_by(code, HEAVY, tmp_path) == []


@pytest.mark.slow
def test_the_check_notices_a_model_library(tmp_path):
    """Else the test above could pass for the wrong reason."""
    assert "scipy" in loaded_by(f"{WEB}\nimport scipy", HEAVY, tmp_path)


@pytest.mark.slow
def test_ratings_metrics_and_configs_load_numpy_at_most(tmp_path):
    code = importing("common", "evaluation.ratings", "evaluation.metrics")
    code += "\nimport training.configs, training.core.run_directory, training.core.parent_watchdog"
    code += "\nimport common.splits, annotate.data.datasets.preferences"
    assert loaded_by(code, ("django", *HEAVY), tmp_path) == []


@pytest.mark.slow
def test_recipes_and_the_maths_of_ppo_know_no_django(tmp_path):
    code = importing("training.recipes", "training.rl", "evaluation.recipes")
    assert loaded_by(code, ("django", "torch"), tmp_path) == ["torch"]


@pytest.mark.slow
def test_what_runs_on_a_node_of_a_cluster_knows_neither_django_nor_its_engine(tmp_path):
    code = importing("training.runs.launchers.on_node")
    assert loaded_by(code, ("django", *HEAVY), tmp_path) == []
