"""Starting an evaluation from the page: the measure first, its own options, several models alike."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from evaluation.measures import evaluations
from evaluation.measures.catalogue import ALL
from tests.support.factories import make_user
from tests.support.training.runs import make_task, make_weights
from training.configs import EvaluateConfig
from training.models import Run
from training.runs.ordering.actions import queue_run


@pytest.fixture
def researcher(client, project):
    client.force_login(make_user(project, role="researcher"))
    return client


@pytest.fixture
def address(project):
    return reverse("new-run", args=[project.slug, "evaluate"])


def html(response, status=200) -> str:
    assert response.status_code == status
    return response.content.decode()


def posted(measure, parent, **fields):
    """What a browser sends of the form as it stands, with these changes."""
    options = {f"config.{name}": value for name, value in vars(EvaluateConfig()).items() if name != "measure"}
    options["config.contamination"] = "on"
    return {"measure": measure, "sent": "1", "name": "how good", "parent": parent.pk, "seed": 0, **options, **fields}


def test_the_measure_is_asked_first_each_with_a_sentence(researcher, address):
    text = html(researcher.get(address))
    for measure in ALL.values():
        assert measure.title in text and f"?measure={measure.name}" in text
    assert "config.limit" not in text


def test_only_options_of_the_measure_are_shown(researcher, address, base):
    text = html(researcher.get(f"{address}?measure=choices"))
    shown = set(re.findall(r'id="id_config\.(\w+)"', text))
    assert {"suite", "num_fewshot", "limit", "contamination"} <= shown
    assert not shown & {"max_new_tokens", "opponent", "judged_by", "judge_url", "texts", "measure"}
    assert 'name="reward_model"' not in text
    assert "max_new_tokens" in html(researcher.get(f"{address}?measure=overlap"))


def test_an_unknown_measure_is_asked_again(researcher, address):
    assert "Choose a measure" in html(researcher.get(f"{address}?measure=beauty"))


def test_a_task_leads_to_its_measure(researcher, address, project, base):
    dataset = make_task(project, "references")
    text = html(researcher.get(f"{address}?other_dataset={dataset.pk}"))
    assert "Overlap with references" in text and f'<option value="{dataset.pk}" selected>' in text


def test_a_model_that_one_measure_alone_suits_leads_to_it(researcher, address):
    text = html(researcher.get(f"{address}?parent={make_weights(kind='reward').pk}"))
    assert "<h1>Agreement with annotators</h1>" in text


def test_only_datasets_and_models_that_suit_are_offered(researcher, address, project, base):
    right, wrong = make_task(project, "choices"), make_task(project, "texts")
    reward = make_weights(kind="reward", name="the annotator")
    text = html(researcher.get(f"{address}?measure=choices"))
    assert right.name in text and wrong.name not in text and reward.name not in text and base.name in text


def test_switching_the_measure_keeps_what_was_chosen(researcher, address, base):
    sent = posted("choices", base, name="my name", **{"config.limit": 37, "config.suite": "hellaswag", "seed": 5})
    del sent["config.contamination"]
    text = html(researcher.get(address, {**sent, "to": "perplexity"}))
    assert "<h1>Perplexity</h1>" in text and 'value="my name"' in text and 'value="37"' in text
    assert '<input type="hidden" name="config.suite" value="hellaswag">' in text
    assert 'name="config.contamination"' in text and "checked" not in text.split('name="config.contamination"')[1][:60]
    assert "csrfmiddlewaretoken=" not in text
    back = {**sent, "measure": "perplexity", "config.suite": "hellaswag", "to": "choices"}
    assert 'value="hellaswag"' in html(researcher.get(address, back))


def test_a_run_is_queued_with_the_options_of_its_measure(researcher, address, base):
    response = researcher.post(address, posted("choices", base, **{"config.num_fewshot": 2}))
    run = Run.objects.get()
    assert response.headers["Location"] == reverse("run", args=[run.pk])
    assert (run.kind, run.parent, run.name) == ("evaluate", base, "how good")
    assert (run.config["measure"], run.config["num_fewshot"]) == ("choices", 2)


def test_what_is_wrong_stands_beside_its_field(researcher, address, base, child):
    text = html(researcher.post(address, posted("choices", base, **{"config.limit": 1})), 400)
    assert "Must be at least 2, not 1." in text and not Run.objects.exists()
    text = html(researcher.post(address, posted("win_rate", child, **{"config.opponent": child.name})), 400)
    assert "is the model itself" in text


def test_all_that_is_wrong_stands_there_at_once(researcher, address, base):
    sent = posted("win_rate", base, **{"config.limit": "many", "config.opponent": ""})
    response = researcher.post(address, sent | {"parent": ""})
    assert response.status_code == 400 and not Run.objects.exists()
    assert set(response.context["form"].errors) == {"config.limit", "config.opponent", "parent"}


def test_several_models_are_measured_alike_in_one_go(researcher, address, project, base, child):
    dataset = make_task(project, "choices")
    sent = posted("choices", base, other_dataset=dataset.pk, also=[child.pk, base.pk], key="k")
    for _ in range(2):  # pressed twice
        response = researcher.post(address, sent)
        assert response.headers["Location"] == reverse("evaluations", args=[project.slug])
    runs = list(Run.objects.order_by("pk"))
    assert [run.parent for run in runs] == [base, child]
    assert [run.name for run in runs] == ["how good of tide-base", "how good of tide-sft"]
    assert runs[0].config == runs[1].config and {run.other_dataset for run in runs} == {dataset}
    assert "Running:" in html(researcher.get(response.headers["Location"]))


def test_all_are_queued_or_none(project, base, child):
    by = make_user(project, role="researcher")
    queue_run(kind="evaluate", project=project, name="how good of tide-sft", by=by, parent=child)
    from annotate.core.errors import Refused

    with pytest.raises(Refused, match="already has this name"):
        evaluations.queue_alike(project=project, models=[base, child], name="how good", by=by)
    assert Run.objects.count() == 1


def test_a_run_can_be_queued_again_with_changes(researcher, address, project, base):
    by = make_user(project, role="researcher")
    run = queue_run(
        kind="evaluate", project=project, name="first", by=by, parent=base, config={"measure": "overlap", "limit": 9}
    )
    text = html(researcher.get(f"{address}?like={run.pk}"))
    assert "<h1>Overlap with references</h1>" in text and 'value="9"' in text and f"run {run.pk}, first" in text


def test_a_form_without_a_model_says_where_one_comes_from(researcher, address):
    assert "finetune one" in html(researcher.get(f"{address}?measure=classification"))
    assert "train one" in html(researcher.get(f"{address}?measure=reward_accuracy"))


def test_who_may_not_research_starts_nothing(client, address, project, base):
    client.force_login(make_user(project, role="annotator"))
    assert client.get(address).status_code == 403
    assert client.post(address, posted("choices", base)).status_code == 403
    assert not Run.objects.exists()


def test_fluency_asks_for_the_reward_model_at_first_and_takes_none(researcher, address, base):
    text = html(researcher.get(f"{address}?measure=fluency"))
    assert 0 < text.index('name="reward_model"') < text.index("All options")
    assert '<option value="" selected>none</option>' in text and "-----" not in text
    assert ">Surprise</button>" in text
