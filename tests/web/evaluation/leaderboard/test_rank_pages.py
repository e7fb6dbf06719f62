"""Pages beside the leaderboard: what they say of pairs and other ways to count, and that their files hold the same."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from annotate.models import Comparison, Status, StatusChange, User
from common.charts.scene import Text
from evaluation.core import kept_figures
from evaluation.core.number_formats import roughly
from evaluation.leaderboard import alternative_ratings, pair_findings
from evaluation.leaderboard.alternative_ratings import alternative_ratings_of
from evaluation.leaderboard.exports import as_scene
from evaluation.leaderboard.leaderboard_rows import standings
from evaluation.leaderboard.pair_findings import findings
from evaluation.leaderboard.snapshots import current
from evaluation.leaderboard.votes import answer_styles as styles
from evaluation.leaderboard.votes.answer_styles import count_missing, styled_votes, uncounted
from evaluation.models import Style
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_prompt,
    make_user,
)

PAGES = ("leaderboard-pairs", "leaderboard-over-time", "leaderboard-other-ways")
PAGES_OF_A_PAIR = ("leaderboard", "leaderboard-pairs")
API = ("pairs", "over-time", "counted-otherwise")


@pytest.fixture
def third(project):
    return make_contestant(project, make_model(name="tide-other")).model


@pytest.fixture
def board_of_three(project, base, child, third, vote):
    people = [make_user() for _ in range(6)]
    for person, wins, losses in zip(people, (4, 5, 6, 6, 7, 8), (4, 3, 2, 2, 1, 0), strict=True):
        vote(child, base, "model_a", wins, author=person)
        vote(base, child, "model_a", losses, author=person)
        vote(base, third, "model_a", 4, author=person)
        vote(third, base, "tie", 2, author=person)
        vote(third, child, "model_b", 3, author=person)
        vote(third, child, "model_a", 1, author=person)
    return current(project=project, judge="person")


@pytest.mark.parametrize("name", PAGES)
def test_a_board_without_votes_is_said_to_be_empty(client, project, name):
    page = client.get(reverse(name, args=[project.slug])).content.decode()
    assert "No vote of a person ranks a model here yet" in page.replace("\n", " ")
    for form in ("csv", "json", "png"):
        assert client.get(reverse(f"{name}-file", args=[project.slug, form])).status_code == 200
    picture = Image.open(io.BytesIO(client.get(reverse(f"{name}-file", args=[project.slug, "png"])).content))
    assert len(picture.getcolors(10_000)) > 1, "a picture of nothing says so"


def test_a_pair_shows_its_own_votes_from_the_side_of_the_higher_rated(project, base, child, board_of_three):
    pair = next(p for p in findings(project, board_of_three).pairs if {p.a, p.b} == {base.pk, child.pk})
    assert (pair.a, pair.wins, pair.ties, pair.losses) == (child.pk, 36, 0, 12)
    assert pair.lower < pair.observed == 0.75 < pair.upper
    assert pair.verdict == "better" and pair.more == 0 and pair.lower > 0.5


def test_that_judges_voted_again_is_said_beside_what_looks_decided(client, project, base, child, vote):
    url = reverse("leaderboard-pairs", args=[project.slug])
    for _ in range(3):
        vote(child, base)
    assert "by the preferences of a few people" not in client.get(url).content.decode()
    one = make_user()
    vote(child, base, "model_a", 9, author=one)
    vote(child, base, "model_b", 4, author=make_user())
    assert "<b>here 16 votes are from 5 annotators</b>, equivalent to 3 who" in client.get(url).content.decode()


def test_an_undecided_pair_says_about_how_many_more_votes(project, base, child, vote):
    vote(child, base, "model_a", 6)
    vote(base, child, "model_a", 4)
    pair = findings(project, current(project=project, judge="person")).pairs[0]
    assert pair.verdict == "undecided" and pair.more > 50


def test_the_leaderboard_and_the_pairs_say_one_number_of_one_pair(client, project, base, child, vote):
    vote(child, base, "model_a", 60)
    vote(base, child, "model_a", 50)
    board = current(project=project, judge="person")
    pair, against = findings(project, board).pairs[0], standings(board)[0].against
    assert pair.verdict == against.verdict == "undecided" and pair.more == against.more_votes
    text = f"about {roughly(pair.more)} more votes"
    for page in ("leaderboard", "leaderboard-pairs"):
        assert text in client.get(reverse(page, args=[project.slug])).content.decode(), page


def test_a_voter_who_votes_again_changes_one_number_on_both_pages(client, project, base, child, vote):
    for wins, losses in ((40, 20), (20, 30), (30, 25), (25, 20)):
        one = make_user()
        vote(child, base, "model_a", wins, author=one)
        vote(base, child, "model_a", losses, author=one)
    board = current(project=project, judge="person")
    assert board.ratings["intervals"]["by"] == "voters"
    pair, against = findings(project, board).pairs[0], standings(board)[0].against
    assert pair.more == against.more_votes > 0
    texts = [client.get(reverse(page, args=[project.slug])).content.decode() for page in PAGES_OF_A_PAIR]
    assert [f"about {roughly(pair.more)} more votes" in text for text in texts] == [True, True]


@pytest.mark.parametrize(("wins", "losses"), [(1, 1), (2, 0)])
def test_after_two_votes_the_pairs_page_says_that_they_are_too_few(client, project, base, child, vote, wins, losses):
    for winner, loser, n in ((child, base, wins), (base, child, losses)):
        for _ in range(n):
            vote(winner, loser)
    page = client.get(reverse("leaderboard-pairs", args=[project.slug])).content.decode()
    assert "undecided; too few votes or annotators yet" in page and "too close" not in page


@pytest.mark.parametrize(("wins", "losses", "early"), [(1, 1, True), (2, 0, True), (40, 40, False)])
def test_after_two_votes_it_is_too_early_and_not_too_close(client, project, base, child, vote, wins, losses, early):
    for winner, loser, n in ((child, base, wins), (base, child, losses)):
        for _ in range(n):
            vote(winner, loser)
    page = client.get(reverse("leaderboard", args=[project.slug])).content.decode()
    assert ("too few votes or annotators yet" in page, "too close to decide by votes" in page) == (early, not early)


def test_the_pairs_page_says_what_would_change_the_first_place(client, project, board_of_three):
    page = client.get(reverse("leaderboard-pairs", args=[project.slug])).content.decode()
    found = findings(project, board_of_three)
    assert f"{found.fragility.votes} of {found.fragility.of} votes" in page
    assert "would be first in place of tide-sft" in page


def test_one_judge_who_decides_the_first_place_is_told(client, project, base, child, vote):
    for winner, loser, n in ((child, base, 3), (child, base, 3), (base, child, 4)):
        vote(winner, loser, "model_a", n, author=make_user())
    page = client.get(reverse("leaderboard-pairs", args=[project.slug])).content.decode()
    assert "<b>1 of 3 annotators</b>, tide-base would be" in page


def test_a_ban_moves_the_pairs_too(project, base, child, vote):
    cast = vote(child, base, "model_a", 5) + vote(base, child, "model_a", 5)
    before = findings(project, current(project=project, judge="person")).pairs[0]
    for comparison in cast[5:]:
        comparison.status = Status.EXCLUDED
        comparison.save()
    StatusChange.objects.bulk_create(
        StatusChange(kind="comparison", feedback_id=c.pk, before="counted", after="excluded", reason="bot")
        for c in cast[5:]
    )
    after = findings(project, current(project=project, judge="person")).pairs[0]
    assert before.observed == 0.5 and after.observed == 1.0 and after.votes == 5


def test_what_was_found_is_kept_until_the_next_vote_and_once_for_a_board(project, base, child, vote, monkeypatch):
    kept: dict[str, object] = {}
    monkeypatch.setattr(pair_findings.cache, "set", lambda key, value, seconds: kept.update({key: value}))
    monkeypatch.setattr(pair_findings.cache, "get", kept.get)
    for n in (1, 2, 3):
        vote(child, base)
        board = current(project=project, judge="person")
        assert findings(project, board).pairs[0].votes == n
        assert findings(project, board) is findings(project, board)
    assert len(kept) == 1


def test_models_of_a_public_project_are_filtered_by_name_and_a_bad_one_shows_all(client, project, base, board_of_three):
    url = reverse("leaderboard-pairs", args=[project.slug])
    all_pairs, of_base = (client.get(url, query).content.decode() for query in ({}, {"model": base.pk}))
    assert (all_pairs.count(">against</span>"), of_base.count(">against</span>")) == (3, 2)
    assert client.get(url, {"model": "nobody"}).status_code == 200
    assert client.get(url, {"judge": "everyone"}).status_code == 404


def test_files_hold_what_the_page_shows(client, project, board_of_three):
    table = client.get(reverse("leaderboard-pairs-file", args=[project.slug, "csv"])).content.decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {(r["model"], r["against"]): int(r["votes"]) for r in rows}[("tide-sft", "tide-base")] == 48
    body = client.get(reverse("leaderboard-pairs-file", args=[project.slug, "json"])).json()
    assert len(body["pairs"]) == 3 and body["judge"] == "person"
    picture = client.get(reverse("leaderboard-pairs-file", args=[project.slug, "png"]))
    assert Image.open(io.BytesIO(picture.content)).format == "PNG"


def test_the_interval_plot_leaves_out_what_no_votes_join(client, project, board_of_three, vote):
    vote(make_model(name="far-a"), make_model(name="far-b"), n=2)
    scene = as_scene(current(project=project, judge="person"))
    names = [mark.text for mark in scene.marks if isinstance(mark, Text) and mark.colour == "ink"]
    assert names == ["tide-sft", "tide-base", "tide-other"]
    picture = client.get(reverse("leaderboard-png", args=[project.slug]), {"judge": "person"})
    assert Image.open(io.BytesIO(picture.content)).width == 2 * scene.width


def test_other_ways_agree_where_nothing_sets_them_apart(project, board_of_three):
    ways = alternative_ratings_of(project, board_of_three)
    columns = {column.key: column for column in ways.columns}
    assert {"plain", "davidson", "rao-kupper", "reliability", "drawn", "elo"} <= columns.keys()
    order = [int(i) for i in (-columns["plain"].rating).argsort()]
    for key in ("davidson", "rao-kupper", "reliability"):
        assert [int(i) for i in (-columns[key].rating).argsort()] == order
    assert (columns["drawn"].lower < columns["plain"].rating).all()
    assert (columns["elo"].lower <= columns["elo"].upper).all()


def test_a_lead_that_is_all_length_goes_when_style_goes(project, base, child):
    """Whoever is longer wins four of five; both models are longer equally often against each other, the child more."""
    people = [make_user() for _ in range(5)]
    for n in range(200):
        prompt = make_prompt(project, side="eval")
        child_is_long = n % 4 != 0
        texts = ("A long answer. " * 12, "Short.") if child_is_long else ("Short.", "A long answer. " * 12)
        answers = make_completion(prompt, texts[0], model=child), make_completion(prompt, texts[1], model=base)
        longer_wins = n % 5 != 0
        make_comparison(*answers, "model_a" if longer_wins == child_is_long else "model_b", people[n // 5 % 5])
    ways = alternative_ratings_of(project, current(project=project, judge="person"))
    columns = {column.key: column for column in ways.columns}
    place = ways.models.index(child.pk)
    assert columns["plain"].rating[place] - 1000 > 40
    assert abs(columns["style"].rating[place] - 1000) < 15
    length = next(c for c in ways.style.coefficients if c.feature == "length")
    assert length.lower > 0


def test_the_style_of_an_answer_is_counted_once(project, board_of_three):
    of_accounts = Comparison.objects.exclude(author=None)
    for number, pk in enumerate(of_accounts.values_list("pk", flat=True)):
        of_accounts.filter(pk=pk).update(visitor=f"session {number % 2}")  # an account is one voter all the same
    judged = uncounted(project, "person").count()
    assert judged > 0 and count_missing(project, "person") == judged
    assert uncounted(project, "person").count() == 0 and count_missing(project, "person") == 0
    assert Style.objects.count() == judged
    models = [row["model"] for row in board_of_three.ratings["rows"]]
    votes = styled_votes(project, "person", models)
    assert sum(len(block.a) for block in votes) == board_of_three.votes
    voters = [int(v) for block in votes for v in block.voter]
    assert voters == sorted(voters) and len(set(voters)) == 6


@pytest.mark.parametrize(("most", "counted"), [(None, 8), (5, 5)])
def test_styles_are_counted_some_at_a_time_until_all_are(project, base, child, vote, monkeypatch, most, counted):
    monkeypatch.setattr(styles, "AT_ONCE", 2)
    for _ in range(4):
        vote(child, base)
    assert count_missing(project, "person", most) == counted == Style.objects.count()


def test_styles_of_all_judged_answers_are_counted_by_a_command(project, base, child, vote, capsys):
    vote(child, base)
    call_command("count_styles", project.slug)
    assert capsys.readouterr().out == "2 answers counted.\n" and uncounted(project, "person").count() == 0
    with pytest.raises(CommandError, match="no project"):
        call_command("count_styles", "nowhere")


def test_robustness_shows_style_and_bootstrap_and_keeps_the_rest_behind_advanced(client, project, board_of_three):
    page = client.get(reverse("leaderboard-other-ways", args=[project.slug])).content.decode()
    first, _, advanced = page.partition("<details>\n<summary><h2>Advanced</h2>")
    assert "<h1>Robustness</h1>" in first and "Style control" in first and "Bootstrap over voters" in first
    assert first.count('<small class="soft">') == 2 * 3 and "davidson" not in first.lower()
    assert "it is not used for ranking" in advanced and "two equal models tie in" in advanced
    said_of_reliability = advanced.count('<small class="soft">')
    assert said_of_reliability == 3, "points of Davidson's and Rao and Kupper's mean something else"
    rows = client.get(reverse("leaderboard-other-ways-file", args=[project.slug, "json"])).json()["rows"]
    assert {row["way"] for row in rows} >= {"plain", "elo", "davidson"}


def test_over_time_a_vote_shows_from_the_moment_it_was_given(client, project, base, child, vote):
    early, late = vote(child, base, "model_a", 3), vote(base, child, "model_a", 9)
    now = timezone.now()
    for comparisons, hours in ((early, 30), (late, 10)):
        Comparison.objects.filter(pk__in=[c.pk for c in comparisons]).update(created_at=now - timedelta(hours=hours))
    rows = client.get("/api/v1/leaderboard/over-time/", {"project": project.slug}).json()["rows"]
    of_child = [(row["votes"], row["rating"]) for row in rows if row["model"] == "tide-sft"]
    assert {votes for votes, _ in of_child} == {3, 12}
    assert all((rating > 1000) == (votes == 3) for votes, rating in of_child)
    page = client.get(reverse("leaderboard-over-time", args=[project.slug])).content.decode()
    assert 'class="scene"' in page and "tide-base" in page


def test_programs_get_what_the_pages_show(client, project, board_of_three):
    pairs = client.get("/api/v1/leaderboard/pairs/", {"project": project.slug}).json()
    assert pairs["is_connected"] and pairs["first_place"]["of"] == board_of_three.votes
    assert {(p["model"], p["against"], p["votes"]) for p in pairs["pairs"]} >= {("tide-sft", "tide-base", 48)}
    ways = client.get("/api/v1/leaderboard/counted-otherwise/", {"project": project.slug}).json()
    plain = {row["model"]: row["rating"] for row in ways["rows"] if row["way"] == "plain"}
    assert plain["tide-sft"] > plain["tide-base"] and ways["votes"] == board_of_three.votes


def test_programs_are_told_what_is_wrong(client, project):
    assert "slug" in client.get("/api/v1/leaderboard/pairs/").json()["errors"]["project"]
    refused = client.get("/api/v1/leaderboard/counted-otherwise/", {"project": project.slug, "judge": "all"})
    assert refused.status_code == 400 and "person or simulation" in refused.json()["errors"]["judge"]
    empty = client.get("/api/v1/leaderboard/pairs/", {"project": project.slug}).json()
    assert empty["pairs"] == [] and empty["first_place"] is None


def test_a_private_projects_pages_are_for_its_members(client, project, board_of_three):
    project.is_public = False
    project.save()
    programs = [f"/api/v1/leaderboard/{name}/?project={project.slug}" for name in API]
    addresses = [reverse(name, args=[project.slug]) for name in PAGES]
    addresses += [
        reverse(f"{name}-file", args=[project.slug, form]) for name in PAGES for form in ("csv", "json", "png")
    ]
    for address in (*addresses, *programs):
        assert client.get(address).status_code in (302, 403, 404), address
    client.force_login(make_user(project))
    people = set(User.objects.filter(comparisons__project=project).values_list("username", flat=True))
    for address in (*addresses, *programs):
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert not any(name.encode() in answer.content for name in people), "who voted is nobody's business"


@pytest.mark.parametrize("name", PAGES)
def test_the_votes_of_one_person_alone_are_shown_and_said_to_be_that(client, project, base, child, vote, name):
    one = make_user()
    for winner, n in (("model_a", 5), ("model_b", 2), ("tie", 3)):
        vote(child, base, winner, n, author=one)
    page = client.get(reverse(name, args=[project.slug]))
    assert page.status_code == 200
    for form in ("csv", "json", "png"):
        assert client.get(reverse(f"{name}-file", args=[project.slug, form])).status_code == 200
    if name == "leaderboard-other-ways":
        assert "Nearly all votes are from one person" in page.content.decode()


def test_of_one_persons_votes_only_the_rankings_own_intervals_have_ends(project, base, child, vote):
    one = make_user()
    for winner, n in (("model_a", 5), ("model_b", 2), ("tie", 3)):
        vote(child, base, winner, n, author=one)
    board = current(project=project, judge="person")
    columns = {column.key: column for column in alternative_ratings_of(project, board).columns}
    ranked = {row["model"]: row["lower"] for row in board.ratings["rows"]}
    assert columns["plain"].lower == pytest.approx([ranked[base.pk], ranked[child.pk]])
    for key in ("davidson", "drawn"):
        assert not np.isfinite([columns[key].lower, columns[key].upper]).any()


def test_ties_alone_drawn_anew_are_no_interval(project, base, child, vote):
    for _ in range(4):
        vote(child, base, "tie")
    ways = alternative_ratings_of(project, current(project=project, judge="person"))
    drawn = next(column for column in ways.columns if column.key == "drawn")
    assert drawn.rating == pytest.approx([1000, 1000]) and np.isnan([drawn.lower, drawn.upper]).all()


def test_other_ways_follow_a_vote_that_was_exchanged_for_another(project, base, child, vote):
    cast = [vote(child, base)[0] for _ in range(6)]
    before = alternative_ratings_of(project, current(project=project, judge="person"))
    cast[0].status = Status.EXCLUDED
    cast[0].save()
    StatusChange.objects.create(
        kind="comparison", feedback_id=cast[0].pk, before="counted", after="excluded", reason="bot"
    )
    vote(base, child)
    after = alternative_ratings_of(project, current(project=project, judge="person"))
    assert after.votes == before.votes == 6
    assert before.columns[0].rating[1] - after.columns[0].rating[1] > 50


def test_few_votes_are_counted_again_with_the_styles_left(project, base, child, vote, monkeypatch):
    monkeypatch.setattr(styles, "MOST_AT_A_LOOK", 2)
    for _ in range(4):
        vote(child, base)
    board = current(project=project, judge="person")
    assert [alternative_ratings_of(project, board).unread_styles for _ in range(3)] == [6, 4, 2]


def test_many_votes_are_rated_in_the_background_and_the_same(client, project, base, child, vote, monkeypatch):
    worker = kept_figures.figure_worker({"alternative ratings": alternative_ratings.compute_kept})
    for _ in range(4):
        vote(child, base)
        vote(child, base, "tie")
    at_once = alternative_ratings_of(project, current(project=project, judge="person"))
    monkeypatch.setattr(alternative_ratings, "LARGE", 3)
    address = reverse("leaderboard-other-ways", args=[project.slug])
    waiting = client.get(address)
    assert waiting.status_code == 202 and "It has not begun yet" in waiting.content.decode()
    assert client.get("/api/v1/leaderboard/counted-otherwise/", {"project": project.slug}).status_code == 202
    assert client.get(reverse("leaderboard-other-ways-file", args=[project.slug, "csv"])).status_code == 202
    assert worker.do_now() and "The same 8 votes" in client.get(address).content.decode()
    board = current(project=project, judge="person")
    kept = alternative_ratings_of(project, board)
    assert kept.votes == at_once.votes == 8 and kept.unread_styles == 0
    for one, other in zip(kept.columns, at_once.columns, strict=True):
        for name in ("rating", "lower", "upper"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=f"{one.key} {name}")
    monkeypatch.setattr(alternative_ratings, "EASED", 0.2)
    vote(child, base)
    assert alternative_ratings_of(project, current(project=project, judge="person")).votes == 8
    assert not worker.do_now(), "one of nine is new"
    vote(child, base)
    vote(child, base)
    assert "There are 11 votes now" in client.get(address).content.decode()
    assert worker.do_now()
    assert alternative_ratings_of(project, current(project=project, judge="person")).votes == 11


def test_votes_that_come_while_a_page_is_made_do_not_break_it(project, base, child, vote):
    vote(child, base, "model_a", 3)
    board = current(project=project, judge="person")
    vote(child, base, "model_b", 2)
    vote(make_model(name="newcomer"), base)
    assert alternative_ratings_of(project, board).votes == 6
    found = findings(project, board)
    assert found.pairs[0].votes == 3 and found.voters is None


def test_models_that_no_votes_join_are_not_set_beside_the_others(client, project, base, child, third, vote):
    lonely = [make_model(name=f"lonely-{k}") for k in range(2)]
    for _ in range(3):
        vote(child, base), vote(base, third), vote(third, child), vote(*lonely)
    page = client.get(reverse("leaderboard-other-ways", args=[project.slug])).content.decode()
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    assert "tide-sft" in table and "lonely" not in table
    assert "No votes connect lonely-0, lonely-1 with these models" in page
    rows = client.get("/api/v1/leaderboard/counted-otherwise/", {"project": project.slug}).json()["rows"]
    assert {row["model"] for row in rows if not row["connected"]} == {"lonely-0", "lonely-1"}


def test_long_names_hide_no_way_of_counting_in_the_picture(client, project, child, third, vote):
    for model in (child, third):
        model.name = f"{model.name} of a family with a very long name"
        model.save()
    for winner, loser in ((child, third), (child, third), (third, child)) * 3:
        vote(winner, loser)
    page = client.get(reverse("leaderboard-other-ways", args=[project.slug])).content.decode()
    assert page.count("tide-sft of a family with a…") == 1 and page.count(">– bootstrap over voters<") == 2


def test_a_way_without_an_interval_is_not_drawn(client, project, base, child, vote):
    for winner, loser in ((child, base), (child, base), (base, child)):
        vote(winner, loser)
    page = client.get(reverse("leaderboard-other-ways", args=[project.slug])).content.decode()
    assert "tide-sft</text>" in page and "– bootstrap over voters" not in page
