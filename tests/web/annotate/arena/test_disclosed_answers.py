"""Answers whose author a vote has told: they are not shown to visitors again, and votes on them do not count."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.arena.battles import actions as arena
from annotate.arena.battles import pairing
from annotate.arena.battles import votes as battle_votes
from annotate.arena.vote_guard import disclosed_answers, duplicates
from annotate.core.errors import Refused
from annotate.language_models import model_server, model_server_errors
from annotate.models import Battle, Comparison, Completion, Hold, LanguageModel, Project
from tests.support import factories
from tests.support.annotate import voting

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("somebody_answers")]


@pytest.fixture
def pair(project) -> list[LanguageModel]:
    return [factories.make_contestant(project).model for _ in range(2)]


@pytest.fixture
def no_server(somebody_answers, monkeypatch) -> None:
    def not_there(url: str) -> None:
        raise model_server_errors.NotReached("The model server cannot be reached.", "Start it.")

    monkeypatch.setattr(model_server, "held_models", not_there)


def eval_prompt(project: Project, models: list[LanguageModel]):
    """One that all of them have answered in bulk."""
    prompt = factories.make_prompt(project, side="eval")
    for model in models:
        factories.make_completion(prompt, model=model)
    return prompt


def draw(project: Project, visitor: str = "", **who) -> Battle:
    return arena.start_battle(project=project, is_drawn=True, visitor=visitor, **who)


def write(battle: Battle, *texts: str) -> Battle:
    """As the models would, for this battle alone."""
    answers = zip((battle.model_a, battle.model_b), texts, strict=True)
    made = [factories.make_completion(battle.prompt, text, model=model, source="arena") for model, text in answers]
    battle.completion_a, battle.completion_b = made
    battle.save()
    return battle


def cast(battle: Battle) -> Comparison:
    token = battle_votes.issue_token(battle)
    return voting.vote(battle=battle, winner="model_a", token=token, visitor=battle.visitor, user=battle.user)


def test_a_stored_answer_is_shown_to_one_visitor_and_then_new_ones_are_written(project, pair):
    eval_prompt(project, pair)
    first = draw(project, "sacrificed")
    assert first.is_ready and cast(first).status == "counted"
    assert not draw(project, "another").is_ready


def test_an_answer_that_somebody_may_be_reading_is_not_shown_to_others_meanwhile(project, pair):
    eval_prompt(project, pair)
    assert draw(project, "one").is_ready and not draw(project, "two").is_ready


@pytest.mark.parametrize("server", ["answers", "is away"])
def test_where_another_is_shown_the_last_answers_while_they_are_drawn_nobody_sees_a_failure(
    project, pair, request, monkeypatch, server
):
    if server == "is away":
        request.getfixturevalue("no_server")
    eval_prompt(project, pair)
    choose, others = pairing._choose_completions, []

    def choose_late(*drawn):
        if not others:
            others.append(None)
            others.append(draw(project, "the faster"))
        return choose(*drawn)

    monkeypatch.setattr(pairing, "_choose_completions", choose_late)
    if server == "answers":
        assert not draw(project, "the slower").is_ready
    else:
        with pytest.raises(Refused, match=r"visitors have not seen|Draw again"):
            draw(project, "the slower")
    assert others[1].is_ready


def test_a_vote_on_an_answer_whose_author_was_told_before_is_held_with_that_reason(project, pair):
    eval_prompt(project, pair)
    battle, waiting = draw(project, "sacrificed"), draw(project, "rigger")
    waiting.completion_a, waiting.completion_b = battle.completion_a, battle.completion_b
    waiting.model_a, waiting.model_b = battle.model_a, battle.model_b
    waiting.save()
    assert cast(battle).status == "counted"
    vote = cast(waiting)
    assert vote.status == "held" and vote.battle.trace.held_for == Hold.TOLD
    assert "shown before which model" in vote.status_reason


def test_one_told_answer_is_enough_and_a_held_vote_has_told_as_well(project, pair):
    prompt, third = eval_prompt(project, pair), factories.make_contestant(project).model
    told = Battle.objects.create(
        project=project,
        prompt=prompt,
        model_a=pair[0],
        model_b=pair[1],
        completion_a=prompt.completions.get(model=pair[0]),
        completion_b=prompt.completions.get(model=pair[1]),
        visitor="sacrificed",
        is_drawn=True,
        hold_reason="a model named itself in its answer",
    )
    assert cast(told).status == "held"
    other = factories.make_completion(prompt, model=third)
    fields = {"project": project, "prompt": prompt, "model_a": pair[0], "model_b": third, "visitor": "rigger"}
    battle = Battle.objects.create(**fields, completion_a=told.completion_a, completion_b=other)
    assert cast(battle).battle.trace.held_for == Hold.TOLD


def test_the_same_text_to_the_same_question_is_the_same_answer_whoever_asks(project, pair):
    ask = {"project": project, "text": "What is seven times eight?"}
    first = write(arena.start_battle(visitor="one", **ask), "It is 56.", "Seven times eight is 56.")
    second = arena.start_battle(visitor="two", **ask)
    second.model_b = factories.make_model()
    assert cast(first).status == "counted"
    assert cast(write(second, "Fifty-six, I think.", first.completion_b.text)).battle.trace.held_for == Hold.TOLD


def test_members_answer_for_what_they_do_and_simulations_tell_nobody(project, pair):
    eval_prompt(project, pair)
    people = [factories.make_user(project), factories.make_user(project), factories.make_user(is_simulated=True)]
    battles = [draw(project, user=user) for user in people]
    assert all(battle.is_ready for battle in battles)
    assert [cast(battle).status for battle in battles] == ["counted"] * 3
    after = draw(project, "a visitor")
    assert after.is_ready and cast(after).status == "counted"


def test_an_account_of_ones_own_is_no_member(project, pair):
    eval_prompt(project, pair)
    cast(draw(project, user=factories.make_user()))
    assert not draw(project, user=factories.make_user()).is_ready


def test_where_no_model_answers_a_pair_with_answers_that_nobody_was_told_is_drawn(project, pair, no_server):
    eval_prompt(project, pair)
    third, fourth = (factories.make_contestant(project).model for _ in range(2))
    eval_prompt(project, [third, fourth])
    pairs = [{battle.model_a, battle.model_b} for battle in (draw(project, "one"), draw(project, "two"))]
    assert {third, fourth} in pairs and set(pair) in pairs
    assert all(battle.is_ready for battle in Battle.objects.all())


def test_where_no_model_answers_and_all_answers_were_told_a_visitor_is_told_so_and_loses_nothing(
    project, pair, client, no_server
):
    project.is_public = True
    project.save()
    eval_prompt(project, pair)
    cast(draw(project, "sacrificed"))
    page = client.post(reverse("arena", args=[project.slug]), {"draw": "1", "text": "Why is it so?"})
    words = page.content.decode()
    assert page.status_code == 409 and Battle.objects.count() == 1, "no battle that can never be voted in"
    assert "no two models answer now" in words and "Your votes are kept" in words and "Why is it so?" in words
    assert draw(project, user=factories.make_user(project)).is_ready, "members go on"


def test_a_server_that_is_slow_to_say_what_it_holds_is_given_the_benefit_of_the_doubt(project, pair, monkeypatch):
    def slow(url: str) -> None:
        raise model_server_errors.ModelServerError("It sent nothing.", "Try again.")

    monkeypatch.setattr(model_server, "held_models", slow)
    eval_prompt(project, pair)
    cast(draw(project, "sacrificed"))
    assert not draw(project, "another").is_ready


@pytest.mark.skipif(connection.vendor != "sqlite", reason="Postgres counts rows before it chooses an index")
def test_what_was_shown_is_looked_up_by_the_answer_and_not_in_all_battles(project, pair):
    """A thousand stored answers and five thousand battles took 0.4 s to go through, ten times as many answers 13 s."""
    eval_prompt(project, pair)
    plan = disclosed_answers.without_shown(Completion.objects.all(), project).explain()
    assert "(completion_a_id=?)" in plan and "(completion_b_id=?)" in plan and "battle_project" not in plan, plan


@pytest.mark.skipif(connection.vendor != "sqlite", reason="Postgres counts rows before it chooses an index")
def test_a_draw_reads_a_model_s_answers_once_and_a_vote_those_to_its_question(project, pair):
    """Not once for each question: a model has an answer more for each visitor who is shown new ones."""
    eval_prompt(project, pair)
    with CaptureQueriesContext(connection) as asked:
        battle = draw(project, "one")
    [query] = [one["sql"] for one in asked.captured_queries if one["sql"].startswith('SELECT "annotate_prompt"')]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query}")
        plan = {row[0]: (row[1], row[3]) for row in cursor.fetchall()}
    above = [plan[parent][1] for parent, told in plan.values() if "completions_by_model" in told]
    assert above and all(told.startswith("LIST SUBQUERY") for told in above), plan
    votes = duplicates._of_this_item(battle).explain()
    assert "annotate_battle_prompt" in votes and "annotate_comparison_project" not in votes
