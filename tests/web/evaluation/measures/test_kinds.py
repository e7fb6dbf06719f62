"""Which texts an evaluation is made on, and the figures that are written when a run has ended."""

import pytest
from django.utils import timezone

from evaluation.measures.eval_rows import texts
from evaluation.measures.recording import write_metrics
from evaluation.models import Evaluation
from evaluation.promotion import run_receivers as receivers
from tests.support.factories import make_comparison, make_completion, make_model, make_prompt, make_user
from tests.support.training.runs import make_dataset
from training import configs
from training.core.kinds import KINDS
from training.core.run_directory import RecipeFailure
from training.models import Run
from training.runs.ordering.end_events import tell_finished
from training.runs.queue.preparation import prepare

METRIC = {"value": 0.7, "standard_error": 0.02, "lower": 0.66, "upper": 0.74, "n": 400}
RESULT = {"metrics": {"pair_accuracy": METRIC, "stars_spearman": None}}


def make_run(project, **fields) -> Run:
    config = configs.parse("evaluate", fields.pop("config", {})).__dict__
    return Run.objects.create(project=project, **{"kind": "evaluate", "name": "how well", "config": config, **fields})


@pytest.fixture
def judged(project, base, child):
    """Four eval prompts on which the child's answer won, and one train prompt."""
    answers = []
    for side in ["eval"] * 4 + ["train"]:
        prompt = make_prompt(project, side=side)
        a, b = make_completion(prompt, model=base), make_completion(prompt, model=child)
        make_comparison(a, b, "model_b")
        answers.append(b)
    return answers


def test_the_preferred_answer_to_each_eval_prompt_is_taken(project, base, judged):
    rows = texts(make_run(project, parent=base))["texts"]
    assert {row["id"] for row in rows} == {answer.pk for answer in judged[:4]}
    assert rows[0]["prompt"][-1]["role"] == "user"


def test_the_texts_are_the_same_for_every_model(project, base, child, judged):
    of_base, of_child = (texts(make_run(project, parent=model)) for model in (base, child))
    assert of_base == of_child


def test_the_first_ancestors_own_answers_can_be_taken(project, base, child, judged):
    rows = texts(make_run(project, parent=child, config={"texts": "first"}))["texts"]
    assert len(rows) == 4
    assert not {row["id"] for row in rows} & {answer.pk for answer in judged}


def test_one_answer_to_a_prompt_is_taken_since_several_are_no_independent_draws(project, base, child, judged):
    for answer in judged:
        make_completion(answer.prompt, "another one", model=base)
    rows = texts(make_run(project, parent=child, config={"texts": "first"}))["texts"]
    assert len({str(row["prompt"]) for row in rows}) == len(rows) == 4


def test_it_is_told_whose_preference_chose_the_texts(project, base, judged):
    assert {row["judge"] for row in texts(make_run(project, parent=base))["texts"]} == {"person"}
    assert {row["judge"] for row in texts(make_run(project, parent=base, config={"texts": "first"}))["texts"]} == {""}


def test_answers_of_the_models_own_lineage_are_marked(project, base, child, judged):
    """`judged` are the child's: its relatives foresee them better than a stranger does."""
    stranger = make_model()
    for model, by_family in ((child, True), (base, True), (stranger, False)):
        assert {row["by_family"] for row in texts(make_run(project, parent=model))["texts"]} == {by_family}


def test_answers_that_were_cut_off_are_left_out(project, base, judged):
    judged[0].finish_reason = "length"
    judged[0].save()
    assert len(texts(make_run(project, parent=base))["texts"]) == 3


def test_too_few_texts_are_said_in_words(project, base):
    with pytest.raises(RecipeFailure, match="too few"):
        texts(make_run(project, parent=base))


