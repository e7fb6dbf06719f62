"""Pages of a decided experiment and of rounds with many votes: processor time and statements of the database.

    python -m benchmarks.experiment_pages                  60 models and 50,000 votes each, on SQLite
    python -m benchmarks.experiment_pages --keep FOLDER    filled once, measured as often as one likes

An experiment has 19 arms of three models, its base and two exploratory models; four in five votes came before its
verdict. Rounds have 50 models and the first. Voters gave a hundred votes each, on answers that runs drew in bulk. A
page is opened as a manager: first in a fresh process, which also loads the program, then again with nothing new, then
each time after a vote. Milliseconds of a processor, the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

GOAL_MS = 300
SEEDS, LATE, ROUNDS, QUESTIONS, OF_A_VOTER = 3, 2, 50, 20, 100
STEPS = 100  # of a run of PPO that record its KL
Votes = Sequence[tuple[Any, Any]]  # the two models of each


def fill(votes: int, arms: int, rounds: int) -> dict[str, str]:
    """Make the two projects; return the address of each page, and the session of their manager."""
    import numpy as np

    from annotate.models import User
    from tests.support.factories import make_user

    random = np.random.default_rng(0)
    manager = make_user(is_staff=True)
    names = (f"voter-{k}" for k in range(max(votes // OF_A_VOTER, 2)))
    people = User.objects.bulk_create([User(username=name) for name in names])
    return {
        "experiment": _experiment(votes, arms, manager, people, random),
        "rounds": _rounds(votes, rounds, manager, people, random),
        "session": _session(manager),
    }


def _experiment(votes: int, arms: int, manager: Any, people: Sequence[Any], random: Any) -> str:
    from django.utils import timezone

    from annotate.data.datasets.actions import freeze
    from evaluation.experiments import actions
    from evaluation.experiments.experiment_results import decide
    from evaluation.models import ArmModel, Experiment
    from tests.support.training.runs import make_weights

    project = _project("experiment", manager)
    dataset = freeze(project=project, kind="preferences", name="judgements", by=None)
    experiment = actions.order(
        project=project, by=manager, name="methods", parent=make_weights(), dataset=dataset, seeds=SEEDS,
        arms=[{"method": "dpo"}], reward_model=make_weights(kind="reward"), votes_per_pair=10,
    )  # fmt: skip
    experiment.arms.exclude(method="base").delete()
    for k in range(arms):
        _arm(experiment, ("ppo", "grpo", "dpo")[k % 3], f"arm {k}", SEEDS)
    _arm(experiment, "dpo", "late", LATE, is_exploratory=True)
    entered, first = timezone.now() - timedelta(days=1), 4 * votes // 5
    ArmModel.objects.update(entered_at=entered)
    plan = {**experiment.plan, "stop": {"votes": first, "votes_per_pair": 10, "pairs": arms}}
    Experiment.objects.update(state="voting", entered_at=entered, plan=plan)
    models = list(ArmModel.objects.order_by("pk").values_list("model", flat=True))  # the late ones come last
    counts = [len(models) - LATE] * first + [len(models)] * (votes - first)
    pairs = [tuple(models[m] for m in random.choice(count, 2, replace=False)) for count in counts]
    _vote(project, pairs, people, random, manager)
    experiment.refresh_from_db()
    assert decide(experiment)  # which needs votes that count
    return f"/p/{project.slug}/experiments/{experiment.pk}/"


def _arm(experiment: Any, method: str, name: str, seeds: int, *, is_exploratory: bool = False) -> None:
    from evaluation.models import ArmModel, ExperimentArm
    from tests.support.factories import make_model

    arm = ExperimentArm.objects.create(
        experiment=experiment, name=name, method=method, is_exploratory=is_exploratory,
        config={"config": {}, "drawing": {}},
    )  # fmt: skip
    for seed in range(seeds):
        run = _run(experiment.project, method, f"experiment:{experiment.pk}:{arm.pk}:{seed}", experiment.created_by)
        ArmModel.objects.create(arm=arm, seed=seed, model=make_model(parent=experiment.parent), training_run=run)


def _rounds(votes: int, rounds: int, manager: Any, people: Sequence[Any], random: Any) -> str:
    from django.utils import timezone

    from evaluation.models import Round
    from evaluation.rounds import actions
    from tests.support.factories import make_model
    from tests.support.training.runs import make_weights

    project = _project("rounds", manager)
    first = make_weights()
    series = actions.order(
        project=project, by=manager, name="rounds", parent=first, method="dpo", judgements=20, votes=10, rounds=rounds
    )
    now = timezone.now() - timedelta(days=1)
    Round.objects.filter(series=series, number=0).update(entered_at=now)
    models = [first.pk]
    for number in range(1, rounds + 1):
        runs = {kind: _run(project, kind, f"rounds:{series.pk}:{number}", manager) for kind in ("sample", "dpo")}
        model = make_model(parent=first)
        gain = {"votes": 10, "value": 5.0, "lower": -3.0, "upper": 12.0}
        Round.objects.update_or_create(
            series=series, number=number,
            defaults={
                "policy_id": models[-1], "model": model, "answers_run": runs["sample"], "training_run": runs["dpo"],
                "opened_at": now, "needed": 20, "dataset": series.prompts, "entered_at": now, "gain": gain,
            },
        )  # fmt: skip
        models.append(model.pk)
    numbers = random.integers(1, rounds + 1, votes)
    before = [n - 1 if share < 0.8 else 0 for n, share in zip(numbers, random.random(votes), strict=True)]
    _vote(project, [(models[n], models[m]) for n, m in zip(numbers, before, strict=True)], people, random, manager)
    return f"/p/{project.slug}/rounds/{series.pk}/"


def _project(slug: str, manager: Any) -> Any:
    """A project with a little feedback to learn from, and eval prompts."""
    from annotate.models import Membership
    from tests.support.factories import make_comparison, make_completion, make_project, make_prompt

    project = make_project(slug=slug, name=slug.title())
    Membership.objects.create(project=project, user=manager, role="manager")
    for number in range(12):
        prompt = make_prompt(project, f"Train {slug} {number}")
        good, bad = make_completion(prompt, f"Good {number}."), make_completion(prompt, f"Bad {number}.")
        make_comparison(good, bad, "model_a", manager)
    for number in range(QUESTIONS):
        make_prompt(project, f"Eval {slug} {number}", side="eval")
    return project


def _run(project: Any, kind: str, key: str, by: Any, **fields: Any) -> Any:
    """A run that took a minute; one of PPO or GRPO recorded KL and score of each step."""
    from django.utils import timezone

    from training.models import Attempt, Metric, Run

    now = timezone.now()
    run = Run.objects.create(
        project=project, kind=kind, name=f"{kind} {key}", state="succeeded", created_by=by,
        idempotency_key=f"{by.pk}:{key}:{kind}", finished_at=now, **{"config": {}, **fields},
    )  # fmt: skip
    ended = now + timedelta(minutes=1)  # it starts when it is stored
    Attempt.objects.create(run=run, number=1, state="succeeded", ended_at=ended, lease_expires_at=now)
    if kind in ("ppo", "grpo"):
        values = ({"kl": 0.05 * n, "score": 0.02 * n} for n in range(STEPS))
        Metric.objects.bulk_create(
            Metric(run=run, sequence=n, step=n, time=now, values=v) for n, v in enumerate(values)
        )
    return run


def _vote(project: Any, pairs: Votes, people: Sequence[Any], random: Any, manager: Any) -> None:
    """Give these votes on answers that a run of each model drew to all eval prompts, as all plans say."""
    from annotate.models import Comparison, Completion
    from evaluation.leaderboard.votes.counts import catch_up
    from training.models import Run
    from training.runs.ordering.actions import defaults_of

    prompts = list(project.prompts.filter(side="eval"))
    models = sorted({int(pk) for pair in pairs for pk in pair})
    made = Completion.objects.bulk_create(
        [Completion(prompt=prompt, model_id=pk, text="An answer.") for prompt in prompts for pk in models]
    )
    settings = {**defaults_of("sample", project), "completions_per_prompt": 1}
    runs = {pk: _run(project, "sample", f"answers:{pk}", manager, parent_id=pk, config=settings) for pk in models}
    drawn = Run.completions.through
    drawn.objects.bulk_create([drawn(run=runs[one.model_id], completion=one) for one in made], batch_size=5_000)
    answers = {(row.prompt_id, row.model_id): row for row in made}
    labels = random.choice(["model_a", "model_b", "tie"], len(pairs), p=[0.4, 0.35, 0.25])
    voters = random.integers(0, len(people), len(pairs))
    Comparison.objects.bulk_create(
        [
            Comparison(
                project=project, prompt=prompts[k % len(prompts)], author=people[voter], judge="person", source="arena",
                completion_a=answers[prompts[k % len(prompts)].pk, int(a)],
                completion_b=answers[prompts[k % len(prompts)].pk, int(b)], winner=str(label),
            )
            for k, ((a, b), label, voter) in enumerate(zip(pairs, labels, voters.tolist(), strict=True))
        ],
        batch_size=5_000,
    )  # fmt: skip
    catch_up()


def _session(user: Any) -> str:
    from django.test import Client

    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def measure(votes: int, arms: int, rounds: int, repeats: int) -> int:
    import json

    import django

    django.setup()
    from annotate.models import Comparison, Project

    kept = Path(os.environ["ASSAY_DATA"]) / "pages.json"
    if not kept.exists():
        kept.write_text(json.dumps(fill(votes, arms, rounds)))
        return measure_again()
    pages = json.loads(kept.read_text())
    session = pages.pop("session")
    print("\n| page | first | nothing new | after a vote | statements |\n|---|---|---|---|---|")
    for name, address in pages.items():
        newest = Comparison.objects.filter(project=Project.objects.get(slug=name)).order_by("-id").values().first()
        assert newest is not None
        vote = {column: value for column, value in newest.items() if column != "id"}
        opened = _opener(session, address)
        first, again = _milliseconds(opened, 1), _milliseconds(opened, repeats)
        voted = _milliseconds(opened, repeats, lambda vote=vote: Comparison.objects.create(**vote))
        print(f"| {name} | {first:.0f} | {again:.0f} | {voted:.0f} | {opened()} |", flush=True)
    print(f"\nMilliseconds of a processor; load {os.getloadavg()[0]:.1f}; the goal is {GOAL_MS}")
    return 0


def measure_again() -> int:
    """Measure in a fresh process, which knows nothing of what was filled."""
    return subprocess.call([sys.executable, "-m", "benchmarks.experiment_pages", *sys.argv[1:]])


def _opener(session: str, address: str) -> Callable[[], int]:
    """Return what opens a page, and says how many statements it took."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client()
    client.cookies["sessionid"] = session

    def opened() -> int:
        with CaptureQueriesContext(connection) as seen:
            response = client.get(address)
        assert response.status_code == 200, response.status_code
        return len(seen)

    return opened


