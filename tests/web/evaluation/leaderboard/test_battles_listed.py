"""The way from a number of the leaderboard to its single battles, and who sees them."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.urls import reverse

from annotate.labelling.records import battle_filter
from annotate.models import Comparison, Ranking
from tests.support.factories import make_completion, make_contestant, make_model, make_prompt, make_user, sign_in

VOTES = {"kind": "comparison", "side": "eval", "status": "counted", "judge": "person"}


@pytest.fixture
def third(project):
    return make_contestant(project, make_model(name="tide-other")).model


@pytest.fixture
def battles(project, base, child, third, vote):
    vote(child, base, "model_a", 4)
    vote(base, child, "tie", 2)
    vote(base, third, "model_b", 3)
    vote(child, base, "model_a", 5, side="train")
    vote(child, base, "model_a", 6, is_simulated=True)
    vote(child, base, "model_a", 7, status="excluded")
    vote(child, child, "model_a", 1)


def links(page: str, text: str) -> list[str]:
    found = re.findall(r'<a href="([^"]*)">(.*?)</a>', page, re.DOTALL)
    return [unescape(address) for address, inner in found if text in inner]


def cards(client, address, **query):
    return [card["row"] for card in client.get(address, query).context["cards"]]


def test_the_battles_of_a_row_are_one_click_away_and_as_many_as_it_says(client, project, battles):
    sign_in(client, project, "researcher")
    page = client.get(reverse("leaderboard", args=[project.slug])).content.decode()
    (address,) = links(page, "of tide-sft, one by one")
    assert len(cards(client, address)) == 6
    (address,) = links(page, "of tide-base, one by one")
    assert len(cards(client, address)) == 9
    assert "9 count for the ranking. " in client.get(address).content.decode()


def test_the_battles_of_a_pair_are_the_same_from_a_cell_and_from_the_pairs(client, project, base, child, battles):
    sign_in(client, project, "researcher")
    pairs = client.get(reverse("leaderboard-pairs", args=[project.slug])).content.decode()
    (cell,), (row,) = links(pairs, "4–2–0"), links(pairs, "4 – 2 – 0")
    assert cell == row and f"pair={child.pk}-{base.pk}" in cell
    rows = cards(client, cell)
    assert len(rows) == 6
    assert {frozenset({row.completion_a.model, row.completion_b.model}) for row in rows} == {frozenset({base, child})}
    swapped = cell.replace(f"pair={child.pk}-{base.pk}", f"pair={base.pk}-{child.pk}")
    assert cards(client, swapped) == rows


def test_a_visitor_reads_the_count_and_only_what_all_may_see(client, project, base, child, vote):
    vote(child, base, "model_a", 2)
    vote(child, base, "model_a", 1, source="arena")
    url = reverse("votes", args=[project.slug])
    response = client.get(url, VOTES | {"pair": f"{child.pk}-{base.pk}"})
    page = response.content.decode()
    assert "3 count for the ranking; you see those that everybody may see" in page
    assert all(card["row"].source == "arena" for card in response.context["cards"])
    for private in ({"status": "held"}, {"side": "train"}):
        page = client.get(url, VOTES | {"pair": f"{child.pk}-{base.pk}"} | private).content.decode()
        assert "count for the ranking" not in page


def test_battles_come_a_page_at_a_time_and_keep_their_filters(client, project, base, child, vote, monkeypatch):
    monkeypatch.setattr(battle_filter, "PER_PAGE", 4)
    sign_in(client, project, "researcher")
    vote(child, base, "model_a", 5)
    vote(base, child, "model_a", 4)
    address, pages = f"{reverse('votes', args=[project.slug])}?kind=comparison&side=eval&pair={child.pk}-{base.pk}", []
    while address:
        response = client.get(address)
        pages.append([card["row"].pk for card in response.context["cards"]])
        older = links(response.content.decode(), "Older")
        address = older[0] and f"{reverse('votes', args=[project.slug])}{older[0]}" if older else ""
    assert [len(page) for page in pages] == [4, 4, 1]
    together = [pk for page in pages for pk in page]
    assert together == sorted(together, reverse=True) and len(set(together)) == 9


@pytest.mark.parametrize("pair", ["x", "0", "1-2-3", "-", str(10**30)])
def test_a_pair_that_there_is_not_is_refused(client, project, base, child, vote, pair):
    vote(child, base)
    assert client.get(reverse("votes", args=[project.slug]), {"pair": pair}).status_code == 404


def test_the_models_of_another_project_are_no_pair_here(client, project, base, child, vote):
    vote(child, base)
    other = make_model(name="elsewhere")
    response = client.get(reverse("votes", args=[project.slug]), {"pair": f"{base.pk}-{other.pk}"})
    assert response.status_code == 404


def test_a_page_of_a_pair_takes_few_queries(client, project, base, child, vote, django_assert_max_num_queries):
    sign_in(client, project, "researcher")
    vote(child, base, "model_a", 60, author=make_user())
    with django_assert_max_num_queries(30):
        assert len(cards(client, reverse("votes", args=[project.slug]), **VOTES, pair=f"{child.pk}-{base.pk}")) == 25


def test_the_pairs_of_a_ranking_are_battles_and_lead_to_it(client, project, base, child, third, vote):
    vote(child, base)
    prompt = make_prompt(project, side="eval")
    first, second, last = (make_completion(prompt, model=model) for model in (child, third, base))
    order = [[first.pk], [second.pk], [last.pk]]
    common = {"project": project, "prompt": prompt, "author": make_user(), "judge": "person"}
    ranking = Ranking.objects.create(order=order, **common)
    for a, b in ((first, second), (first, last), (second, last)):
        Comparison.objects.create(completion_a=a, completion_b=b, winner="model_a", ranking=ranking, **common)
    sign_in(client, project, "manager")
    page = client.get(reverse("leaderboard", args=[project.slug])).content.decode()
    (address,) = links(page, "of tide-sft, one by one")
    battles = client.get(address)
    rows = [card["row"] for card in battles.context["cards"]]
    assert [row.ranking_id for row in rows] == [ranking.pk, ranking.pk, None]
    text = battles.content.decode()
    assert "3 count for the ranking" in text
    [to_ranking, _] = links(text, f"ranking {ranking.pk}")
    votes = reverse("votes", args=[project.slug])
    assert f'id="ranking-{ranking.pk}"' in client.get(votes + to_ranking.partition("#")[0]).content.decode()
    assert text.count("Change its status") == 1, "a pair changes with its ranking"
    assert len(cards(client, votes, kind="comparison")) == 1, "elsewhere the ranking stands for its pairs"
