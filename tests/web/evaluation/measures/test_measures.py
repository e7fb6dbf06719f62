"""What is refused before a run is queued: measures, models, datasets, opponents and judges that do not go together."""

from __future__ import annotations

import pytest

from annotate.core.errors import Refused
from evaluation.measures.catalogue import ALL
from tests.support.factories import make_contestant, make_model, make_project, make_user
from tests.support.training.runs import make_dataset, make_task, make_weights
from training.configs.evaluate import MEASURES
from training.runs.ordering.actions import queue_run
from training.runs.queue import asked_models


@pytest.fixture
def queue(project):
    by = make_user(project, role="researcher")

    def queue(parent, measure, **fields):
        rows = {name: fields.pop(name) for name in ("other_dataset", "reward_model") if name in fields}
        return queue_run(
            kind="evaluate", project=project, name="how good", by=by, parent=parent,
            config={"measure": measure, **fields}, **rows,
        )  # fmt: skip

    return queue


def refusal(queue, *args, **fields) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        queue(*args, **fields)
    assert refused.value.status == 400
    return refused.value.errors


def test_every_measure_of_the_config_is_explained():
    assert ALL.keys() == MEASURES.keys()


@pytest.mark.parametrize("measure", ["perplexity", "overlap", "choices", "classification", "win_rate"])
def test_a_reward_model_is_measured_by_its_agreement_alone(queue, measure):
    told = refusal(
        queue, make_weights(kind="reward", name="judge"), measure, **({"opponent": "x"} if "win" in measure else {})
    )
    assert "judge is a reward" in told["parent"] and "measure its reward_accuracy" in told["parent"]


@pytest.mark.parametrize("measure", ["reward_accuracy", "classification"])
def test_a_policy_is_no_judge_and_no_classifier(queue, base, measure):
    assert "tide-base is a policy" in refusal(queue, base, measure)["parent"]


def test_a_model_behind_an_endpoint_tells_no_log_probabilities(queue, project):
    remote = make_contestant(project, make_model(name="remote", folder="", endpoint="http://localhost:1/v1")).model
    parent = refusal(queue, remote, "perplexity")["parent"]
    assert "no log-probabilities" in parent and "import_model" in parent


def test_a_task_suits_the_measure_of_its_form(queue, project, base):
    assert queue(base, "choices", other_dataset=make_task(project, "choices")).pk
    other_dataset = refusal(queue, base, "overlap", other_dataset=make_task(project, "choices"))["other_dataset"]
    assert "a task of choices" in other_dataset and "overlap needs one of references" in other_dataset


def test_a_dataset_of_another_kind_is_refused_with_what_would_do(queue, project, base):
    other_dataset = refusal(queue, base, "choices", other_dataset=make_dataset(project, kind="corpus"))["other_dataset"]
    assert (
        "is a dataset of corpus" in other_dataset
        and "a task of choices" in other_dataset
        and "a suite" in other_dataset
    )
    assert queue(base, "perplexity", other_dataset=make_dataset(project, kind="corpus")).pk


def test_a_classifier_needs_labelled_texts(queue, project):
    other_dataset = refusal(queue, make_weights(kind="classifier"), "classification")["other_dataset"]
    assert "upload one under Data" in other_dataset


def test_a_win_rate_takes_no_dataset(queue, project, base, child):
    told = refusal(queue, child, "win_rate", opponent=base.name, other_dataset=make_task(project, "texts"))
    assert "leave the dataset out" in told["other_dataset"]


def test_an_opponent_is_another_policy_of_the_project(queue, project, base, child):
    assert queue(child, "win_rate", opponent=base.name).pk
    assert "the model itself" in refusal(queue, child, "win_rate", opponent=child.name)["config.opponent"]
    assert "has no model 'nobody'" in refusal(queue, child, "win_rate", opponent="nobody")["config.opponent"]
    make_contestant(make_project(), make_model(name="stranger"))
    assert "has no model 'stranger'" in refusal(queue, child, "win_rate", opponent="stranger")["config.opponent"]
    make_contestant(project, make_model(name="judge", kind="reward"))
    assert "does not answer" in refusal(queue, child, "win_rate", opponent="judge")["config.opponent"]
    assert "Enter the name of the model" in refusal(queue, child, "win_rate", opponent=" ")["config.opponent"]


