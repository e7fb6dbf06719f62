"""An installation that is small and whole: a row of each kind that names files, the files, and counted votes."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from django.utils import timezone

from annotate.data import frozen_rows
from annotate.data.imports import kept_files
from annotate.labelling import actions as feedback
from annotate.labelling import assigning
from annotate.labelling.actions import set_status
from annotate.labelling.queue_upkeep import take_in_changes
from annotate.models import Comparison, Dataset, Import, LanguageModel, Project, Split, Status
from evaluation.leaderboard.votes.counts import catch_up
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_model,
    make_pair,
    make_project,
    make_prompt,
    make_user,
)
from tests.support.training.runs import make_run
from training.core.file_checks.content_hashes import full_weights_hash
from training.models import Metric, Run
from training.storage.stored_runs import identity_of


@dataclass(frozen=True)
class Installation:
    project: Project
    model: LanguageModel
    dataset: Dataset
    run: Run
    import_: Import
    vote: Comparison

    @property
    def checkpoint(self) -> Path:
        return self.run.path / "checkpoints" / "step-000002" / "state.safetensors"

    @property
    def upload(self) -> Path:
        return kept_files.folder() / self.import_.file_hash


def make_installation() -> Installation:
    project = make_project(eval_percent=0, asks_ratings=False, asks_comparisons=True)
    model, dataset = _model(), _dataset(project)
    installation = Installation(
        project, model, dataset, _run(project, model, dataset), _import(project), _votes(project)
    )
    others = LanguageModel.objects.exclude(pk=model.pk)
    for other in others:
        shutil.rmtree(other.path, ignore_errors=True)
    others.update(folder="", endpoint="http://127.0.0.1:9/v1")
    return installation


def write_weights(path: Path, tensor: bytes = b"\0" * 8) -> None:
    """Write a safetensors file without torch."""
    header = {"w": {"dtype": "F32", "shape": [len(tensor) // 4], "data_offsets": [0, len(tensor)]}}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + tensor)


def _model() -> LanguageModel:
    model = make_model()
    write_weights(model.path / "model.safetensors")
    (model.path / "config.json").write_text('{"hidden_size": 2}')
    model.content_hash = full_weights_hash(model.path)
    model.save()
    return model


def _dataset(project: Project) -> Dataset:
    rows = {"prompts": [{"id": 1, "messages": [{"role": "user", "content": "Grüße"}]}]}
    content_hash = frozen_rows.write(rows, kind="prompts", side="train")
    return Dataset.objects.create(
        project=project, name="first", kind="prompts", side="train", content_hash=content_hash
    )


def _run(project: Project, model: LanguageModel, dataset: Dataset) -> Run:
    run = make_run(project, state="failed", started_at=timezone.now(), dataset=dataset, parent=model)
    run.path.mkdir(parents=True)
    (run.path / "identity").write_text(identity_of(run))
    (run.path / "config.json").write_text(json.dumps({"kind": "fake", "dataset_hash": dataset.content_hash}))
    (run.path / "metrics.jsonl").write_text("".join(f'{{"sequence": {n}}}\n' for n in (1, 2)))
    for n in (1, 2):
        Metric.objects.create(run=run, sequence=n, step=n, values={"loss": 0.5}, time=timezone.now())
    write_weights(run.path / "checkpoints" / "step-000002" / "state.safetensors")
    return run


def _import(project: Project) -> Import:
    kept = kept_files.keep(io.BytesIO(b'{"text": "one"}\n'), "rows.jsonl")
    return Import.objects.create(
        project=project, created_by=make_user(project), format="assay", source="test", file_name=kept.name,
        file_hash=kept.hash, bytes=kept.bytes,
    )  # fmt: skip


def _votes(project: Project) -> Comparison:
    """Judge an item of the queue, and have two models' votes counted, one of them held since."""
    make_pair(project)
    while take_in_changes():
        pass
    annotator = make_user(project)
    assignment = assigning.next_for(project=project, user=annotator)
    feedback.submit(assignment=assignment, by=annotator, winner="tie")
    prompt, models = make_prompt(project, side=Split.EVAL), [make_model(), make_model()]
    votes = [make_comparison(*(make_completion(prompt, model=model) for model in models)) for _ in range(2)]
    set_status(rows=[votes[0]], by=None, status=Status.HELD, reason="bursts")
    catch_up()
    while take_in_changes():
        pass
    return votes[0]
