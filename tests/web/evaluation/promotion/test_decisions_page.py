"""Decisions through the real client: pages with their buttons, and their twins for programs."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse
from rest_framework.test import APIClient

from annotate.language_models.default_model import default_model
from annotate.models import AnnotatorKind
from evaluation.core import served_model
from evaluation.models import AskedAgain, Candidacy, PromotionRule
from evaluation.promotion import actions
from tests.support.annotate.openai_server import openai_server
from tests.support.api_client import Program
from tests.support.evaluation.chains import make_run
from tests.support.factories import (
    PASSWORD,
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_prompt,
    make_token,
    make_user,
)

RULE = {"judge": "person", "how": "sequence", "margin": "0", "fewest_votes": "0", "sampling": "auto", "who": "person"}


@pytest.fixture
def signed_in(client, manager):
    assert client.login(username=manager.username, password=PASSWORD)
    return client


@pytest.fixture
def candidacy(project, child) -> Candidacy:
    return Candidacy.objects.create(project=project, model=child)


@pytest.fixture
def ready(project, candidacy, child, base, vote, manager) -> Candidacy:
    actions.set_rule(project=project, by=manager, first_votes_only=False)
    vote(child, base, "model_a", 60)
    return candidacy


@pytest.fixture
def split(project, base):
    """Two people who disagree about a pair of the train split."""
    prompt = make_prompt(project, "Why is the sea salty?")
    pair = make_completion(prompt, "Rivers.", model=base), make_completion(prompt, "Tears.", model=base)
    make_comparison(*pair, "model_a")
    make_comparison(*pair, "model_b")
    return f"compare:{pair[0].pk}:{pair[1].pk}"


def page(client, name, project, *args, **query) -> str:
    response = client.get(reverse(name, args=[project.slug, *args]), query)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


class TestTheDecisionsPage:
    def test_an_empty_project_says_what_comes_next(self, signed_in, project):
        shown = page(signed_in, "decisions", project)
        assert "There is no rule yet" in shown and "Set the rule" in shown and "Nothing has been decided yet" in shown

    def test_opening_it_looks_at_the_evidence_and_offers_one_click(self, signed_in, project, ready):
        shown = page(signed_in, "decisions", project)
        assert "✓ met" in shown and "meets the rule" in shown and f"Promote {ready.model}" in shown
        ready.refresh_from_db()
        assert ready.state == "ready"

    def test_each_state_is_said_in_words_with_what_it_takes(self, signed_in, project, ready, vote, base):
        other = make_contestant(project, make_model(name="tide-other", parent=base)).model
        Candidacy.objects.create(project=project, model=other)
        worse = make_contestant(project, make_model(name="tide-worse", parent=base)).model
        Candidacy.objects.create(project=project, model=worse)
        vote(other, base, "model_a", 8)
        vote(other, base, "model_b", 3)
        vote(worse, base, "model_b", 60)
        shown = page(signed_in, "decisions", project)
        assert "… not yet" in shown and "more votes against tide-base" in shown and "✗ broken" in shown

    def test_one_click_promotes_and_the_history_has_the_numbers(self, signed_in, project, ready):
        page(signed_in, "decisions", project)
        answer = signed_in.post(
            reverse("promote-candidate", args=[project.slug, ready.pk]), {"reason": "It meets the rule."}
        )
        assert answer.status_code == 302 and served_model.promoted(project).model == ready.model
        shown = page(signed_in, "decisions", project)
        assert "Figures at that time" in shown and "is served by default. It meets the rule." in shown

    def test_roll_back(self, signed_in, project, base, child, manager):
        actions.promote(project=project, model=base, reason="first", by=manager)
        actions.promote(project=project, model=child, reason="better", by=manager)
        assert f"Roll back to {base}" in page(signed_in, "decisions", project)
        signed_in.post(reverse("roll-back", args=[project.slug]), {"reason": "it swears"})
        assert served_model.promoted(project).model == base
        assert "rolled back" in page(signed_in, "decisions", project)

    def test_a_roll_back_that_is_refused_says_why(self, signed_in, project):
        answer = signed_in.post(reverse("roll-back", args=[project.slug]), {"reason": "x"}, follow=True)
        assert "served no other model before" in answer.content.decode()

    def test_the_only_pair_meets_always(self, signed_in, project, base, child):
        assert ">100 %<" in page(signed_in, "decisions", project)

    def test_rates_and_variants_are_on_it_and_costs_on_their_page(self, signed_in, project, base, child, vote):
        twin = make_contestant(project, make_model(name="tide-twin", parent=base)).model
        make_run("sft", child, project)
        vote(child, base, "model_a", 12)
        vote(twin, base, "model_a", 5)
        vote(twin, base, "model_b", 4)
        shown = page(signed_in, "decisions", project)
        assert "is the best of 2 rated variants from the same parent" in shown
        assert f"{base} and {child}" in shown and "candidate and parent" not in shown
        assert ">600<" not in shown and reverse("cost", args=[project.slug]) in shown
        costs = page(signed_in, "cost", project)
        assert "comparisons, ratings, rankings, demonstrations, marked spans." in costs
        assert ">600<" in costs and f'id="cost-{child.pk}"' in costs  # processor seconds of its run

    def test_a_manager_serves_a_model_by_hand(self, signed_in, project, base, child, vote):
        vote(child, base, "model_a", 3)
        shown = page(signed_in, "decisions", project)
        assert "Serve a model by hand" in shown and f'<option value="{child.pk}">' in shown
        answer = signed_in.post(reverse("promote", args=[project.slug]), {"model": child.pk, "reason": "better"})
        assert answer.url == reverse("decisions", args=[project.slug])
        board = signed_in.get(reverse("leaderboard", args=[project.slug])).content.decode()
        assert "Serve it by default" not in board and "served by default" in board

    def test_each_table_of_checks_has_a_name_of_its_own(self, signed_in, project, ready, child):
        names = re.findall(r'aria-label="(Checks[^"]*)"', page(signed_in, "decisions", project))
        assert f"Checks of {child}" in names and any(name.startswith("Checks of decision ") for name in names)
        assert len(names) == len(set(names))

    @pytest.mark.parametrize("role", ["researcher", "annotator", None])
    def test_others_read_and_get_no_buttons(self, client, project, ready, role):
        project.is_public = True
        project.save()
        if role:
            assert client.login(username=make_user(project, role=role).username, password=PASSWORD)
        shown = page(client, "decisions", project)
        assert "✓ met" in shown and '<button type="submit">Promote' not in shown and "Change it" not in shown
        assert "Serve a model by hand" not in shown

    def test_who_decided_is_named_to_researchers_alone(self, client, project, base, manager):
        manager.username = "miranda"
        manager.save()
        actions.promote(project=project, model=base, reason="first", by=manager)
        shown = page(client, "decisions", project)
        assert "by a manager" in shown and "miranda" not in shown
        assert client.login(username=make_user(project, role="researcher").username, password=PASSWORD)
        assert "miranda" in page(client, "decisions", project)

    @pytest.mark.parametrize("name", ["promote-candidate", "roll-back"])
    def test_others_are_refused(self, client, project, ready, name):
        assert client.login(username=make_user(project, role="researcher").username, password=PASSWORD)
        args = [project.slug, ready.pk] if name == "promote-candidate" else [project.slug]
        assert client.post(reverse(name, args=args), {"reason": "x"}).status_code == 403
        assert served_model.promoted(project) is None

    def test_a_private_project_is_nobodys_business(self, client, project):
        project.is_public = False
        project.save()
        assert client.get(reverse("decisions", args=[project.slug])).status_code == 302
        assert client.login(username=make_user().username, password=PASSWORD)
        assert client.get(reverse("decisions", args=[project.slug])).status_code == 404

    def test_a_long_history_has_pages(self, signed_in, project, manager):
        for margin in range(60):
            actions.set_rule(project=project, by=manager, margin=margin)
        assert "page 1 of 2" in page(signed_in, "decisions", project)
        assert "more than 5 points" in page(signed_in, "decisions", project, page="2")


class TestTheRuleForm:
    def test_a_rule_is_set_with_its_tolerances(self, signed_in, project):
        rows = {
            "task.1": "small suite", "metric.1": "accuracy", "worst.1": "0.02",
            "task.2": "texts", "metric.2": "perplexity", "worst.2": "",
        }  # fmt: skip
        answer = signed_in.post(
            reverse("promotion-rule", args=[project.slug]), {**RULE, "margin": "12.5", "beats_champion": "on", **rows}
        )
        assert answer.status_code == 302
        rule = PromotionRule.objects.get()
        assert (rule.margin, rule.always_valid, rule.beats_champion, rule.first_votes_only) == (12.5, True, True, False)
        assert rule.tolerances == [{"task": "small suite", "metric": "accuracy", "worst": 0.02}]

    def test_the_form_shows_the_rule_in_force(self, signed_in, project, manager):
        actions.set_rule(
            project=project, by=manager, margin=7, tolerances=[{"task": "t", "metric": "accuracy", "worst": 0.5}]
        )
        shown = page(signed_in, "promotion-rule", project)
        assert 'name="margin" inputmode="decimal" value="7"' in shown and 'value="0.5"' in shown

    def test_what_is_wrong_is_said_and_what_was_typed_is_kept(self, signed_in, project):
        answer = signed_in.post(
            reverse("promotion-rule", args=[project.slug]), {**RULE, "margin": "a lot", "fewest_votes": "40"}
        )
        shown = answer.content.decode()
        assert answer.status_code == 400 and "Enter rating points" in shown
        assert 'value="a lot"' in shown and 'value="40"' in shown
        assert 'aria-describedby="margin-error"' in shown and "<b>margin</b>" not in shown
        assert not PromotionRule.objects.exists()

    def test_only_managers_come_here(self, client, project):
        assert client.login(username=make_user(project, role="researcher").username, password=PASSWORD)
        assert client.get(reverse("promotion-rule", args=[project.slug])).status_code == 403


class TestWhatToAskNext:
    def test_researchers_see_disputes_and_ask_again(self, client, project, split):
        assert client.login(username=make_user(project, role="researcher").username, password=PASSWORD)
        shown = page(client, "ask-next", project)
        assert "Why is the sea salty?" in shown and f'value="{split}"' in shown
        client.post(reverse("ask-next", args=[project.slug]), {"item": [split], "more": "2", "judge": "person"})
        assert AskedAgain.objects.get().places == 2
        shown = page(client, "ask-next", project)
        assert (
            "1 item that you asked again waits for annotators" in shown
            and "1 item comes first in the queue now" in shown
        )

    def test_who_judges_blind_sees_nothing_of_what_others_said(self, client, project, split):
        assert client.login(username=make_user(project).username, password=PASSWORD)
        shown = page(client, "ask-next", project)
        assert "Why is the sea salty?" not in shown and "do not influence annotators" in shown
        assert client.post(reverse("ask-next", args=[project.slug]), {"item": [split], "more": "2"}).status_code == 403

    def test_nothing_chosen_is_said(self, client, project, split):
        assert client.login(username=make_user(project, role="researcher").username, password=PASSWORD)
        answer = client.post(reverse("ask-next", args=[project.slug]), {"more": "2"})
        assert answer.status_code == 400 and "Choose 1 to" in answer.content.decode()


class TestWhatIsServed:
    def test_the_playground_begins_with_it(self, signed_in, project, base, child, manager):
        assert signed_in.get(reverse("project-playground", args=[project.slug])).url == reverse(
            "playground", args=[child.pk]
        )
        actions.promote(project=project, model=base, reason="first", by=manager)
        assert default_model(project) == base
        assert signed_in.get(reverse("project-playground", args=[project.slug])).url == reverse(
            "playground", args=[base.pk]
        )

    def test_a_program_asks_for_it(self, project, base, manager):
        client = Program(manager)
        address = f"projects/{project.slug}/default-model/"
        assert client.get(address).status_code == 404
        actions.promote(project=project, model=base, reason="the first", by=manager)
        body = client.get(address).json()
        assert (body["name"], body["why"], body["retired"]) == ("tide-base", "the first", False)
        assert body["endpoint"].startswith("http") and body["served_name"] == base.server_name

    def test_where_it_lies_is_told_to_researchers_alone(self, project, base, manager):
        actions.promote(project=project, model=base, reason="the first", by=manager)
        body = Program(make_user(project)).get(f"projects/{project.slug}/default-model/").json()
        assert (body["name"], body["endpoint"], body["served_name"]) == ("tide-base", "", "")


class TestAskingWhatIsServed:
    """An address for OpenAI's clients that stays the same whatever is promoted."""

    @pytest.fixture
    def fake(self, settings):
        with openai_server() as server:
            settings.MODEL_SERVER_URL = server.url
            yield server

    def ask(self, user, project, **fields):
        client = APIClient()
        if user is not None:
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
        body = {"model": "default", "messages": [{"role": "user", "content": "Why?"}], **fields}
        return client.post(f"/api/v1/projects/{project.slug}/default-model/v1/chat/completions", body, format="json")

    def test_it_answers_with_what_is_served_before_and_after_a_promotion(self, project, base, child, manager, fake):
        for model in (base, child):
            actions.promote(project=project, model=model, reason="better", by=manager)
            answer = self.ask(manager, project, max_tokens=9)
            assert answer.status_code == 200 and answer.json()["model"] == model.name
            assert answer.json()["choices"][0]["message"] == {"role": "assistant", "content": "Hello there."}
            assert (fake.requests[-1]["model"], fake.requests[-1]["max_tokens"]) == (model.server_name, 9)

    def test_nothing_served_is_said(self, project, manager, fake):
        assert self.ask(manager, project).status_code == 404 and fake.requests == []

    @pytest.mark.parametrize("who", ["annotator", "nobody"])
    def test_who_judges_blind_may_not(self, project, base, manager, fake, who):
        actions.promote(project=project, model=base, reason="good", by=manager)
        answer = self.ask(make_user(project) if who == "annotator" else None, project)
        assert answer.status_code in (401, 403) and fake.requests == []

    @pytest.mark.parametrize("fields", [{"messages": []}, {"stream": True}, {"n": 3}, {"temperature": 9}, {"logit": 1}])
    def test_what_cannot_be_done_names_its_field(self, project, base, manager, fake, fields):
        actions.promote(project=project, model=base, reason="good", by=manager)
        answer = self.ask(manager, project, **fields)
        assert answer.status_code == 400 and next(iter(fields)) in str(answer.json()["errors"])

    def test_a_retired_model_answers_nobody(self, project, base, manager, fake):
        actions.promote(project=project, model=base, reason="good", by=manager)
        base.retire(reason="old")
        assert self.ask(manager, project).status_code == 409
        assert default_model(project) is None

    def test_a_server_that_is_broken_is_said_as_such(self, project, base, manager, fake):
        actions.promote(project=project, model=base, reason="good", by=manager)
        fake.status = 500
        answer = self.ask(manager, project)
        assert answer.status_code == 503 and "server" in answer.json()["errors"]


