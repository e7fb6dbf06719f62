"""A prompt that gets another category takes its counted votes along."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.data.prompts.editing import edit_prompt
from annotate.labelling.actions import set_status
from annotate.models import Prompt
from evaluation.leaderboard import recount
from evaluation.leaderboard.recount import differences
from evaluation.leaderboard.votes import counts
from evaluation.leaderboard.votes.counts import catch_up, counts_of
from evaluation.models import VoteCounts, VoteCursor
from tests.support.api_client import Program
from tests.support.factories import make_comparison, make_completion, make_prompt, make_user, sign_in

PERSON = "person"


def test_a_prompt_takes_its_votes_along_to_its_new_category(project, base, child, vote, client):
    prompt = make_prompt(project, side="eval", category="physics")
    answers = make_completion(prompt, model=child), make_completion(prompt, model=base)
    cast = [make_comparison(*answers, "model_a", make_user()) for _ in range(4)]
    set_status(rows=[cast[0]], status="held", reason="a look", by=None)
    vote(child, base, n=2)
    catch_up()
    Program(make_user(project, role="researcher")).patch(f"prompts/{prompt.pk}/", {"category": "optics"})
    assert differences() == []
    counts_by_name = {row.name: (row.votes, row.left_out) for row in VoteCounts.objects.filter(part="category")}
    assert counts_by_name == {"physics": (0, {}), "optics": (3, {"held": 1})}
    set_status(rows=[cast[0]], status="counted", reason="a look", by=None)
    make_comparison(*answers, "tie", make_user())
    sign_in(client, project, "researcher")
    client.post(reverse("prompt", args=[project.slug, prompt.pk]), {"category": ""})
    assert differences() == [] and counts_of(project, PERSON).votes == 7
    assert not VoteCounts.objects.filter(part="category", votes__gt=0).exists()


def test_the_counts_are_locked_when_all_else_is_done(project, base, child):
    """Somebody who edits the root of a new version waits for it, and nobody else for them both."""
    prompt = make_prompt(project, side="eval", category="physics")
    make_comparison(make_completion(prompt, model=child), make_completion(prompt, model=base), "model_a")
    catch_up()
    messages = [{"role": "user", "content": "Why does glass bend light?"}]
    with CaptureQueriesContext(connection) as queries:
        edit_prompt(prompt=prompt, by=make_user(project, role="researcher"), category="optics", messages=messages)
    tables = [query["sql"].split('"')[1] for query in queries if '"' in query["sql"]]
    assert tables.index("evaluation_votecursor") > max(
        n for n, table in enumerate(tables) if table == "annotate_prompt"
    )
    assert differences() == []


def test_votes_that_were_read_before_the_change_are_read_again(project, base, child, monkeypatch):
    prompt = make_prompt(project, side="eval", category="physics")
    make_comparison(make_completion(prompt, model=child), make_completion(prompt, model=base), "model_a")
    cursor_locked, researcher = counts.cursor_locked, make_user(project, role="researcher")

    def change_first() -> VoteCursor:
        monkeypatch.setattr(counts, "cursor_locked", cursor_locked)
        edit_prompt(prompt=prompt, by=researcher, category="optics")
        return cursor_locked()

    monkeypatch.setattr(counts, "cursor_locked", change_first)
    assert counts_of(project, PERSON, "category", "optics").votes == 1
    assert counts_of(project, PERSON, "category", "physics") is None and differences() == []


def test_a_recount_during_which_a_prompt_changes_finds_no_difference(project, base, child, monkeypatch):
    prompt = make_prompt(project, side="eval", category="physics")
    make_comparison(make_completion(prompt, model=child), make_completion(prompt, model=base), "model_a")
    everything, researcher = recount.ledger.everything, make_user(project, role="researcher")

    def change_first(*up_to: Any) -> Any:
        monkeypatch.setattr(recount.ledger, "everything", everything)
        edit_prompt(prompt=prompt, by=researcher, category="optics")
        return everything(*up_to)

    monkeypatch.setattr(recount.ledger, "everything", change_first)
    assert differences() == [] and recount.ledger.everything is everything


def test_counts_that_an_earlier_version_left_behind_are_made_anew(project, base, child):
    prompt = make_prompt(project, side="eval", category="physics")
    make_comparison(make_completion(prompt, model=child), make_completion(prompt, model=base), "model_a")
    catch_up()
    Prompt.objects.update(category="optics")
    assert differences()
    edit_prompt(prompt=prompt, by=make_user(project, role="researcher"), category="waves")
    assert differences() == [] and counts_of(project, PERSON, "category", "waves").votes == 1
