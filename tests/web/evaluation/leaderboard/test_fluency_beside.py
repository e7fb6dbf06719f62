"""Fluency beside the rating: on the leaderboard, in its files and for programs, and as part of a promotion rule."""

from __future__ import annotations

import csv
import io
import re

import pytest
from django.urls import reverse
from django.utils import timezone

from evaluation.leaderboard import present as board_page
from evaluation.measures import alignment_tax as tax
from evaluation.metrics import fluency_figures as fluency
from evaluation.models import Candidacy, Evaluation
from evaluation.promotion import actions, tolerances
from tests.support.evaluation.measured import items, measured
from tests.support.factories import PASSWORD, make_contestant, make_model
from tests.web.evaluation.promotion.test_promotion import check_named, looked_at

SURPRISE = {"task": fluency.TASK, "metric": fluency.SURPRISE_ABOVE, "worst": 0.2}


def counts(number: int, *, surprise: float, entropy: float = 3.0, foreign: float = 0.0) -> dict[str, list[float]]:
    """What one prompt counts: ten tokens a side, the parent's at 2.8 nats of surprise and 3.0 of entropy."""
    noise = (number % 5 - 2) / 10
    ours, theirs = [10 * (surprise + noise), 10.0], [28.0, 10.0]
    own, parents = [10 * (entropy + noise), 10.0], [30.0, 10.0]
    return {
        fluency.SURPRISE_ABOVE: [*ours, *theirs], fluency.SURPRISE: ours, fluency.PARENTS_SURPRISE: theirs,
        fluency.ENTROPY_ABOVE: [*own, *parents], fluency.ENTROPY: own, fluency.PARENTS_ENTROPY: parents,
        fluency.FOREIGN: [100 * foreign * (number % 2), 50.0, 0.0, 50.0],
    }  # fmt: skip


@pytest.fixture
def measure(project):
    def made(model, prompts: int = 60, **figures):
        rows = [counts(number, **figures) for number in range(prompts)]
        return measured(project, model, fluency.TASK, items(rows), measure="fluency")

    return made


@pytest.fixture
def stands(project, child, manager):
    """`stands(tolerance)`: the check of that tolerance, as it stands for the child."""
    candidacy = Candidacy.objects.create(project=project, model=child)

    def looked(**tolerance):
        actions.set_rule(project=project, by=manager, tolerances=[tolerance], first_votes_only=False)
        return check_named(looked_at(candidacy), f"tolerance:{tolerance['task']}:{tolerance['metric']}")

    return looked


class TestTheLeaderboard:
    def test_a_row_says_surprise_entropy_and_other_scripts(self, client, project, base, child, vote, measure):
        vote(child, base, n=12)
        assert "nats" not in client.get(reverse("leaderboard", args=[project.slug])).content.decode()
        measure(child, surprise=3.3, entropy=3.2, foreign=0.02)
        shown = " ".join(client.get(reverse("leaderboard", args=[project.slug])).content.decode().split())
        assert re.search(r"surprise \+0\.50 \[0\.4\d, 0\.5\d\] nats", shown), shown
        assert f"3.30 nats a token under {base.name}, whose own answers cost it 2.80" in shown
        assert "entropy +0.20" in shown and "2 % in other scripts" in shown

    def test_the_newest_run_stands_and_another_parents_figures_do_not(self, project, base, child, vote, measure):
        vote(child, base, n=12)
        measure(child, surprise=3.3)
        measure(child, surprise=2.9)
        row = self.row(project, child)
        assert row.fluency.surprise_above_parent.value == pytest.approx(0.1)
        Evaluation.objects.update(opponent=make_model())
        assert self.row(project, child).fluency is None

    def test_a_moment_of_the_past_shows_what_was_known_then(self, project, base, child, vote, measure):
        vote(child, base, n=12)
        before = timezone.now()
        measure(child, surprise=3.3)
        assert self.row(project, child).fluency is not None
        assert self.row(project, child, at=before.isoformat()).fluency is None

    def test_an_open_page_notices_a_new_figure(self, project, base, child, vote, measure):
        vote(child, base, n=12)
        asked = board_page.parse_query(project, {})
        before = board_page.stamp(asked, board_page.board_of(asked))
        measure(child, surprise=3.3)
        assert board_page.stamp(asked, board_page.board_of(asked)) != before

    def test_files_and_the_api_hold_it(self, client, project, base, child, vote, measure):
        vote(child, base, n=12)
        run = measure(child, surprise=3.3)
        text = client.get(reverse("leaderboard-csv", args=[project.slug])).content.decode()
        rows = {row["model"]: row for row in csv.DictReader(io.StringIO(text))}
        assert rows[child.name]["surprise_above_parent"] == "0.5" and rows[base.name]["surprise"] == ""
        data = client.get(reverse("leaderboard-json", args=[project.slug])).json()
        assert {row["model"]: row["entropy"] for row in data["rows"]} == {child.name: 3.0, base.name: None}
        api = client.get("/api/v1/leaderboard/", {"project": project.slug}).json()
        told = {row["model"]: row["fluency"] for row in api["rows"]}
        assert told[base.name] is None
        assert (told[child.name]["under"], told[child.name]["run"]) == (base.name, run.pk)
        assert told[child.name]["surprise_above_parent"]["value"] == pytest.approx(0.5)
        assert told[child.name]["parents_surprise"]["value"] == pytest.approx(2.8)

    def row(self, project, model, **query):
        asked = board_page.parse_query(project, query)
        rows = [row for row, _ in board_page.context(asked, board_page.board_of(asked))["rows"]]
        return next(row for row in rows if row.model == model)