class TestForPrograms:
    def test_the_rule_is_set_and_its_versions_read(self, project, manager):
        client, address = Program(manager), f"projects/{project.slug}/promotion-rule/"
        made = client.post(address, {"margin": 5, "tolerances": [{"task": "t", "metric": "accuracy", "worst": 0.1}]})
        assert made.status_code == 201 and "more than 5 points above" in made.json()["in_words"]
        assert [rule["id"] for rule in client.get(address).json()] == [made.json()["id"]]

    @pytest.mark.parametrize(
        "body", [{"margin": -1}, {"judge": "cat"}, {"tolerances": [{"task": "t"}]}, {"marginn": 1}, {"sampling": "x"}]
    )
    def test_a_wrong_rule_names_its_field(self, project, manager, body):
        answer = Program(manager).post(f"projects/{project.slug}/promotion-rule/", body)
        assert answer.status_code == 400 and next(iter(body)) in str(answer.json()["errors"])
        assert not PromotionRule.objects.exists()

    def test_a_repeated_key_makes_one_version(self, project, manager):
        client, address = Program(manager), f"projects/{project.slug}/promotion-rule/"
        first, again = (client.post(address, {"margin": 5}, key="once").json() for _ in range(2))
        assert first == again and PromotionRule.objects.count() == 1

    def test_candidates_decisions_rates_and_costs(self, project, ready, manager, child):
        make_run("sft", child, project)
        client = Program(manager)
        [candidate] = client.get(f"projects/{project.slug}/candidacies/").json()
        assert (candidate["state"], candidate["checks"][0]["state"]) == ("ready", "met")
        history = client.get(f"projects/{project.slug}/decisions/").json()
        assert [line["what"] for line in history] == ["ready", "rule_changed"] and history[0]["by_rule"]
        [rate] = client.get(f"projects/{project.slug}/sampling-rates/").json()
        assert rate["probability"] == pytest.approx(1)
        [cost] = client.get(f"projects/{project.slug}/costs/").json()
        assert cost["cpu_seconds"] == 600 and cost["seconds_per_point"]["value"] > 0

    def test_promoting_and_rolling_back(self, project, base, child, manager):
        client = Program(manager)
        for model in (base, child):
            body = {"project": project.slug, "model": model.pk, "reason": "better"}
            assert client.post("promotions/", body).status_code == 201
        made = client.post(f"projects/{project.slug}/roll-back/", {"reason": "it swears"})
        assert made.status_code == 201 and made.json()["model_name"] == "tide-base"
        refused = client.post(f"projects/{project.slug}/roll-back/", {"reason": "again"})
        assert refused.status_code == 409

    def test_asking_again(self, project, split):
        client = Program(make_user(project, role="researcher"))
        address = f"projects/{project.slug}/ask-next/"
        [dispute] = client.get(address).json()
        assert (dispute["item"], dispute["judged"]) == (split, 2)
        assert client.post(address, {"chosen": [split]}).json() == {"asked": 1, "waiting": 1}
        assert client.get(address, side="nowhere").status_code == 400
        assert client.get(address, side="eval", judge=AnnotatorKind.SIMULATION.value).json() == []
        assert Program(make_user(project)).get(address).status_code == 403
