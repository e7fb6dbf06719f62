"""The leaderboard's page: moves with the votes, shows any moment and any part of them, and says what it cannot say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import Battle, Comparison, Status, StatusChange
from evaluation import consumers
from evaluation.leaderboard import present as board_page
from evaluation.leaderboard.pages import pairs_page
from evaluation.leaderboard.votes import ledger
from evaluation.routing import websocket_urlpatterns
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_project,
    make_prompt,
)
from tests.support.page_socket import PageSocket


def page_of(client, project, **query) -> str:
    response = client.get(reverse("leaderboard", args=[project.slug]), query, follow=True)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def withdraw(comparison: Comparison) -> None:
    Comparison.objects.filter(pk=comparison.pk).update(status=Status.WITHDRAWN)
    StatusChange.objects.create(
        kind="comparison", feedback_id=comparison.pk, before="counted", after="withdrawn", reason="test"
    )


class TestMoments:
    def test_a_past_moment_is_shown_and_plainly_marked(self, client, project, base, child, vote):
        old = vote(child, base, n=3)
        Comparison.objects.update(created_at=timezone.now() - timedelta(days=3))
        vote(child, base, n=4)
        withdraw(old[0])
        at = timezone.now() - timedelta(days=1)
        page = page_of(client, project, at=at.strftime("%Y-%m-%dT%H:%M:%S"))
        assert "from 3 votes of 1 person" in page
        assert "the votes that counted at that time" in page
        assert f"as of {at:%Y-%m-%d %H:%M:%S} UTC" in page
        assert "ws-connect" not in page and "hx-trigger" not in page, "the past does not move"
        assert "from 6 votes" in page_of(client, project)

    def test_before_the_first_vote_nothing_had_been_counted(self, client, project, base, child, vote):
        vote(child, base)
        assert "No vote counted at that time" in page_of(client, project, at="2020-01-01")

    @pytest.mark.parametrize("text", ["soon", "2026-13-45", "2026-02-30T10:00", "12", "0001-01-01T00:00+14:00"])
    def test_what_is_no_moment_is_said_beside_the_leaderboard_of_now(self, client, project, base, child, vote, text):
        vote(child, base)
        page = page_of(client, project, at=text)
        assert "is not a time; use the form" in page
        assert "from 1 vote of" in page

    def test_a_moment_to_come_is_said(self, client, project):
        assert "is in the future" in page_of(client, project, at="2199-01-01T00:00")

    def test_a_moment_is_utc_unless_it_names_its_zone_and_a_day_is_its_end(self):
        assert board_page.moment_in("2026-03-31T18:00") == datetime(2026, 3, 31, 18, tzinfo=UTC)
        assert board_page.moment_in("2026-03-31T18:00+02:00") == datetime(2026, 3, 31, 16, tzinfo=UTC)
        assert board_page.moment_in("2026-03-31").hour == 23

    def test_files_are_of_the_moment_too(self, client, project, base, child, vote):
        vote(child, base, n=2)
        Comparison.objects.update(created_at=timezone.now() - timedelta(days=3))
        vote(child, base, n=2)
        at = (timezone.now() - timedelta(days=1)).isoformat()
        data = client.get(reverse("leaderboard-json", args=[project.slug]), {"at": at}).json()
        assert (data["votes"], data["totals"][0]["votes"]) == (2, 2)

    def test_the_wins_of_each_two_models_are_those_of_the_votes_shown(self, client, project, base, child, vote):
        prompt = make_prompt(project, side="eval", category="places")
        make_comparison(make_completion(prompt, model=child), make_completion(prompt, model=base))
        vote(base, child, n=2)
        Comparison.objects.update(created_at=timezone.now() - timedelta(days=3))
        at = (timezone.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
        for query, votes in (({}, 3), ({"category": "places"}, 1), ({"at": at}, 3)):
            page = page_of(client, project, **query)
            [address] = re.findall(r'<a href="([^"]*)">Win matrix</a>', page)
            pairs = client.get(unescape(address))
            cells = [cell for _, row in pairs.context["matrix"] for cell in row if cell]
            assert [cell.battles for cell in cells] == [votes, votes]
            assert ("pair=" in pairs.content.decode().split("</table>")[0]) is not bool(query), "links are of all votes"
            totals = client.get(reverse("leaderboard-json", args=[project.slug]), query).json()["totals"]
            assert sum(row["votes"] for row in totals) == votes
            assert {"model_a", "model_b", "winner", "votes"} == totals[0].keys()
        none = client.get(reverse("leaderboard-pairs", args=[project.slug]), {"category": "weather"})
        assert "No vote counts there yet" in none.content.decode()


class TestParts:
    @pytest.fixture
    def german(self, project, base, child, vote):
        vote(child, base, n=2)
        prompt = make_prompt(project, "Was ist der höchste Berg im ganzen Land?", side="eval", category="places")
        for _ in range(3):
            make_comparison(make_completion(prompt, model=base), make_completion(prompt, model=child))
        return project

    def test_categories_and_languages_are_offered_with_their_votes(self, client, german):
        page = page_of(client, german)
        assert 'value="category:places">places · 3 votes' in page
        assert 'value="language:de">German · 3 votes' in page

    def test_a_part_ranks_by_its_votes_alone(self, client, german, base, child):
        assert "from 5 votes" in page_of(client, german)
        for query in ({"category": "places"}, {"language": "de"}, {"of": "language:de"}):
            page = page_of(client, german, **query)
            assert "from 3 votes" in page
            assert page.index(f'id="model-{base.pk}"') < page.index(f'id="model-{child.pk}"')
        assert "Few votes so far" in page
        assert "language de" in page, "the signature says so"

    def test_the_forms_choice_becomes_an_address_that_can_be_passed_on(self, client, german):
        url = reverse("leaderboard", args=[german.slug])
        response = client.get(url, {"judge": "person", "of": "category:places", "at": ""})
        assert response["Location"] == f"{url}?judge=person&category=places"

    def test_a_part_without_votes_says_so(self, client, german):
        assert "No vote on the category weather counts here yet" in page_of(client, german, category="weather")

    def test_what_no_database_can_look_for_is_left_out_of_a_name(self, client, german):
        assert board_page.parse_query(german, {"category": "wea\x00ther"}).category == "weather"

    def test_both_at_once_are_told_apart(self, client, german):
        assert "not both" in page_of(client, german, category="places", language="de")


class TestApi:
    def get(self, client, project, **query):
        return client.get("/api/v1/leaderboard/", {"project": project.slug, **query})

    def test_a_program_asks_for_a_part_or_a_moment_as_a_page_does(self, client, project, base, child, vote):
        vote(child, base, n=2)
        prompt = make_prompt(project, side="eval", category="places")
        make_comparison(make_completion(prompt, model=base), make_completion(prompt, model=child))
        Comparison.objects.update(created_at=timezone.now() - timedelta(days=3))
        vote(child, base)
        assert self.get(client, project).json()["votes"] == 4
        assert self.get(client, project, category="places").json()["votes"] == 1
        at = (timezone.now() - timedelta(days=1)).isoformat()
        assert self.get(client, project, at=at).json()["votes"] == 3

    @pytest.mark.parametrize(
        ("query", "field"),
        [({"at": "soon"}, "at"), ({"at": "2199-01-01"}, "at"), ({"category": "a", "language": "b"}, "category")],
    )
    def test_what_is_not_understood_is_refused_by_its_field(self, client, project, query, field):
        response = self.get(client, project, **query)
        assert response.status_code == 400
        assert field in response.json()["errors"]


def test_few_voters_are_said_in_words(client, project, base, child, vote):
    vote(child, base, "model_a", 40)
    page = page_of(client, project)
    assert "of this one person’s votes: <b>one voter</b> does not show how others would vote" in page
    assert "The votes come from 1 annotator, equivalent to 1.0 who vote equally often" in page
    vote(child, base, "model_b", 4)
    assert "<b>nearly all from one person</b>, which do not show how others would vote" in page_of(client, project)
    vote(child, base, "model_b", 30)
    page = page_of(client, project)
    assert "intervals are clustered by annotator" in page and "With fewer than 50 annotators" in page


def test_the_win_matrix_stands_on_the_page_of_pairs_alone(client, project, vote, monkeypatch):
    monkeypatch.setattr(pairs_page, "MOST_DRAWN", 3)
    models = [make_model(name=f"contender-{i}") for i in range(5)]
    for a, b in zip(models, models[1:] + models[:1], strict=True):
        vote(a, b, "tie", 2)
    page, pairs = page_of(client, project), reverse("leaderboard-pairs", args=[project.slug])
    assert "Win matrix</h2>" not in page and f'href="{pairs}?judge=person#win-matrix"' in page
    matrix = client.get(pairs).content.decode().partition('<table class="matrix">')[2].partition("</table>")[0]
    assert matrix.count('<th scope="row">') == 3


def test_the_arena_is_offered_as_soon_as_two_models_can_be_drawn_there(client, project):
    make_contestant(project)
    assert "Vote in the arena" not in page_of(client, project)
    make_contestant(project)
    assert "Vote in the arena" in page_of(client, project)


def test_a_poll_brings_all_parts_that_moved(client, project, base, child, vote):
    vote(child, base)
    url = reverse("leaderboard", args=[project.slug])
    html = client.get(url, {"judge": "person", "seen": "old"}, headers={"HX-Request": "true"}).content.decode()
    assert html.strip().startswith('<section id="board"')
    assert 'id="how" class="prose note" hx-swap-oob="true"' in html
    assert 'win-matrix"' not in html.replace('#win-matrix"', "")


class Socket(PageSocket):
    def __init__(self, project, query: str = "judge=person") -> None:
        super().__init__(websocket_urlpatterns, f"/ws/p/{project.slug}/leaderboard/", query)

    async def receive(self) -> str:
        return " ".join((await super().receive()).split())


@pytest.mark.django_db(transaction=True)
async def test_a_vote_an_undo_and_a_newcomer_move_an_open_page():
    project = await sync_to_async(make_project)()
    a, b = await sync_to_async(make_model)(), await sync_to_async(make_model)()

    def cast() -> Comparison:
        prompt = make_prompt(project, side="eval")
        return make_comparison(make_completion(prompt, model=a), make_completion(prompt, model=b))

    await sync_to_async(cast)()
    socket = Socket(project)
    await socket.connect()
    assert "from 1 vote" in await socket.receive()
    second = await sync_to_async(cast)()
    begun = timezone.now()
    assert "from 2 votes" in await socket.receive()
    assert timezone.now() - begun < timedelta(seconds=2), "half a second, and a busy machine's delay"
    await sync_to_async(withdraw)(second)
    html = await socket.receive()
    assert "from 1 vote" in html and "1 vote is withdrawn" in html
    newcomer = (await sync_to_async(make_contestant)(project)).model
    assert newcomer.name in await socket.receive()
    assert await socket.receive_nothing(1.2), "nothing is sent while nothing happens"
    await socket.disconnect()


@pytest.mark.django_db(transaction=True)
async def test_a_page_that_shows_what_is_true_gets_nothing_and_a_stranger_is_refused():
    project = await sync_to_async(make_project)()
    asked = board_page.BoardQuery(project, "person")
    stamp = await sync_to_async(lambda: board_page.stamp(asked, board_page.board_of(asked)))()
    socket = Socket(project, f"judge=person&seen={stamp}")
    await socket.connect()
    assert await socket.receive_nothing(0.8)
    await socket.disconnect()
    for closed, query in ((True, "judge=person"), (False, "judge=everybody")):
        hidden = await sync_to_async(make_project)(is_public=not closed)
        socket = Socket(hidden, query)
        await socket.connect()
        assert (await socket.receive_output(5))["code"] == 4403


def test_an_idle_look_costs_few_queries(project, base, child, vote, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr(ledger, "PATIENCE", -1.0)  # a sequence that does not begin at 1 is waited for otherwise
    vote(child, base, n=3)
    live = consumers.LeaderboardPage()
    live.scope = {"url_route": {"kwargs": {"slug": project.slug}}, "user": AnonymousUser()}
    live.query = {"judge": "person"}
    assert live.open()
    assert live.updates()[0]
    with django_assert_max_num_queries(6):
        assert live.updates() == ("", False)


def test_votes_that_are_kept_for_training_are_counted_beside_those_that_rank(client, project, base, child, vote):
    assert "for training and do" not in page_of(client, project)
    for said in ("1 arena vote on questions of the train split is for training", "2 arena votes on questions"):
        prompt = make_prompt(project, side="train", source="arena")
        a, b = (make_completion(prompt, model=model) for model in (base, child))
        battle = Battle.objects.create(project=project, prompt=prompt, model_a=base, model_b=child)
        make_comparison(a, b, battle=battle)
        assert said in page_of(client, project)
    vote(child, base)
    assert "2 arena votes on questions of the train split are for training and do not rank models." in page_of(
        client, project
    )


def test_many_votes_have_those_kept_for_training_counted_once_a_minute(project, base, child, vote, monkeypatch):
    monkeypatch.setattr(board_page, "MANY_VOTES", 4)
    query = board_page.parse_query(project, {"judge": "person"})

    def training_votes() -> tuple[int, int]:
        """Return the number that stands, and how often comparisons were counted for it."""
        board = board_page.board_of(query)
        with CaptureQueriesContext(connection) as seen:
            n = board_page.training_votes(query, board)
        return n, len([each for each in seen if "battle_id" in each["sql"]])

    def kept_for_training() -> None:
        prompt = make_prompt(project, side="train", source="arena")
        battle = Battle.objects.create(project=project, prompt=prompt, model_a=base, model_b=child)
        make_comparison(*(make_completion(prompt, model=model) for model in (base, child)), battle=battle)

    cache.clear()
    try:
        kept_for_training()
        vote(child, base, n=2)
        assert training_votes() == training_votes() == (1, 1)
        vote(child, base)
        assert [training_votes(), training_votes()] == [(1, 1), (1, 0)]
        kept_for_training()
        assert training_votes() == (1, 0)
        cache.clear()
        assert training_votes() == (2, 1)
    finally:
        cache.clear()
