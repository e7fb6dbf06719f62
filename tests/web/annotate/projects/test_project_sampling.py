"""One setting of a project says how its answers are drawn; an answer that was cut says so where people read it."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from annotate.arena.streaming import live_battles
from annotate.data.exports import actions as project_exports
from annotate.models import Battle, GoldItem, Project
from annotate.projects import actions as projects
from annotate.red_team import actions as red_team
from tests.support import factories
from tests.support.training.runs import make_dataset, make_weights
from training.runs.ordering.actions import queue_run

pytestmark = pytest.mark.django_db(transaction=True)
OWN = {"max_new_tokens": 300, "temperature": 0.2, "top_p": 0.5, "system_prompt": "Be brief."}


@pytest.fixture
def project() -> Project:
    made = factories.make_project(asks_attacks=True)
    for _ in range(2):
        factories.make_contestant(made)
    return made


def set_to(project: Project, **settings) -> Project:
    manager = factories.make_user(project, role="manager")
    return projects.change_settings(project=project, by=manager, **settings)


def battle_of(project: Project) -> Battle:
    from annotate.arena.battles import actions as arena

    battle = arena.start_battle(project=project, visitor="a" * 64, text="Why?")
    live_battles.write_now(battle, seconds=20)
    return battle


def test_people_read_1024_tokens_unless_the_project_says_otherwise(project, fake):
    battle = battle_of(project)
    assert {sent["max_tokens"] for sent in fake.requests} == {1024}
    assert battle.completion_a.sampling == {"max_new_tokens": 1024, "temperature": 0.7, "top_p": 0.95}


def test_the_arena_draws_as_the_project_says(project, fake):
    battle = battle_of(set_to(project, **OWN))
    sent = fake.requests[0]
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"]) == (300, 0.2, 0.5)
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert battle.completion_a.sampling == OWN


def test_a_red_team_is_answered_as_the_project_says(project, fake):
    from annotate.projects.wellbeing import actions as harm_budget
    from common.harm_kinds import HARMS

    set_to(project, **OWN)
    ada = factories.make_user(project)
    wanted = {"blur": True, "daily_cap": 20, "break_after": 10, "break_minutes": 15}
    harm_budget.agree(user=ada, accepted=list(HARMS), **wanted)
    talk = red_team.begin(project=project, by=ada)
    question = red_team.ask_and_wait(talk=talk, by=ada, text="Why?")
    assert fake.requests[0]["max_tokens"] == 300 and fake.requests[0]["messages"][0]["role"] == "system"
    assert question.completion.sampling == OWN


def test_the_playground_begins_with_what_the_project_says(client, project, fake):
    set_to(project, **OWN)
    client.force_login(factories.make_user(project, role="researcher"))
    model = project.contestants.first().model
    page = client.get(reverse("playground", args=[model.pk])).content.decode()
    assert 'value="300"' in page and 'value="0.2"' in page and "Be brief." in page
    client.post(reverse("playground", args=[model.pk]), {"text": "Why?"})
    assert (fake.requests[0]["max_tokens"], fake.requests[0]["temperature"]) == (300, 0.2)


def test_answers_to_be_judged_are_sampled_as_the_project_says(project):
    set_to(project, **OWN)
    researcher = factories.make_user(project, role="researcher")
    order = {"kind": "sample", "project": project, "by": researcher, "parent": make_weights()}
    prompts = make_dataset(project)
    run = queue_run(name="as it says", dataset=prompts, **order)
    assert {name: run.config[name] for name in OWN} == OWN
    run = queue_run(name="in another way", dataset=prompts, config={"max_new_tokens": 64}, **order)
    assert (run.config["max_new_tokens"], run.config["temperature"]) == (64, 0.2)


def test_the_form_of_a_sample_run_begins_with_what_the_project_says(client, project):
    set_to(project, **OWN)
    client.force_login(factories.make_user(project, role="researcher"))
    form = client.get(reverse("new-run", args=[project.slug, "sample"])).context["form"]
    assert {name: form[f"config.{name}"].value() for name in OWN} == OWN


def test_a_manager_sets_it_and_everybody_reads_it_on_the_projects_page(client, project):
    client.force_login(factories.make_user(project, role="manager"))
    address = reverse("project-settings", args=[project.slug])
    page = client.get(address).content.decode()
    assert 'name="max_new_tokens"' in page and 'value="1024"' in page and 'name="system_prompt"' in page
    form = {"name": "P", "overlap": 1, "assignment_minutes": 30, "edit_minutes": 30, "daily_goal": 60}
    form |= {"eval_percent": 25, "gold_percent": 0, "gold_pass_percent": 70, "repeat_percent": 0, "asks_ratings": "on"}
    assert client.post(address, form | {name: str(value) for name, value in OWN.items()}).status_code == 302
    project.refresh_from_db()
    assert {name: getattr(project, name) for name in OWN} == OWN
    page = client.get(reverse("project", args=[project.slug])).content.decode()
    assert "at most 300 tokens" in page and "temperature 0.2" in page and "Be brief." in page
    response = client.post(address, form | {"max_new_tokens": "0", "temperature": "9", "top_p": "0"})
    assert response.status_code == 400
    for name in ("max_new_tokens", "temperature", "top_p"):
        assert f'id="{name}-error"' in response.content.decode()


def test_the_api_reads_and_sets_it(client, project):
    client.force_login(factories.make_user(project, role="manager"))
    address = f"/api/v1/projects/{project.slug}/"
    assert client.get(address).json()["max_new_tokens"] == 1024
    response = client.patch(address, json.dumps(OWN), content_type="application/json")
    assert {name: response.json()[name] for name in OWN} == OWN
    response = client.patch(address, json.dumps({"top_p": 0}), content_type="application/json")
    assert response.status_code == 400 and "top_p" in response.json()["errors"]


def test_a_cut_answer_says_so_in_the_arena_and_not_whose_it_is(client, project, fake):
    fake.reason = lambda body: "length" if body["model"] == "served-1" else "stop"
    names = {model.model.name for model in project.contestants.all()}
    one = project.contestants.first().model
    one.served_name = "served-1"
    one.save()
    client.post(reverse("arena", args=[project.slug]), {"text": "Why?"})
    battle = Battle.objects.get()
    page = client.get(reverse("arena-battle", args=[project.slug, battle.token]), {"wait": "1"}).content.decode()
    assert page.count("Cut at 1,024 tokens") == 1
    assert not any(name in page for name in names)
    completions = client.get(f"/api/v1/battles/{battle.token}/").json()["completions"]
    assert sorted(answer["cut"] for answer in completions) == ["", "Cut at 1,024 tokens"]


def test_two_answers_that_were_given_different_room_are_not_told_apart_by_it(client, project):
    a, b = [contestant.model for contestant in project.contestants.all()]
    prompt = factories.make_prompt(project, side="eval")
    for model, room in ((a, 64), (b, 128)):
        factories.make_completion(prompt, model=model, finish_reason="length", sampling={"max_new_tokens": room})
    page = client.post(reverse("arena", args=[project.slug]), {"draw": "1"}, follow=True).content.decode()
    assert page.count("Cut at its length limit") == 2 and "64 tokens" not in page and "128 tokens" not in page


def test_a_cut_answer_says_so_to_whoever_judges_it(client, project):
    ada = factories.make_user(project)
    prompt = factories.make_prompt(project)
    cut = factories.make_completion(prompt, finish_reason="length", sampling={"max_new_tokens": 1024})
    whole = factories.make_completion(prompt, finish_reason="stop", sampling={"max_new_tokens": 1024})
    assignment = factories.make_assignment(ada, cut, whole)
    client.force_login(ada)
    page = client.get(reverse("annotate", args=[project.slug])).content.decode()
    assert page.count("Cut at 1,024 tokens") == 1
    completions = client.get(f"/api/v1/assignments/{assignment.pk}/").json()["completions"]
    assert {answer["id"]: answer["cut"] for answer in completions} == {cut.pk: "Cut at 1,024 tokens", whole.pk: ""}


def test_a_cut_answer_says_so_in_the_playground(client, project, fake):
    client.force_login(factories.make_user(project, role="researcher"))
    fake.reason = lambda body: "length"
    page = client.post(reverse("playground", args=[project.contestants.first().model.pk]), {"text": "Why?"})
    assert "cut at 1,024 tokens" in page.content.decode().lower()


def test_our_own_export_says_how_each_answer_was_drawn(project):
    prompt = factories.make_prompt(project)
    a = factories.make_completion(prompt, sampling=OWN, finish_reason="length")
    factories.make_comparison(a, factories.make_completion(prompt, sampling=OWN, finish_reason="stop"))
    reviewer = factories.make_user(project, role="reviewer")
    row = json.loads(b"".join(project_exports.export_feedback(project=project, by=reviewer).parts))
    assert json.loads(row["sampling"]) == [{**OWN, "finish_reason": "length"}, {**OWN, "finish_reason": "stop"}]


def test_a_cut_answer_says_so_in_what_one_has_judged_and_among_known_answers(client, project):
    ada, manager = factories.make_user(project), factories.make_user(project, role="manager")
    cut = factories.make_completion(factories.make_prompt(project), finish_reason="length", sampling=OWN)
    factories.make_rating(cut, ada, assignment=factories.make_assignment(ada, cut))
    GoldItem.objects.create(project=project, kind="rate", prompt=cut.prompt, completion_a=cut, expected={"stars": [4]})
    for who, name in ((ada, "annotate-history"), (manager, "gold")):
        client.force_login(who)
        assert "Cut at 300 tokens" in client.get(reverse(name, args=[project.slug])).content.decode()
