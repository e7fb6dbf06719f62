"""What a run that ended well leaves: completions with true settings, models with a card; once or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from annotate.models import Completion, LanguageModel, Project, ServedAdapter
from evaluation.registry.ancestry import ancestry
from tests.support.factories import make_model, make_project, make_prompt, make_user
from tests.support.training.runs import make_dataset, make_run, make_weights
from training import configs
from training.core import kept_steps
from training.core.kinds import KINDS, Kind
from training.core.run_directory import RunDirectory
from training.models import Run
from training.runs.present.default_models import newest_model
from training.runs.queue import outputs
from training.serving.served_children import child_of_a_run
from training.storage import disk_usage

pytestmark = pytest.mark.django_db

SAMPLING = {"temperature": 0.8, "top_p": 1.0, "max_new_tokens": 64}


def completion(prompt_id: int, index: int, text: str, **fields: Any) -> dict[str, Any]:
    row = {"prompt_id": prompt_id, "index": index, "text": text, "tokens": 3, "finish_reason": "stop", "seed": 2**40}
    return {**row, "sampling": SAMPLING, **fields}


def finished(run: Run, rows: list[dict[str, Any]] | None = None, **result: Any) -> RunDirectory:
    """The directory of a run whose recipe has just ended."""
    directory = RunDirectory(run.path)
    directory.path.mkdir(parents=True)
    for row in rows or []:
        directory.log_completions(row)
    directory.finish({"score": 1.0, **result})
    return directory


def recorded(run: Run, directory: RunDirectory) -> Run:
    outputs.record(run, outputs.gather(run, directory))
    run.save()
    return Run.objects.get(pk=run.pk)


def test_sampled_completions_carry_their_model_settings_and_run():
    project = make_project()
    dataset = make_dataset(project, rows=2)
    run = make_run(project, kind="sample", dataset=dataset)
    ids = list(dataset.prompts.values_list("pk", flat=True))
    rows = [completion(pk, i, f"Answer {i} to {pk}\x00.") for pk in ids for i in range(2)]
    run = recorded(run, finished(run, rows))
    assert [c.prompt_id for c in run.completions.order_by("pk")] == [ids[0], ids[0], ids[1], ids[1]]
    first = run.completions.order_by("pk").first()
    assert (first.text, first.model, first.seed, first.tokens) == (f"Answer 0 to {ids[0]}\ufffd.", run.parent, 2**40, 3)
    assert (first.sampling, first.finish_reason, first.source) == (SAMPLING, "stop", f"run {run.pk}")
    assert first.sampled_by.get() == run
    assert run.output_model is None and run.result["completions"] == 4


def test_a_cost_that_no_field_holds_is_left_out():
    project = make_project()
    run = make_run(project, kind="sample", dataset=make_dataset(project, rows=1))
    [pk] = run.dataset.prompts.values_list("pk", flat=True)
    costs = ["0.5", "1000000", "0", None, "999999.999999999"]
    run = recorded(run, finished(run, [completion(pk, i, f"{i}", cost=cost) for i, cost in enumerate(costs)]))
    kept = [completion.cost for completion in run.completions.order_by("pk")]
    assert kept[:4] == [Decimal("0.5"), None, 0, None] and kept[4] is None


def test_an_empty_answer_is_counted_and_not_shown_to_judges():
    project = make_project()
    dataset = make_dataset(project, rows=1)
    run = make_run(project, kind="sample", dataset=dataset)
    pk = dataset.prompts.get().pk
    run = recorded(run, finished(run, [completion(pk, 0, " \n"), completion(pk, 1, "Yes.")]))
    assert (run.result["completions"], run.result["empty_completions"]) == (1, 1)
    assert Completion.objects.get().text == "Yes."


def test_answers_to_prompts_of_another_project_are_refused():
    stranger = make_prompt(make_project())
    run = make_run(kind="sample")
    with pytest.raises(outputs.BadOutput, match=str(stranger.pk)):
        recorded(run, finished(run, [completion(stranger.pk, 0, "Yes.")]))
    assert not Completion.objects.exists()


def made_model(directory: RunDirectory, text: str = "weights") -> RunDirectory:
    folder = directory.begin_model()
    (folder / "model.safetensors").write_text(text)
    directory.commit_model()
    return directory


def test_a_model_knows_its_parent_its_run_and_what_it_was_made_of():
    project = make_project()
    parent = make_weights(licence="apache-2.0", parameters=9)
    run = make_run(project, kind="ppo", parent=parent, dataset=make_dataset(project), seed=3)
    run = recorded(run, made_model(finished(run)))
    model = run.output_model
    assert (model.kind, model.stage, model.parent, model.licence, model.parameters) == (
        "policy", "PPO", parent, "apache-2.0", 9,
    )  # fmt: skip
    assert model.made_by == run and model.path == run.path / "model"
    assert model.card["dataset"] == {"id": run.dataset.pk, "hash": run.dataset.content_hash, "counts": {"prompts": 2}}
    assert model.card["seed"] == 3 and model.card["metrics"]["score"] == 1.0
    assert project.contestants.get().model == model


def test_best_of_n_is_a_policy_of_its_own_without_weights():
    project = make_project()
    dataset = make_dataset(project, rows=1)
    run = make_run(project, kind="best_of", dataset=dataset, config={"candidates": 4})
    run = recorded(run, finished(run, [completion(dataset.prompts.get().pk, 0, "Yes.")]))
    model = run.output_model
    assert (model.kind, model.stage, model.parent, model.path) == ("policy", "best-of-4", run.parent, None)
    assert run.completions.get().model == model and model.card["config"]["candidates"] == 4
    assert project.contestants.get().model == model


def test_a_run_that_is_to_stay_out_of_the_arena_does():
    run = make_run(kind="ppo", enters_arena=False)
    run = recorded(run, made_model(finished(run)))
    assert run.output_model.kind == "policy" and not run.project.contestants.exists()


def test_a_reward_model_does_not_enter_the_arena():
    run = make_run(kind="reward")
    run = recorded(run, made_model(finished(run)))
    assert (run.output_model.kind, run.output_model.stage) == ("reward", "reward model")
    assert not run.project.contestants.exists()


def test_the_content_hash_is_the_recipes_own_or_that_of_the_files():
    runs = [make_run(kind="sft") for _ in range(3)]
    hashes = [
        recorded(run, made_model(finished(run, **result), text)).output_model.content_hash
        for run, text, result in zip(runs, ("a", "b", "c"), ({}, {}, {"hash": "f" * 64}), strict=True)
    ]
    assert len(set(hashes)) == 3 and hashes[2] == "f" * 64


def with_kept(run: Run, *steps: int) -> RunDirectory:
    rows = [{"step": step, "steps": 80, "hash": f"{step:064x}"} for step in steps]
    directory = finished(run, kept_checkpoints=rows, steps=80)
    for step in steps:
        (kept_steps.begin(directory, step) / "model.safetensors").write_text(f"of step {step}")
        kept_steps.commit(directory, step)
    return made_model(directory)


def test_a_model_gets_a_name_though_that_with_its_runs_number_is_taken_too():
    run = make_run(make_project(), kind="sft")
    for name in (run.name, f"{run.name} (run {run.pk})"):
        make_model(name=name)
    run = recorded(run, made_model(finished(run)))
    assert run.output_model.name == f"{run.name} (run {run.pk}) (2)"


def test_a_checkpoint_that_a_run_kept_is_a_model_of_its_line(client):
    project, by = make_project(), make_user(is_staff=True)
    parent, dataset = make_weights(licence="apache-2.0"), make_dataset(project)
    run = make_run(project, kind="sft", parent=parent, dataset=dataset, config={"kept_checkpoints": 2})
    make_model(name=f"{run.name}, step 40 of 80")  # somebody has taken the name
    run = recorded(run, with_kept(run, 20, 40))
    Run.objects.filter(pk=run.pk).update(state=Run.State.SUCCEEDED)
    kept = list(run.kept_checkpoints.select_related("model"))
    first, second = (one.model for one in kept)
    assert [one.step for one in kept] == [20, 40] and LanguageModel.objects.first() == run.output_model, "the newest"
    assert [model.name for model in (first, second)] == [
        f"{run.name}, step 20 of 80", f"{run.name}, step 40 of 80 (run {run.pk})",
    ]  # fmt: skip
    assert (first.kind, first.stage, first.parent, first.licence) == ("policy", "SFT", parent, "apache-2.0")
    assert first.content_hash == f"{20:064x}" and first.path == run.path / "kept" / "step-000020"
    assert first.maker == run and project.contestants.get().model == run.output_model, "it enters by hand alone"
    entry = ancestry(first, Project.objects.all())[-1]
    assert (entry.run, entry.datasets) == (run, [dataset]), "the data that it saw stays with it"
    assert LanguageModel.objects.usable_in(project).filter(pk=first.pk).exists()
    assert newest_model(LanguageModel.objects.policies(), project) == run.output_model
    child_of_a_run(run)
    assert ServedAdapter.objects.filter(model=first).exists()
    use = disk_usage.of_project(project)
    assert use.runs[0].kept > 0 and {one.model for one in use.models} >= {first, second, run.output_model}
    assert disk_usage.size_of_project(project) == use.of_runs + disk_usage.size_of(parent.path)
    client.force_login(by)
    page = client.get(reverse("run", args=[run.pk])).content.decode()
    assert f'<a href="{reverse("model", args=[first.pk])}">step 20</a>' in page
    assert "</a>, step 20</dd>" in client.get(reverse("model", args=[first.pk])).content.decode()
    api = client.get(f"/api/v1/runs/{run.pk}/").json()
    assert api["kept_checkpoints"] == [{"step": 20, "model": first.pk}, {"step": 40, "model": second.pk}]
    told = client.get(f"/api/v1/models/{first.pk}/").json()
    assert (told["run"], told["step"]) == (run.pk, 20)


@pytest.mark.parametrize("kind", ["policy", "encoder"])
def test_a_checkpoint_of_pretraining_is_of_the_kind_and_size_of_its_result(kind):
    run = make_run(kind="pretrain", parent=make_weights(kind="tokenizer", parameters=None))
    directory = with_kept(run, 20)
    directory.finish(directory.result() | {"model_kind": kind, "parameters": 1_234_567})
    run = recorded(run, directory)
    kept = run.kept_checkpoints.get().model
    assert (kept.kind, kept.parameters, kept.stage) == (kind, 1_234_567, "pretrained")
    assert (run.output_model.kind, run.output_model.parameters) == (kind, 1_234_567)


def test_a_kept_checkpoint_that_is_missing_is_said():
    run = make_run(kind="sft")
    directory = with_kept(run, 20)
    shutil.rmtree(kept_steps.model_of(directory, 20))
    with pytest.raises(outputs.BadOutput, match="step-000020"):
        outputs.gather(run, directory)


def test_a_model_that_is_missing_is_said():
    run = make_run(kind="sft")
    with pytest.raises(outputs.BadOutput, match="left no model"):
        outputs.gather(run, finished(run))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    from tests.support.training.fake_recipe import FakeConfig

    seen: list[Run] = []
    monkeypatch.setitem(configs.CONFIGS, "measure", FakeConfig)
    kind = Kind("measure", "Measure", "nowhere", record=lambda run, directory: seen.append(run))
    with KINDS.holding(kind, keeps_registered=True):
        yield seen


def test_a_kind_of_another_app_records_its_own_outputs(recorder):
    run = make_run(kind="measure")
    assert recorded(run, finished(run)).result == {"score": 1.0}
    assert recorder == [run]


def test_a_run_that_began_before_reasoning_was_told_apart_is_recorded():
    project = make_project()
    dataset = make_dataset(project, rows=1)
    run = make_run(project, kind="sample", dataset=dataset)
    pk = dataset.prompts.get().pk
    rows = [completion(pk, 0, "<think>Hm"), completion(pk, 1, "<think>Hm.</think>Yes.")]
    run = recorded(run, finished(run, rows))
    assert (run.result["completions"], run.result["only_reasoning"]) == (1, 1)
    assert Completion.objects.get().text == "Yes."
