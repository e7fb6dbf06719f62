"""DPO and KTO where an attempt finds what another left, and where their sequences are padded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import tiny_model
from tests.support.training import preference_runs
from tests.support.training.preference_runs import DISLIKED, LIKED
from training.core import batch_planner
from training.core.run_directory import RunDirectory
from training.recipes import dpo, kto
from training.recipes.common import entry, loading, steps
from training.recipes.common.processes import ONE_PROCESS
from training.recipes.preference import preference_policy
from training.recipes.sft import trained_model
from training.recipes.sft.trained_model import Student

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {"batch_size": 8, "sample_every": 100, "sample_tokens": 8, "held_out": 0.25}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def change_answers(run: RunDirectory, change: Callable[[str], str]) -> None:
    path = run.path / "data" / "completions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"text": change(row["text"])}) + "\n" for row in rows))


def test_a_reference_is_of_these_answers_and_not_of_others_as_long(parent, tmp_path, monkeypatch):
    run = preference_runs.make(tmp_path / "run", "dpo", parent, **CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(preference_policy, "resume", dies)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(dpo.main, run)
    assert list((run.path / "tokens").glob("reference-*"))
    change_answers(run, {LIKED: DISLIKED, DISLIKED: LIKED}.__getitem__)
    assert entry.attempt(dpo.main, run) == 0, run.failure()
    first = preference_runs.metrics(run)[0]["values"]
    assert (first["chosen_reward"], first["rejected_reward"]) == pytest.approx((0, 0), abs=1e-3)


def dies(*given: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("kind", "recipe"), [("dpo", dpo), ("kto", kto)])
def test_of_less_than_an_epoch_the_reference_is_of_what_steps_and_measurements_ask_for(
    parent, tmp_path, monkeypatch, kind, recipe
):
    run = preference_runs.make(tmp_path / "run", kind, parent, **CONFIG, epochs=0.3)
    courses, honest = [], preference_policy.learn
    monkeypatch.setattr(preference_policy, "learn", lambda *given: (courses.append(given[0]), honest(*given)))
    assert entry.attempt(recipe.main, run) == 0, run.failure()
    assert 0.1 < np.isnan(courses[0].learning.reference).mean() < 0.9
    values = [row["values"] for row in preference_runs.metrics(run)]
    assert all(math.isfinite(row["loss"]) for row in values)
    held_out = (run.result() or {})["held_out"]
    assert held_out and all(math.isfinite(row["value"]) for row in held_out.values() if row and "value" in row)


def test_of_less_than_an_epoch_the_frozen_layers_run_for_what_is_asked_for(parent, tmp_path, monkeypatch):
    run = preference_runs.make(tmp_path / "run", "dpo", parent, **CONFIG, epochs=0.3, adapters="top")
    kept, honest = [], preference_policy.learn
    monkeypatch.setattr(
        preference_policy, "learn",
        lambda course, *given: (kept.append((course.learning, {*course.work.policy._trunk})), honest(course, *given)),
    )  # fmt: skip
    assert entry.attempt(dpo.main, run) == 0, run.failure()
    [(learning, trunk)] = kept
    assert trunk == {*np.flatnonzero(~np.isnan(learning.reference)).tolist()}


def test_a_checkpoint_of_an_earlier_versions_loop_is_refused_in_words(parent, tmp_path):
    """One of every weight in several processes: the names of its weights are the same."""
    run = preference_runs.make(tmp_path / "run", "dpo", parent, **CONFIG, adapters="full")
    masters = Student(loading.load_policy(parent)[0], "full", rank=1, seed=0, dtype=torch.float32).masters
    optimiser = masters.optimiser(rate=0.1, weight_decay=0.0, beta2=0.9)
    steps.save_checkpoint(
        run, ONE_PROCESS, 1, parameters=masters.masters, optimiser=optimiser, extra={"scheduler": {}}
    )  # fmt: skip
    assert entry.attempt(dpo.main, run) == 1
    failure = run.failure()
    assert failure is not None and failure["code"] == "checkpoint_unreadable" and "step-000001" in failure["message"]


def test_padding_counts_in_what_is_forwarded_at_once(parent, tmp_path, monkeypatch):
    """The shorter answer of a pair is padded to the longer one."""
    most, sizes, padded = 400, [], Student._padded

    def measured(self: Student, examples: list[Any], module: Any) -> Any:
        sizes.append((len(examples), len(examples) * max(len(example.tokens) for example in examples)))
        return padded(self, examples, module)

    monkeypatch.setattr(batch_planner, "CPU_TOKENS", most)
    monkeypatch.setattr(trained_model, "packed_agrees", lambda model: False)
    monkeypatch.setattr(Student, "_padded", measured)
    run = preference_runs.make(tmp_path / "run", "dpo", parent, **CONFIG)
    change_answers(run, {LIKED: LIKED, DISLIKED: 8 * DISLIKED}.__getitem__)
    assert entry.attempt(dpo.main, run) == 0, run.failure()
    assert max(size for _, size in sizes) <= most and max(count for count, _ in sizes) > 2