def _milliseconds(work: Callable[[], Any], repeats: int, before: Callable[[], Any] = lambda: None) -> float:
    """Return the median of a processor's; `before` is not counted."""
    taken = []
    for _ in range(repeats):
        before()
        begun = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - begun))
    return statistics.median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=50_000, help="of each page")
    parser.add_argument("--arms", type=int, default=19, help="of three models each")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--keep", type=Path, help="a folder for the database, which is found filled the next time")
    options = parser.parse_args()
    if "ASSAY_BENCHMARK_PAGES" in os.environ:
        return measure(options.votes, options.arms, options.rounds, options.repeats)
    from benchmarks.database import make_static, make_tables

    with tempfile.TemporaryDirectory(prefix="assay-pages-") as temporary:
        folder = (options.keep or Path(temporary)).resolve() / "data"
        environment = os.environ | {
            "ASSAY_DATA": str(folder), "DEBUG": "0", "SECRET_KEY": "pages", "ALLOWED_HOSTS": "testserver",
            "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "WARNING", "ASSAY_BENCHMARK_PAGES": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        environment.pop("DATABASE_URL", None)
        if not folder.exists():
            folder.mkdir(parents=True)
            make_tables(environment)
            make_static(environment)
        return subprocess.call([sys.executable, "-m", "benchmarks.experiment_pages", *sys.argv[1:]], env=environment)


if __name__ == "__main__":
    sys.exit(main())
