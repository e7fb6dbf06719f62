"""A run that pauses by itself: how it is recorded, what can be chosen, and how it goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from tests.support.api_client import program
from tests.support.factories import make_user
from tests.support.training.runs import make_run
from training import configs
from training.core import endings
from training.core.run_directory import RunDirectory
from training.models import Attempt, Run
from training.runs.ordering import actions, pauses
from training.runs.ordering.end_events import RUN_FINISHED
from training.runs.queue import preparation, supervision
from training.storage import stored_runs

PAUSE = {
    "code": "kl_limit", "step": 9, "kept_step": 8, "message": "The KL ran past its bound.",
    "remedy": "Read the answers.",
    "choices": [
        {"name": "back", "label": "Go back", "help": "", "action": "back",
         "changes": {"kl_coef": 0.3, "learning_rate": 1e-4}},
        {"name": "on", "label": "Go on", "help": "As if.", "action": "resume", "changes": {"stop_kl": 14.0}},
        {"name": "finish", "label": "Finish here", "help": "", "action": "finish", "changes": {}},
    ],
}  # fmt: skip

pytestmark = pytest.mark.django_db


def paused_run(project, **fields: Any) -> Run:
    config = configs.parse("ppo", {"reward_function": "a.b"}).__dict__
    run = make_run(project, kind="ppo", **{"state": "paused", "pause": PAUSE, "reason_code": "kl_limit", **fields})
    run.config, run.reason, run.remedy = dict(config), PAUSE["message"], PAUSE["remedy"]
    run.save()
    return run


def test_a_recipe_that_wrote_why_it_waits_has_paused_and_not_failed(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.pause(PAUSE)
    ending = endings.explain(0, directory)
    assert (ending.state, ending.code, ending.reason, ending.pause) == ("paused", "kl_limit", PAUSE["message"], PAUSE)
    directory.finish({})
    assert endings.explain(0, directory).state == "succeeded"


def test_a_pause_is_recorded_with_its_choices_and_ends_nothing(project, django_capture_on_commit_callbacks):
    run = make_run(project)
    attempt = supervision.claim(worker="w", launcher="l")
    heard: list[Run] = []
    with RUN_FINISHED.holding(heard.append, keeps_registered=True), django_capture_on_commit_callbacks(execute=True):
        supervision.conclude(attempt, endings.Ending.paused(PAUSE))
    run.refresh_from_db()
    assert (run.state, run.reason, run.pause["choices"]) == ("paused", PAUSE["message"], PAUSE["choices"])
    assert run.finished_at is None and not run.is_finished and heard == []
    assert Attempt.objects.get().state == "paused"
    assert supervision.claim(worker="w", launcher="l") is None


def test_a_run_that_pauses_while_somebody_cancels_it_is_cancelled(project, researcher):
    run = make_run(project)
    attempt = supervision.claim(worker="w", launcher="l")
    actions.cancel(run=run, by=researcher)
    supervision.conclude(attempt, endings.Ending.paused(PAUSE))
    run.refresh_from_db()
    assert (run.state, run.reason_code, run.pause) == ("cancelled", "cancelled", {})


@pytest.mark.parametrize("ending", [endings.Ending.paused(PAUSE), endings.Ending.lost("gone")])
def test_who_cancels_in_the_very_moment_of_its_end_is_heard(project, researcher, ending):
    run = make_run(project)
    attempt = supervision.claim(worker="w", launcher="l")
    supervision.conclude(attempt, ending, lambda _: actions.cancel(run=run, by=researcher))  # after it was read
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("cancelled", "cancelled")


def test_a_choice_is_recorded_and_given_to_the_next_attempt(project, researcher, settings):
    settings.REWARD_FUNCTIONS = {"a reward": "a.b"}
    run = paused_run(project)
    frozen = dict(run.config)
    pauses.choose(run=run, by=researcher, choice="on", changes={"stop_kl": 20})
    run.refresh_from_db()
    assert run.state == "queued" and run.pause == {} and run.reason == ""
    [amendment] = run.amendments
    told = {name: amendment[name] for name in ("code", "step", "choice", "action", "changes", "by")}
    assert told == {
        "code": "kl_limit", "step": 9, "choice": "on", "action": "resume", "changes": {"stop_kl": 20.0},
        "by": researcher.username,
    }  # fmt: skip
    assert run.config == frozen and pauses.config_now(run)["stop_kl"] == 20.0
    directory = RunDirectory(run.path)
    run.path.mkdir(parents=True)
    (run.path / "identity").write_text(stored_runs.identity_of(run))
    directory.pause(PAUSE)
    preparation.prepare(run)
    [handed] = directory.amendments()
    assert handed == {name: value for name, value in amendment.items() if name != "by"} and directory.paused() is None
    assert directory.spec().config["stop_kl"] == frozen["stop_kl"]


@pytest.mark.parametrize(
    ("choice", "changes", "field"),
    [
        ("sideways", {}, "choice"),
        ("on", {"batch_size": 3}, "changes.batch_size"),
        ("on", {"stop_kl": -1}, "changes.stop_kl"),
        ("on", {"stop_kl": "high"}, "changes.stop_kl"),
        ("back", {"nonsense": 1}, "changes.nonsense"),
    ],
)
def test_what_cannot_be_chosen_is_refused_by_name(project, researcher, choice, changes, field):
    run = paused_run(project)
    with pytest.raises(Refused) as refused:
        pauses.choose(run=run, by=researcher, choice=choice, changes=changes)
    assert list(refused.value.errors) == [field]
    run.refresh_from_db()
    assert run.state == "paused" and run.amendments == []


def test_only_researchers_choose(project):
    run = paused_run(project)
    with pytest.raises(Refused) as refused:
        pauses.choose(run=run, by=make_user(project, role="reviewer"), choice="on")
    assert refused.value.status == 403


def test_a_paused_run_can_be_cancelled_and_is_not_resumed_without_a_choice(project, researcher):
    run = paused_run(project)
    with pytest.raises(Refused, match="back, on, finish"):
        actions.resume(run=run, by=researcher)
    assert actions.cancel(run=run, by=researcher).state == "cancelled"
    assert actions.resume(run=run, by=researcher).state == "queued"  # from its checkpoint, at the same bounds


def test_a_choice_is_taken_once(project, researcher):
    run = paused_run(project)
    pauses.choose(run=run, by=researcher, choice="finish")
    with pytest.raises(Refused) as refused:
        pauses.choose(run=run, by=researcher, choice="on")
    assert refused.value.status == 409


def test_its_name_stays_promised_while_it_waits(project, researcher):
    run = paused_run(project, name="the-model")
    assert run in Run.objects.unfinished()


def test_the_page_says_why_and_offers_the_choices_to_researchers(client, project, researcher):
    run = paused_run(project)
    client.force_login(researcher)
    text = client.get(reverse("run", args=[run.pk])).content.decode()
    assert PAUSE["message"] in text and "Paused at step 9" in text
    assert "the checkpoint of step 8 are kept. Choose how to continue." in text
    assert 'name="choice" value="back"' in text and 'name="back.kl_coef" value="0.3"' in text
    assert 'form="resume-run">' not in text
    assert "Limit of the KL from the parent, in nats per answer <code>stop_kl</code>" in text, "not its name alone"
    client.logout()
    text = client.get(reverse("run", args=[run.pk])).content.decode()
    assert PAUSE["message"] in text and 'name="choice"' not in text


def test_one_click_on_the_page_goes_on_with_what_stands_in_the_fields(client, project, researcher):
    run = paused_run(project)
    client.force_login(researcher)
    fields = {"choice": "back", "back.kl_coef": "0.45", "back.learning_rate": "", "on.stop_kl": "99"}
    assert client.post(reverse("choose-at-pause", args=[run.pk]), fields).status_code == 302
    run.refresh_from_db()
    assert run.amendments[0]["changes"] == {"kl_coef": 0.45, "learning_rate": 1e-4}
    text = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "chose to go back" in text and "0.45" in text
    assert "Adam&#x27;s learning rate (<code>learning_rate</code>) 0.0001" in text


def test_a_field_that_holds_no_number_is_refused_in_words(client, project, researcher):
    run = paused_run(project)
    client.force_login(researcher)
    response = client.post(reverse("choose-at-pause", args=[run.pk]), {"choice": "on", "on.stop_kl": "far"})
    assert response.status_code == 400 and "is not a number" in response.content.decode()


def test_a_program_reads_the_choices_and_takes_one(project):
    run = paused_run(project)
    mine = program(project, "researcher")
    body = mine.get(f"runs/{run.pk}/").json()
    assert [choice["name"] for choice in body["pause"]["choices"]] == ["back", "on", "finish"]
    answer = mine.post(f"runs/{run.pk}/choose/", {"choice": "on", "changes": {"stop_kl": 30}})
    assert answer.status_code == 200 and answer.json()["state"] == "queued"
    assert answer.json()["amendments"][0]["changes"] == {"stop_kl": 30.0}
    assert "by" not in program().get(f"runs/{run.pk}/").json()["amendments"][0]
    refused = mine.post(f"runs/{run.pk}/choose/", {"choice": "on"})
    assert refused.status_code == 409
    assert program(project).post(f"runs/{run.pk}/choose/", {"choice": "on"}).status_code == 403


def test_amendments_stand_on_the_card_of_the_model(project, researcher):
    from training.runs.queue.outputs import _card

    run = paused_run(project)
    run = pauses.choose(run=run, by=researcher, choice="finish")
    [amendment] = json.loads(json.dumps(_card(run)))["amendments"]
    assert amendment["action"] == "finish" and "by" not in amendment  # anybody reads a card
