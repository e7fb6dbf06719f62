"""Adds to a site a project with two runs whose pages are full, in a process of its own. Prints what it made.

python -m tests.support.sites.fill_runs           # the project
python -m tests.support.sites.fill_runs RUN STEP  # one more row of figures of a run that is under way
"""

from __future__ import annotations

import json
import math
import os
import sys
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from annotate.models import Project, User  # noqa: E402
from tests.support import factories  # noqa: E402
from training import configs  # noqa: E402
from training.models import Attempt, Metric, Run, Sample  # noqa: E402

STEPS = 40
WORDS = [
    "The",
    "Moon",
    "pulls",
    "at",
    "the",
    "sea,",
    "and",
    "the",
    "sea",
    "rises",
    "towards",
    "it",
    "twice",
    "a",
    "day.",
]


def main() -> dict[str, object]:
    project = factories.make_project(slug="curves", name="Curves")
    project.memberships.create(user=User.objects.get(username="rita"), role="manager", guideline_read=0)
    parent = factories.make_model(name="Curlew", folder="models/curlew")
    runs = [_run(project, parent, name) for name in ("first-ppo", "second-ppo")]
    return {"project": project.slug, "runs": [run.pk for run in runs]}


def _run(project: Project, parent, name: str) -> Run:
    config = configs.parse("ppo", {"reward_function": "a.b"}).__dict__ | {"steps": STEPS, "stop_kl": 9.0}
    now = timezone.now()
    run = Run.objects.create(
        project=project, kind="ppo", name=name, parent=parent, config=config, state="running", started_at=now,
        step=STEPS, total_steps=2 * STEPS, phase="training",
    )  # fmt: skip
    # The lease outlasts the tests: no worker takes the run over.
    lease = now + timedelta(days=1)
    Attempt.objects.create(run=run, number=1, worker="w@h:1:1:1", launcher="local", lease_expires_at=lease)
    Metric.objects.bulk_create(row_of(run, step) for step in range(STEPS))
    for step in (0, STEPS // 2, STEPS - 1):
        for number in range(1, 4):
            prompt = [{"role": "user", "content": f"Why are there tides, {number}?"}]
            text = " ".join([*WORDS[: 4 + step // 4], *WORDS] * 3)
            sequence = run.samples.count() + 1
            Sample.objects.create(
                run=run, sequence=sequence, step=step, prompt=prompt, completion=text, score=step / STEPS
            )
    run.path.mkdir(parents=True)
    lines = "".join(f"18:00:{step:02d} step {step}: score_mean {step / STEPS:.3f}\n" for step in range(STEPS))
    (run.path / "log.txt").write_text(f"{settings.DATA_DIR}\n{lines}")
    return run


def row_of(run: Run, step: int) -> Metric:
    wave = math.sin(step) / 10
    values = {
        "score_mean": step / STEPS + wave, "kl": 0.1 + step / 8, "length_mean": 44 + 5 * wave, "distinct": 0.9 + wave,
        "entropy": 2.5 + wave, "eos_rate": 0.6 + wave, "loss": 2.0 - step / STEPS, "learning_rate": 1e-5,
        "policy_loss": wave, "clip_frac": 0.1,
    }  # fmt: skip
    if step == 0:
        values |= {"held_out_score": 0.53}
    return Metric(run=run, sequence=step + 1, step=step, time=timezone.now(), values=values)


if __name__ == "__main__":
    with transaction.atomic():
        if len(sys.argv) > 1:
            row_of(Run.objects.get(pk=sys.argv[1]), int(sys.argv[2])).save()
            made: dict[str, object] = {}
        else:
            made = main()
    print(json.dumps(made))