def test_the_texts_are_frozen_by_the_first_attempt(project, base, judged, settings, tmp_path):
    settings.RUNS_DIR = tmp_path
    (tmp_path / "weights").mkdir()
    base.folder = str(tmp_path / "weights")
    base.save()
    run = make_run(project, parent=base)
    first = prepare(run).rows("texts")
    for answer in judged:
        answer.compared_as_b.update(winner="model_a")
    assert len(first) == 4
    assert prepare(run).rows("texts") == first


def test_an_evaluation_run_records_its_figures_of_the_model(project, base):
    result = {
        "metrics": {"accuracy": {**METRIC, "higher_is_better": True, "clean": None}, "MCC": None},
        "groups": {"grammar": {"accuracy": METRIC}},
        "task": "assay",
        "items_hash": "abc",
        "signature": "texts preferred abc; n 400",
    }
    run = make_run(project, parent=base, result=result)
    KINDS["evaluate"].record(run, None)
    row = Evaluation.objects.get(model=base, group="")
    assert (row.value, row.standard_error, row.lower, row.upper, row.n) == tuple(METRIC.values())
    assert (row.task, row.metric, row.items_hash, row.higher_is_better) == ("assay", "accuracy", "abc", True)
    assert Evaluation.objects.get(group="grammar").value == METRIC["value"]
    assert row.signature.startswith("texts preferred abc; n 400; run ")


def test_a_signature_tells_whose_judgements_were_in_the_dataset(project, base):
    dataset = make_dataset(project, kind="preferences")
    dataset.judge = "simulation"
    run = make_run(project, parent=base, dataset=dataset, result={"metrics": {"pair_accuracy": METRIC}})
    [row] = write_metrics(run, base)
    assert f"dataset {dataset.content_hash[:12]} by simulation; run " in row.signature


def test_a_reward_runs_held_out_figures_belong_to_the_model_it_made_once(project, base):
    reward_model = make_model(kind="reward")
    accuracy = {"value": 0.7, "lower": 0.66, "upper": 0.74, "n": 400, "prompts": 90}
    longer = {"value": 0.52, "lower": 0.48, "upper": 0.56, "n": 400, "prompts": 90}
    result = {
        "held_out": {"pair_accuracy": accuracy, "stars_spearman": None},
        "longer": {"pair_accuracy": longer},
        "methods": {"head": {"pair_accuracy": accuracy}},
    }
    run = make_run(project, kind="reward", parent=base, output_model=reward_model, state="succeeded", result=result)
    for _ in range(2):
        assert not any(name.endswith("figures_of_a_new_model") for name in tell_finished(run))
    found = {e.metric: (e.value, e.lower, e.upper, e.n) for e in reward_model.evaluations.all()}
    assert found == {
        "held-out pair accuracy": (0.7, 0.66, 0.74, 400),
        "held-out pair accuracy of the longer answer": (0.52, 0.48, 0.56, 400),
    }


def test_figures_that_no_signal_reached_are_found_once(project, base, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(receivers, "_without_figures", set())
    result = {"held_out": {"pair_accuracy": {"value": 0.7, "n": 400}}}
    for kind, told in (("reward", result), ("sft", {})):
        made = {"output_model": make_model(kind="reward"), "result": told, "finished_at": timezone.now()}
        make_run(project, kind=kind, name=kind, parent=base, state="succeeded", **made)
    assert receivers.figures_that_no_signal_reached() == 1
    assert [e.metric for e in Evaluation.objects.all()] == ["held-out pair accuracy"]
    with django_assert_num_queries(1):
        assert receivers.figures_that_no_signal_reached() == 0


def test_a_failed_run_leaves_no_figures(project, base):
    run = make_run(
        project,
        kind="reward",
        parent=base,
        state="failed",
        result=RESULT,
    )
    tell_finished(run)
    assert not Evaluation.objects.exists()


def test_an_evaluation_can_be_queued_like_any_run(project, base):
    from training.runs.ordering.actions import queue_run

    run = queue_run(kind="evaluate", project=project, name="p", by=make_user(project, role="researcher"), parent=base)
    assert run.config["texts"] == "preferred"
