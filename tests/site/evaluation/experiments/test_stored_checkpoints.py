"""Kept checkpoints as contestants where every run is carried out by a host that has nothing, and S3 lies between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from annotate.core.artefacts import local_copies
from annotate.data.datasets.actions import freeze
from annotate.language_models.actions import enter_arena
from annotate.models import Completion, Dataset, LanguageModel, Project, User
from evaluation.experiments import actions, experiment_progress, present
from evaluation.leaderboard import snapshots
from evaluation.leaderboard.leaderboard_rows import standings
from evaluation.models import Experiment
from tests.support import tiny_model
from tests.support.evaluation.experiments import models_of
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_model,
    make_project,
    make_prompt,
    make_rating,
    make_user,
)
from tests.support.s3_server import BUCKET, s3_server
from tests.support.training import corpora
from training.models import Attempt, KeptCheckpoint
from training.runs.ordering.actions import queue_run
from training.runs.queue import supervision
from training.runs.worker import Worker
from training.storage import pruning

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.timeout(1200),
    pytest.mark.django_db(transaction=True),
]

SHORT = {"max_new_tokens": 12}
PPO = SHORT | tiny_model.NO_FLUENCY_BOUNDS | {
    "batch_size": 8, "steps": 3, "calibration_episodes": 8, "sample_prompts": 1, "stop_kl": 0.0,
    "min_distinct_ratio": 0.0, "trust_unproven_reward": True, "adapters": "lora", "kept_checkpoints": 1,
}  # fmt: skip
DPO = {"batch_size": 8, "epochs": 0.5, "sample_tokens": 4, "kept_checkpoints": 1}
PRETRAIN = {
    "size": "1M", "context_length": 64, "batch_size": 4, "max_tokens": 4000, "validation_tokens": 1000,
    "sample_tokens": 4, "kept_checkpoints": 2,
}  # fmt: skip
NewHost = Callable[[], Path]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """One for all tests here: a process opens a storage once by its address."""
    with s3_server() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.variables.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def _storage(settings: Any, server: None, request: pytest.FixtureRequest) -> None:
    settings.STORAGE = f"s3://{BUCKET}/{request.node.name}"


@pytest.fixture
def new_host(settings: Any, tmp_path: Path) -> NewHost:
    """Make this process one of a host that has nothing."""
    made: list[Path] = []

    def become() -> Path:
        data = tmp_path / f"host-{len(made)}"
        made.append(data)
        settings.DATA_DIR = data
        for name in ("runs", "models", "datasets"):
            setattr(settings, f"{name.upper()}_DIR", data / name)
            (data / name).mkdir(parents=True)
        return data

    become()
    return become


@pytest.fixture
def carry_out(new_host: NewHost, monkeypatch: pytest.MonkeyPatch) -> Callable[[Project], None]:
    """Return what carries out all runs of a project, each on a host of its own."""
    claim = supervision.claim

    def claim_elsewhere(**options: Any) -> Attempt | None:
        new_host()
        return claim(**options)

    monkeypatch.setattr(supervision, "claim", claim_elsewhere)

    def carry_out(project: Project) -> None:
        Worker(name="test", tick_seconds=0.05).work(once=True)
        assert [(str(run), run.reason) for run in project.runs.exclude(state="succeeded")] == []

    return carry_out


def lost_nothing(project: Project, new_host: NewHost) -> None:
    """Prune on a host that has no run, and find each kept model whole on another."""
    new_host()
    pruning.prune(at_once=True)
    new_host()
    kept = KeptCheckpoint.objects.filter(run__project=project)
    assert kept
    for one in kept:
        path = one.model.path
        assert path is not None and not path.exists()
        local_copies.bring(path)
        assert list(path.glob("*.safetensors")), f"{one.model} has no weights"


def stored_base() -> LanguageModel:
    base = make_model(name="base", folder="models/base")
    tiny_model.make_elsewhere(base.path)
    local_copies.keep(base.path)
    return base


def annotated(project: Project, base: LanguageModel) -> Dataset:
    annotator = make_user(project)
    for number in range(60):
        prompt = make_prompt(project, f"Say {number}")
        good, bad = (make_completion(prompt, text, model=base) for text in ("abababab", "xyzzyxyz"))
        for one, other, winner in ((good, bad, "model_a"), (bad, good, "model_b")):
            make_comparison(one, other, winner, annotator if winner == "model_a" else make_user(project))
        make_rating(good, annotator, thumbs=True)
        make_rating(bad, annotator, thumbs=False)
    for number in range(3):
        make_prompt(project, f"What is {number}?", side="eval")
    return freeze(project=project, kind="preferences", name="annotations", by=None)


def vote(winner: LanguageModel, other: LanguageModel, voter: User) -> None:
    """Vote on what both have answered."""
    answers = [
        Completion.objects.filter(model=one, prompt__side="eval").order_by("prompt")[0] for one in (winner, other)
    ]
    make_comparison(*answers, "model_a", voter)


def test_checkpoints_of_ppo_and_dpo_answer_meet_and_outlast_pruning(new_host, carry_out):
    project = make_project(eval_percent=0)
    researcher, base = make_user(project, role="researcher"), stored_base()
    arms = [
        {"method": name, "config": config, "takes_checkpoints": True} for name, config in (("dpo", DPO), ("ppo", PPO))
    ]
    experiment = actions.order(
        project=project, by=researcher, name="steps", parent=base, dataset=annotated(project, base), arms=arms, seeds=2,
        votes_per_pair=2, completions_per_prompt=1,
    )  # fmt: skip
    carry_out(project)
    experiment.refresh_from_db()
    problems = [one.problem for arm in experiment.arms.all() for one in arm.models.all() if one.problem]
    assert (experiment.state, problems) == ("voting", [])
    steps = [arm.name for arm in experiment.arms.filter(is_exploratory=True)]
    assert len(steps) == 2 and {name.partition(",")[0] for name in steps} == {"DPO", "PPO"}
    everybody = [model for arm in experiment.arms.all() for model in models_of(experiment, arm.name)]
    assert set(project.contestants.filter(left_at=None).values_list("model", flat=True)) == {m.pk for m in everybody}
    assert Completion.objects.filter(model__in=everybody, prompt__side="eval").count() == 3 * len(everybody) == 27
    for one in everybody:
        for other in everybody:
            if one.pk < other.pk:
                vote(one, other, make_user(project))
                vote(other, one, make_user(project))
    experiment_progress.periodic_task()
    assert Experiment.objects.get().state == "decided"
    rated = {one.name for one in present.shown(Experiment.objects.get()).exploratory.arms}
    assert rated == {"base", "DPO", "PPO", *steps}
    lost_nothing(project, new_host)


def test_checkpoints_of_pretraining_answer_meet_and_outlast_pruning(new_host, carry_out):
    project = make_project(eval_percent=0)
    tokenizer = make_model(name="tokenizer", folder="models/tokenizer", kind=LanguageModel.Kind.TOKENIZER)
    corpora.make_tokenizer(tokenizer.path)
    corpus = Dataset.objects.create(
        project=project, name="corpus", kind="corpus", side="train", content_hash="c" * 64,
        counts={"documents": 300, "bytes": 60_000, "validation_bytes": 9_000},
    )  # fmt: skip
    corpora.write_corpus(corpus.path, corpora.texts(300), corpora.texts(60, seed=1))
    for path in (tokenizer.path, corpus.path):
        local_copies.keep(path)
    for number in range(3):
        make_prompt(project, f"What is {number}?", side="eval")
    questions = freeze(project=project, kind="prompts", side="eval", name="questions", by=None)
    order = {"project": project, "by": make_user(project, role="researcher")}
    run = queue_run(kind="pretrain", name="small", parent=tokenizer, dataset=corpus, config=PRETRAIN, **order)
    carry_out(project)
    kept = [one.model for one in run.kept_checkpoints.order_by("step")]
    run.refresh_from_db()
    assert len(kept) == 2
    for model in [*kept, run.output_model]:
        queue_run(kind="sample", name=f"answers of {model}", parent=model, dataset=questions, config=SHORT, **order)
        if model in kept:
            enter_arena(project=project, model=model)
    carry_out(project)
    for model in kept:
        vote(run.output_model, model, make_user(project))
        vote(model, run.output_model, make_user(project))
    assert {row.model.pk for row in standings(snapshots.current(project=project, judge="person"))} >= {
        model.pk for model in kept
    }
    lost_nothing(project, new_host)