class TestTheRule:
    def test_what_was_not_measured_is_not_yet(self, stands, child, base):
        check = stands(**SURPRISE)
        assert check.state == "not yet"
        assert f"{child} compared with {base} has not been measured" in check.sentence and "fluency" in check.more

    @pytest.mark.parametrize(("surprise", "state"), [(2.8, "met"), (2.5, "met"), (3.0, "not yet"), (3.4, "broken")])
    def test_surprise_may_rise_by_so_much(self, stands, child, measure, surprise, state):
        measure(child, surprise=surprise)
        check = stands(**SURPRISE)
        assert check.state == state
        assert check.title == "Surprise under the parent at most 0.2 nats a token above the parent’s own"

    @pytest.mark.parametrize(
        ("entropy", "state"), [(3.0, "met"), (2.8, "met"), (2.5, "broken"), (3.5, "broken"), (3.3, "not yet")]
    )
    def test_entropy_may_go_neither_way_by_more(self, stands, child, base, measure, entropy, state):
        measure(child, surprise=2.8, entropy=entropy)
        check = stands(task=fluency.TASK, metric=fluency.ENTROPY_ABOVE, worst=0.3)
        assert check.state == state
        if state == "broken":
            way = "+0.5" if entropy > 3 else "−0.5"
            assert check.sentence.startswith(f"{way} against {base}, between ")

    @pytest.mark.parametrize(("foreign", "state"), [(0.0, "met"), (0.3, "broken"), (0.1, "not yet")])
    def test_other_scripts_may_be_so_much(self, stands, child, measure, foreign, state):
        measure(child, surprise=2.8, foreign=foreign)
        check = stands(task=fluency.TASK, metric=fluency.FOREIGN, worst=0.1)
        assert check.state == state
        assert check.title == "At most 10 % of the characters in scripts that the parent does not use"

    def test_too_few_prompts_are_said(self, stands, child, measure):
        measure(child, prompts=5, surprise=2.8)
        check = stands(**SURPRISE)
        assert check.state == "not yet" and "too few for an interval" in check.sentence

    def test_another_model_than_the_parent_is_no_measure(self, project, manager):
        champion = make_contestant(project, make_model(name="tide-champion")).model
        alone = make_contestant(project, make_model(name="tide-alone")).model
        candidacy = Candidacy.objects.create(project=project, model=alone)
        actions.promote(project=project, model=champion, reason="the first", by=manager)
        actions.set_rule(project=project, by=manager, tolerances=[SURPRISE])
        check = check_named(looked_at(candidacy), f"tolerance:{fluency.TASK}:{fluency.SURPRISE_ABOVE}")
        assert check.state == "not yet" and "own parent" in check.sentence

    def test_the_rule_says_it_in_words(self, project, manager):
        rule = actions.set_rule(project=project, by=manager, tolerances=[SURPRISE])
        text = "Surprise under the parent at most 0.2 nats a token above the parent’s own."
        assert text in actions.in_words(rule)

    def test_the_form_offers_the_three_bounds_before_anything_was_measured(self, client, project, manager):
        assert client.login(username=manager.username, password=PASSWORD)
        shown = client.get(reverse("promotion-rule", args=[project.slug])).content.decode()
        for metric in fluency.BOUNDED:
            assert f'value="{metric}"' in shown
        assert "at most … nats a token above" in shown

    def test_only_bounds_can_be_part_of_a_rule(self, project, child, measure):
        measure(child, surprise=3.0)
        assert [metric for task, metric in tolerances.measures(project)] == list(fluency.BOUNDED)


def test_the_tax_panel_leaves_it_out(project, base, child, measure):
    measure(child, surprise=3.0)
    panel = tax.panel(child, project)
    assert not panel.rows and not panel.missing