def test_a_reward_model_judges_only_where_it_is_asked_to(queue, base, child):
    reward = make_weights(kind="reward")
    assert queue(child, "win_rate", opponent=base.name, judged_by="reward", reward_model=reward).pk
    assert (
        "Choose a reward model as judge"
        in refusal(queue, child, "win_rate", opponent=base.name, judged_by="reward")["reward_model"]
    )
    assert "leave it out" in refusal(queue, child, "win_rate", opponent=base.name, reward_model=reward)["reward_model"]
    assert "needs no reward model" in refusal(queue, base, "choices", reward_model=reward)["reward_model"]


@pytest.mark.parametrize("url", ["localhost:8100", "ftp://judge/v1", "http://", "http://[", "http://judge:99999"])
def test_a_judges_address_is_an_address(queue, base, child, url):
    told = refusal(
        queue, child, "win_rate", opponent=base.name, judged_by="endpoint", judge_url=url, judge_model="judge"
    )
    assert "not an address" in told["config.judge_url"]


def test_a_registered_judge_is_named_or_an_address_given(queue, project, base, child):
    asked = {"opponent": base.name, "judged_by": "endpoint"}
    assert "Enter a registered model" in refusal(queue, child, "win_rate", **asked)["config.judge"]
    assert "register it first" in refusal(queue, child, "win_rate", judge="nobody", **asked)["config.judge"]
    judge = make_model(name="the judge", folder="", endpoint="http://judge/v1", served_name="j", is_shared=False)
    assert "register it first" in refusal(queue, child, "win_rate", judge=judge.name, **asked)["config.judge"]
    judge.is_shared = True
    judge.save()
    both = {"judge": judge.name, "judge_url": "http://judge/v1", "judge_model": "j"}
    assert "not both" in refusal(queue, child, "win_rate", **both, **asked)["config.judge"]
    run = queue(child, "win_rate", judge=judge.name, **asked)
    assert asked_models.endpoints_of(run)["judge"]["url"] == "http://judge/v1"


def test_a_win_rate_reads_no_weights(queue, project, base):
    remote = make_contestant(project, make_model(name="remote", folder="", endpoint="http://localhost:1/v1")).model
    assert queue(remote, "win_rate", opponent=base.name).pk


def test_a_judges_key_is_named_and_set_and_never_written_down(queue, base, child, monkeypatch):
    asked = {"opponent": base.name, "judged_by": "endpoint", "judge_url": "http://judge/v1", "judge_model": "judge"}
    assert (
        "is not set"
        in refusal(queue, child, "win_rate", judge_key_variable="ASSAY_JUDGE_KEY_OF_NOBODY", **asked)[
            "config.judge_key_variable"
        ]
    )
    assert (
        "the name of an environment variable"
        in refusal(queue, child, "win_rate", judge_key_variable="sk-123/4", **asked)["config.judge_key_variable"]
    )
    told = refusal(queue, child, "win_rate", **{**asked, "judge_url": "http://me:secret@judge/v1"})
    assert "contains a password" in told["config.judge_url"]
    told = refusal(queue, child, "win_rate", judge_key_variable="DATABASE_URL", **asked)
    assert "no other secret of this site" in told["config.judge_key_variable"]
    monkeypatch.setenv("ASSAY_JUDGE_KEY_LAB", "secret")
    told = refusal(queue, child, "win_rate", judge_key_variable="ASSAY_JUDGE_KEY_LAB", **asked)
    assert "needs ASSAY_JUDGE_URL_LAB, set to the address" in told["config.judge_key_variable"]
    monkeypatch.setenv("ASSAY_JUDGE_URL_LAB", "http://judge/v1")
    assert queue(child, "win_rate", judge_key_variable="ASSAY_JUDGE_KEY_LAB", **asked).pk


def test_a_judge_behind_an_endpoint_is_no_judge_of_a_reward_model(queue):
    told = refusal(queue, make_weights(kind="reward"), "reward_accuracy", judged_by="endpoint")
    assert "people or of simulation" in told["config.judged_by"]


def test_a_suite_has_a_name(queue, base):
    assert "Enter a suite" in refusal(queue, base, "choices", suite=" ")["config.suite"]


def test_labelled_rows_without_labels_measure_no_classifier(queue, project):
    dataset = make_dataset(project, kind="labelled")
    dataset.counts = {"task": "translation"}
    dataset.save()
    told = refusal(queue, make_weights(kind="classifier"), "classification", other_dataset=dataset)
    assert "whose answers are not labels" in told["other_dataset"]
