"""The rule, the checks as evidence comes, promotion by hand and by itself, and the way back."""

from __future__ import annotations

import contextlib
import re
import threading
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.language_models.actions import enter_arena, leave_arena
from annotate.models import StatusChange
from evaluation.core import served_model
from evaluation.core.number_formats import roughly
from evaluation.leaderboard import pairwise
from evaluation.leaderboard import rating_intervals as intervals
from evaluation.leaderboard.leaderboard_rows import standings
from evaluation.leaderboard.snapshots import current
from evaluation.leaderboard.votes import ledger
from evaluation.models import Candidacy, Decision, Notice, PromotionRule, VoteCounts
from evaluation.promotion import actions, candidate_review, checks
from tests.support.api_client import Program
from tests.support.evaluation.measured import items, measured, right
from tests.support.factories import make_contestant, make_model, make_project, make_user
from tests.support.training.runs import in_a_thread


@pytest.fixture
def candidacy(project, child):
    return Candidacy.objects.create(project=project, model=child)


@pytest.fixture
def rule(project, manager):
    def make(**fields) -> PromotionRule:
        return actions.set_rule(project=project, by=manager, **{"first_votes_only": False, **fields})

    return make


def looked_at(candidacy) -> Candidacy:
    candidate_review.look(candidacy.project)
    candidacy.refresh_from_db()
    return candidacy


def check_named(candidacy, name) -> checks.Check:
    return next(c for c in checks.from_json(candidacy.evidence["checks"]) if c.name == name)


def withdraw(comparisons) -> None:
    """As a ban does it: the row's status and a line in the ledger."""
    for one in comparisons:
        StatusChange.objects.create(
            kind="comparison", feedback_id=one.pk, before="counted", after="excluded", reason="banned"
        )
        one.status = "excluded"
        one.save(update_fields=["status"])


class TestChecks:
    def test_without_a_vote_it_is_not_yet_and_says_what_is_needed(self, rule, candidacy, base):
        rule()
        check = check_named(looked_at(candidacy), "parent")
        assert check.state == "not yet"
        assert f"There are no votes between it and {base}" in check.sentence and "Arena votes" in check.more

    def test_a_few_votes_say_about_how_many_more(self, rule, candidacy, child, base, vote):
        rule()
        vote(child, base, "model_a", 8)
        vote(child, base, "model_b", 4)
        check = check_named(looked_at(candidacy), "parent")
        assert check.state == "not yet" and candidacy.state == "open"
        assert check.numbers["votes"] == 12 and check.numbers["more"] > 20
        assert check.more.startswith("About ") and "more votes against" in check.more

    @pytest.mark.parametrize("always_valid", [True, False])
    def test_votes_still_to_come_are_the_leaderboards_number(self, rule, candidacy, child, base, vote, always_valid):
        rule(always_valid=always_valid)
        for wins, losses in ((20, 10), (10, 15), (15, 12), (12, 10)):
            voter = make_user()
            vote(child, base, "model_a", wins, author=voter)
            vote(child, base, "model_b", losses, author=voter)
        check = check_named(looked_at(candidacy), "parent")
        board = current(project=candidacy.project, judge="person")
        against = next(row for row in standings(board) if row.model == child).against
        assert check.numbers["more"] == against.more_votes > 0
        assert check.more.startswith(f"About {roughly(against.more_votes)} more votes against {base}")

    @pytest.mark.parametrize("always_valid", [True, False])
    def test_a_lead_within_the_margin_has_no_number_of_votes(self, rule, candidacy, child, base, vote, always_valid):
        for wins, losses in ((20, 10), (10, 15), (15, 12), (12, 10)):  # some 34 points ahead
            voter = make_user()
            vote(child, base, "model_a", wins, author=voter)
            vote(child, base, "model_b", losses, author=voter)
        for margin, has_number in ((0, True), (100, False)):
            rule(always_valid=always_valid, margin=margin)
            assert (check_named(looked_at(candidacy), "parent").numbers["more"] is not None) == has_number

    def test_a_clear_lead_is_met_and_a_clear_loss_broken(self, rule, candidacy, child, base, vote):
        rule()
        won = vote(child, base, "model_a", 60)
        assert looked_at(candidacy).state == "ready"
        withdraw(won)
        vote(child, base, "model_b", 60)
        assert looked_at(candidacy).state == "refused"
        assert check_named(candidacy, "parent").state == "broken"

    def test_the_margin_moves_the_bound_that_must_be_passed(self, rule, candidacy, child, base, vote):
        vote(child, base, "model_a", 75)
        vote(child, base, "model_b", 25)
        rule(margin=0)
        assert looked_at(candidacy).state == "ready"
        rule(margin=150)
        assert looked_at(candidacy).state == "open"
        rule(margin=600)
        assert looked_at(candidacy).state == "refused"

    def test_fewest_votes_are_counted_against_the_parent(self, rule, candidacy, child, base, vote):
        rule(fewest_votes=100)
        vote(child, base, "model_a", 60)
        check = check_named(looked_at(candidacy), "votes")
        assert (check.state, check.more) == ("not yet", f"40 more votes against {base}.")
        assert candidacy.state == "open"

    def test_of_each_voter_only_the_first_vote_on_the_pair_counts_when_the_rule_says_so(
        self, rule, candidacy, child, base, vote, project
    ):
        rule(first_votes_only=True)
        one = make_user(project)
        vote(child, base, "model_a", 60, author=one)
        assert check_named(looked_at(candidacy), "parent").numbers["votes"] == 1
        for _ in range(9):
            vote(base, child, "model_b", 1)  # shown the other way: still for the child
        assert check_named(looked_at(candidacy), "parent").numbers["votes"] == 10
        assert check_named(candidacy, "parent").state == "met" or check_named(candidacy, "parent").numbers["lower"] > 0

    def test_of_first_votes_wins_ties_and_losses_are_told_apart_and_visitors_are_known_by_their_own_name(
        self, rule, candidacy, child, base, vote, project
    ):
        one, made = make_user(project), rule(first_votes_only=True)
        vote(child, base, "model_a", 1, author=one)
        vote(child, base, "model_b", 3, author=one)
        vote(base, child, "model_a")
        vote(base, child, "both_bad")
        vote(child, base, "tie", 2)
        for visitor in ("here", "here", "there"):
            [cast] = vote(child, base, "model_a")
            type(cast).objects.filter(pk=cast.pk).update(author=None, visitor=visitor)
        assert pairwise.counts(project, made, child, base) == (3, 2, 1)
        assert pairwise.counts(project, made, base, child) == (1, 2, 3)

    def test_it_must_also_beat_what_is_served(self, rule, candidacy, child, base, vote, project, manager):
        champion = make_contestant(project, make_model(name="tide-champion")).model
        actions.promote(project=project, model=champion, reason="the first", by=manager)
        rule()
        vote(child, base, "model_a", 60)
        assert looked_at(candidacy).state == "open"
        assert check_named(candidacy, "champion").state == "not yet"
        vote(child, champion, "model_a", 60)
        assert looked_at(candidacy).state == "ready"

    def test_the_fixed_interval_uses_votes_through_a_third_model(self, rule, candidacy, child, base, vote, project):
        third = make_contestant(project).model
        rule(always_valid=False)
        for winner, n in (("model_a", 60), ("model_b", 20)):
            for _ in range(n):
                vote(child, third, winner)
                vote(third, base, winner)
        check = check_named(looked_at(candidacy), "parent")
        assert check.state == "met" and check.numbers["votes"] == 0

    def test_the_fixed_interval_takes_one_persons_votes_for_no_more_than_theirs(
        self, rule, candidacy, child, base, vote, project
    ):
        rule(always_valid=False)
        vote(child, base, "model_a", 200, author=make_user(project))
        check = check_named(looked_at(candidacy), "parent")
        assert (check.state, check.numbers["lower"]) == ("not yet", None)
        assert check.more.startswith("Votes of other voters")

    def test_the_fixed_interval_decides_nothing_before_voters_were_read(
        self, rule, candidacy, child, base, vote, project, monkeypatch
    ):
        monkeypatch.setattr(intervals, "EXACT", 100)
        monkeypatch.setattr(intervals, "_refresh_in_background", lambda pk: None)
        rule(always_valid=False, is_automatic=True)
        vote(child, base, "model_a", 120, author=make_user(project))
        check = check_named(looked_at(candidacy), "parent")
        assert (check.state, candidacy.state) == ("not yet", "open") and "being read" in check.more
        intervals.refresh(VoteCounts.objects.get(project=project, judge="person", part="").pk)
        assert check_named(looked_at(candidacy), "parent").more.startswith("Votes of other voters")

    def test_a_model_with_neither_parent_nor_champion_is_not_decided_by_the_rule(self, rule, project):
        alone = make_contestant(project, make_model(parent=make_model(kind="tokenizer"))).model
        stands = Candidacy.objects.create(project=project, model=alone)
        rule()
        assert looked_at(stands).state == "open"
        assert "by hand" in check_named(stands, "parent").more

    def test_whoever_was_taken_out_of_the_arena_is_not_ready(self, rule, candidacy, child, base, vote, project):
        rule(is_automatic=True)
        leave_arena(project=project, model=child)
        vote(child, base, "model_a", 60)
        assert looked_at(candidacy).state == "open" and not project.promotions.exists()
        assert "not in the arena" in check_named(candidacy, "arena").sentence
        enter_arena(project=project, model=child)
        assert looked_at(candidacy).state == "promoted"


class TestTolerances:
    """What a model may lose: the paired change on the same items, its whole interval within the tolerance."""

    @pytest.fixture
    def by_votes(self, rule, candidacy, child, base, vote):
        rule(tolerances=[{"task": "small suite", "metric": "accuracy", "worst": 0.05}])
        vote(child, base, "model_a", 60)
        return candidacy

    def check(self, candidacy):
        return check_named(looked_at(candidacy), "tolerance:small suite:accuracy")

    def test_what_was_not_measured_counts_as_not_yet(self, by_votes, project, child, base):
        check = self.check(by_votes)
        assert (check.state, by_votes.state) == ("not yet", "open")
        assert check.more == f"Evaluate {child} and {base}."
        measured(project, child, "small suite", items(right([1, 0] * 20)))
        assert self.check(by_votes).more == f"Evaluate {base}."

    def test_on_other_items_nothing_is_subtracted(self, by_votes, project, child, base):
        measured(project, child, "small suite", items(right([1, 0] * 20)))
        measured(project, base, "small suite", items(right([1, 0] * 30)))
        check = self.check(by_votes)
        assert check.state == "not yet" and "not on the same items" in check.sentence

    def test_no_loss_is_met_and_makes_it_ready(self, by_votes, project, child, base):
        for model in (child, base):
            measured(project, model, "small suite", items(right([1, 1, 1, 0] * 50)))
        check = self.check(by_votes)
        assert (check.state, by_votes.state) == ("met", "ready")
        assert check.numbers["gain"] == 0 and check.numbers["n"] == 200
        assert check.sentence.startswith(f"As good as {base}, between ")

    def test_a_clear_loss_breaks_it_whatever_the_votes_say(self, by_votes, project, child, base):
        measured(project, base, "small suite", items(right([1, 1, 1, 0] * 50)))
        measured(project, child, "small suite", items(right([1, 0, 0, 0] * 50)))
        check = self.check(by_votes)
        assert (check.state, by_votes.state) == ("broken", "refused")
        assert check.numbers["gain"] == pytest.approx(-0.5) and "beyond the limit" in check.sentence
        assert check.title == "At most 5 percentage points worse in accuracy on small suite"
        assert re.match(rf"Worse by 50 percentage points than {base}, between \d\d(\.\d)? worse and ", check.sentence)

    def test_an_undecided_change_counts_as_not_yet_and_says_how_many_items(self, by_votes, project, child, base):
        measured(project, base, "small suite", items(right([1, 0, 1, 0, 1, 1, 0, 1] * 5)))
        measured(project, child, "small suite", items(right([0, 1, 1, 0, 1, 1, 1, 0] * 5)))
        check = self.check(by_votes)
        assert (check.state, by_votes.state) == ("not yet", "open")
        assert check.more.startswith("About ") and "more items" in check.more

    def test_without_a_parent_what_is_served_is_the_measure(self, rule, project, manager, vote):
        champion = make_contestant(project, make_model(name="tide-champion")).model
        alone = make_contestant(project, make_model(name="tide-alone")).model
        stands = Candidacy.objects.create(project=project, model=alone)
        actions.promote(project=project, model=champion, reason="the first", by=manager)
        rule(tolerances=[{"task": "small suite", "metric": "accuracy", "worst": 0.05}])
        vote(alone, champion, "model_a", 60)
        assert (self.check(stands).state, stands.state) == ("not yet", "open")
        for model in (alone, champion):
            measured(project, model, "small suite", items(right([1, 1, 1, 0] * 50)))
        assert (self.check(stands).state, stands.state) == ("met", "ready")

    def test_where_less_is_better_a_rise_is_a_loss(self, rule, candidacy, project, child, base):
        rule(tolerances=[{"task": "texts", "metric": "perplexity", "worst": 0.5}])
        for model, loss in ((base, 20.0), (child, 30.0)):
            counts = [{"perplexity": [loss + n % 3, 10.0]} for n in range(60)]
            measured(project, model, "texts", items(counts), measure="perplexity")
        check = check_named(looked_at(candidacy), "tolerance:texts:perplexity")
        assert check.state == "broken" and check.numbers["gain"] < -5
        assert check.title == "At most 0.5 worse in perplexity on texts" and "percentage" not in check.sentence


class TestStates:
    def test_ready_is_told_to_managers_and_researchers_alone(
        self, rule, candidacy, child, base, vote, project, manager
    ):
        researcher, annotator = make_user(project, role="researcher"), make_user(project)
        rule()
        vote(child, base, "model_a", 60)
        looked_at(candidacy)
        rows = set(Notice.objects.values_list("user", flat=True))
        assert rows == {manager.pk, researcher.pk} and annotator.pk not in rows
        assert "Promote it with one click" in Notice.objects.first().text

    def test_a_second_look_at_the_same_evidence_writes_nothing(self, rule, candidacy, child, base, vote):
        rule()
        vote(child, base, "model_a", 60)
        looked_at(candidacy)
        before = Decision.objects.count(), Notice.objects.count()
        assert candidate_review.look(candidacy.project) == []
        assert (Decision.objects.count(), Notice.objects.count()) == before

    def test_a_look_that_finds_nothing_new_costs_few_queries(
        self, rule, candidacy, child, base, vote, django_assert_max_num_queries, monkeypatch
    ):
        monkeypatch.setattr(ledger, "PATIENCE", -1.0)  # a sequence that does not begin at 1 is waited for otherwise
        rule()
        vote(child, base, "model_a", 60)
        looked_at(candidacy)
        candidate_review.periodic_task()
        with django_assert_max_num_queries(12):
            candidate_review.periodic_task()

    def test_what_the_sequence_has_decided_stays_so_while_no_vote_is_taken_away(
        self, rule, candidacy, child, base, vote
    ):
        rule()
        vote(child, base, "model_a", 60)
        assert looked_at(candidacy).state == "ready"
        vote(child, base, "model_b", 40)
        assert looked_at(candidacy).state == "ready"
        assert "decided at 60 votes" in check_named(candidacy, "parent").sentence

    def test_evidence_that_a_ban_takes_away_opens_it_again(self, rule, candidacy, child, base, vote):
        rule()
        won = vote(child, base, "model_a", 60)
        looked_at(candidacy)
        withdraw(won[:55])
        assert looked_at(candidacy).state == "open"
        assert Decision.objects.first().what == "open"

    def test_a_retired_model_is_withdrawn(self, rule, candidacy, child):
        rule()
        looked_at(candidacy)
        child.retire(reason="broken tokens")
        assert looked_at(candidacy).state == "withdrawn"
        assert "broken tokens" in Decision.objects.first().sentence

    def test_people_are_not_told_of_the_same_change_again_and_again(
        self, rule, candidacy, child, base, vote, manager, project
    ):
        rule(always_valid=False)
        states = []
        for winner, n in (("model_a", 15), ("model_b", 10), ("model_a", 30), ("model_b", 30)):
            for _ in range(n):
                vote(child, base, winner)
            states.append(looked_at(candidacy).state)
        assert states == ["ready", "open", "ready", "open"]
        assert Decision.objects.filter(what="ready").count() == 2
        assert Notice.objects.filter(user=manager).count() == 2  # that it was ready, and that it is not
        Decision.objects.update(created_at=timezone.now() - timedelta(hours=2))
        for _ in range(40):
            vote(child, base, "model_a")
        assert looked_at(candidacy).state == "ready"
        assert Notice.objects.filter(user=manager).count() == 3

    def test_a_model_that_was_brought_back_stands_again(self, rule, candidacy, child, base, vote):
        rule()
        vote(child, base, "model_a", 60)
        child.retire(reason="broken tokens")
        assert looked_at(candidacy).state == "withdrawn"
        child.bring_back()
        candidate_review.periodic_task()
        candidacy.refresh_from_db()
        assert candidacy.state == "ready" and candidate_review.look(candidacy.project) == []

    def test_also_one_that_had_left_the_arena_before(self, rule, candidacy, child, project):
        rule()
        leave_arena(project=project, model=child)
        looked_at(candidacy)
        child.retire(reason="broken tokens")
        assert looked_at(candidacy).state == "withdrawn"
        assert candidate_review.look(project) == []

    def test_one_project_that_cannot_be_looked_at_holds_up_no_other(
        self, rule, candidacy, child, base, vote, project, monkeypatch
    ):
        broken = make_project()
        Candidacy.objects.create(project=broken, model=child)
        actions.set_rule(project=broken, by=make_user(broken, role="manager"))
        rule()
        vote(child, base, "model_a", 60)
        looked = candidate_review.look
        monkeypatch.setattr(candidate_review, "look", lambda which: 1 / 0 if which == broken else looked(which))
        candidate_review.periodic_task()
        candidacy.refresh_from_db()
        assert candidacy.state == "ready"


class TestPromotion:
    def test_by_itself_with_the_evidence_of_the_moment(self, rule, candidacy, child, base, vote, project):
        rule(is_automatic=True)
        vote(child, base, "model_a", 60)
        assert looked_at(candidacy).state == "promoted"
        made = served_model.promoted(project)
        assert made.model == child and made.is_automatic and made.promoted_by is None
        assert made.leaderboard.votes == 60
        line = Decision.objects.first()
        assert line.what == "promoted" and line.evidence["checks"][0]["state"] == "met"

    def test_what_is_served_stays_when_its_evidence_goes_and_people_are_told_once(
        self, rule, candidacy, child, base, vote, project, manager
    ):
        rule(is_automatic=True)
        won = vote(child, base, "model_a", 60)
        looked_at(candidacy)
        withdraw(won[:55])
        looked_at(candidacy)
        withdraw(won[55:57])
        looked_at(candidacy)
        assert served_model.promoted(project).model == child
        texts = [n.text for n in Notice.objects.filter(user=manager) if "no longer meets the rule" in n.text]
        assert len(texts) == 1

    def test_nor_are_people_told_again_and_again_of_what_is_served(
        self, rule, candidacy, child, base, vote, project, manager
    ):
        rule(always_valid=False, is_automatic=True)
        for winner, n in (("model_a", 15), ("model_b", 10), ("model_a", 30), ("model_b", 30)):
            for _ in range(n):
                vote(child, base, winner)
            looked_at(candidacy)
        assert list(project.decisions.values_list("what", flat=True)[:4]) == ["open", "ready", "open", "promoted"]
        assert Notice.objects.filter(user=manager, text__contains="no longer meets").count() == 1

    def test_by_hand_against_the_rule_names_what_is_not_met(self, rule, candidacy, child, project, manager):
        rule()
        made = actions.promote(project=project, model=child, reason="we need it", by=manager)
        assert made.reason == "we need it. Not met of the rule: Better than its parent."
        candidacy.refresh_from_db()
        assert candidacy.state == "promoted"

    @pytest.mark.parametrize("what", ["promotion", "rule"])
    def test_what_came_while_the_checks_were_made_comes_before_them(
        self, rule, candidacy, child, base, vote, project, manager, monkeypatch, what
    ):
        rule(is_automatic=True)
        vote(child, base, "model_a", 60)
        third = make_contestant(project).model
        check = checks.check

        def slowly(*args, **named):
            found = check(*args, **named)
            monkeypatch.undo()
            if what == "promotion":
                actions.promote(project=project, model=third, reason="meanwhile", by=manager)
            else:
                PromotionRule.objects.create(project=project, first_votes_only=False)
            return found

        monkeypatch.setattr(checks, "check", slowly)
        looked_at(candidacy)
        assert candidacy.state == "open" and not project.promotions.filter(model=child).exists()
        assert looked_at(candidacy).state == ("open" if what == "promotion" else "ready")

    def test_served_without_a_parent_it_stands_as_it_stood(self, rule, project, manager, vote):
        alone, other = (make_contestant(project, make_model(name=f"tide-{name}")).model for name in ("alone", "other"))
        stands = Candidacy.objects.create(project=project, model=alone)
        rule()
        actions.promote(project=project, model=alone, reason="the first.", by=manager)
        vote(alone, other, "model_a", 6)
        looked_at(stands)
        assert project.decisions.first().what == "promoted"

    @pytest.mark.parametrize("reason", ["", " ", "x" * 501, "no\x00thing"])
    def test_a_reason_is_a_line_of_text(self, project, child, manager, reason):
        with pytest.raises(Refused) as refused:
            actions.promote(project=project, model=child, reason=reason, by=manager)
        assert list(refused.value.errors) == ["reason"]

    def test_the_same_model_twice_is_refused(self, project, child, manager):
        actions.promote(project=project, model=child, reason="good", by=manager)
        with pytest.raises(Refused, match="already"):
            actions.promote(project=project, model=child, reason="good", by=manager)

    @pytest.mark.parametrize("role", ["researcher", "annotator"])
    def test_only_managers_decide(self, project, child, role):
        user = make_user(project, role=role)
        for act in (
            lambda: actions.promote(project=project, model=child, reason="x", by=user),
            lambda: actions.roll_back(project=project, reason="x", by=user),
            lambda: actions.set_rule(project=project, by=user),
        ):
            with pytest.raises(Refused) as refused:
                act()
            assert refused.value.status == 403


@pytest.mark.django_db(transaction=True)
def test_many_who_look_at_once_find_one_change(rule, candidacy, child, base, vote, project):
    rule(is_automatic=True)
    vote(child, base, "model_a", 60)
    start = threading.Barrier(4)

    def look() -> None:
        start.wait()
        candidate_review.look(project)

    threads = [threading.Thread(target=in_a_thread(look)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(project.decisions.values_list("what", flat=True)) == ["promoted", "ready", "rule_changed"]
    assert project.promotions.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_click_and_the_rule_at_once_are_one_promotion(rule, candidacy, child, base, vote, project, manager):
    rule(is_automatic=True)
    vote(child, base, "model_a", 60)
    start = threading.Barrier(4)

    def click() -> None:
        start.wait()
        with contextlib.suppress(Refused):
            actions.promote(project=project, model=child, reason="now", by=manager)

    def look() -> None:
        start.wait()
        candidate_review.look(project)

    threads = [threading.Thread(target=in_a_thread(act)) for act in (click, look, click, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert project.promotions.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_managers_who_press_at_once_wait_for_each_other(candidacy, child, base, project, manager):
    """One goes back from the child, the other serves it once more: in either order, and never in each other's way."""
    actions.promote(project=project, model=base, reason="the first", by=manager)
    actions.promote(project=project, model=child, reason="better", by=manager)
    start, faults = threading.Barrier(2), []

    def press(act) -> None:
        start.wait()
        try:
            act()
        except Refused:
            pass
        except Exception as error:
            faults.append(error)

    for _ in range(5):
        acts = (
            lambda: actions.roll_back(project=project, reason="bad", by=manager),
            lambda: actions.promote(project=project, model=child, reason="good", by=manager),
        )
        threads = [threading.Thread(target=in_a_thread(lambda act=act: press(act))) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []


class TestRollingBack:
    def test_serves_again_what_was_served_before_and_says_why(self, project, base, child, manager):
        actions.promote(project=project, model=base, reason="the first", by=manager)
        actions.promote(project=project, model=child, reason="better", by=manager)
        made = actions.roll_back(project=project, reason="it swears", by=manager)
        assert served_model.promoted(project).model == base and made.rolls_back.model == child
        line = Decision.objects.first()
        assert line.what == "rolled_back" and "it swears" in line.sentence

    def test_twice_goes_two_steps_back_and_not_to_what_was_rolled_back(self, project, base, child, manager):
        third = make_contestant(project).model
        for model in (base, child, third):
            actions.promote(project=project, model=model, reason="better", by=manager)
        actions.roll_back(project=project, reason="bad", by=manager)
        assert served_model.promoted(project).model == child
        actions.roll_back(project=project, reason="bad too", by=manager)
        assert served_model.promoted(project).model == base
        with pytest.raises(Refused) as refused:
            actions.roll_back(project=project, reason="all bad", by=manager)
        assert refused.value.status == 409

    def test_what_one_page_says_is_rolled_back_once(self, client, project, base, child, manager):
        third = make_contestant(project).model
        for model in (base, child, third):
            actions.promote(project=project, model=model, reason="better", by=manager)
        client.force_login(manager)
        decisions = client.get(reverse("decisions", args=[project.slug])).content.decode()
        seen = served_model.promoted(project).pk
        assert f'name="promotion" value="{seen}"' in decisions
        for _ in range(2):  # a double click, or two managers
            client.post(reverse("roll-back", args=[project.slug]), {"reason": "bad", "promotion": seen})
        assert served_model.promoted(project).model == child
        body = {"reason": "bad", "promotion": seen}
        assert Program(manager).post(f"projects/{project.slug}/roll-back/", body).status_code == 409

    def test_what_was_rolled_back_is_not_promoted_by_itself_again(
        self, rule, candidacy, child, base, vote, project, manager
    ):
        actions.promote(project=project, model=base, reason="the first", by=manager)
        rule(is_automatic=True)
        vote(child, base, "model_a", 60)
        assert looked_at(candidacy).state == "promoted"
        actions.roll_back(project=project, reason="it swears", by=manager)
        vote(child, base, "model_a", 5)
        assert looked_at(candidacy).state == "withdrawn"
        assert served_model.promoted(project).model == base

    def test_what_is_served_again_is_promoted_and_not_once_more_by_itself(
        self, rule, candidacy, child, base, vote, project, manager
    ):
        rule(is_automatic=True)
        vote(child, base, "model_a", 60)
        looked_at(candidacy)
        third = make_contestant(project).model
        actions.promote(project=project, model=third, reason="newer", by=manager)
        actions.promote(project=project, model=child, reason="better after all", by=manager)
        for _ in range(2):  # back to the third, and to the child's first promotion
            actions.roll_back(project=project, reason="bad", by=manager)
        before = project.promotions.count()
        vote(child, base, "model_a", 3)
        assert looked_at(candidacy).state == "promoted"
        assert (served_model.promoted(project).model, project.promotions.count()) == (child, before)

    def test_to_a_model_that_is_retired_is_refused(self, project, base, child, manager):
        actions.promote(project=project, model=base, reason="the first", by=manager)
        actions.promote(project=project, model=child, reason="better", by=manager)
        base.retire(reason="old")
        with pytest.raises(Refused, match="retired"):
            actions.roll_back(project=project, reason="bad", by=manager)


class TestTheRule:
    def test_a_change_keeps_the_versions_and_is_in_the_history(self, rule, project):
        rule(margin=10)
        rule(margin=20)
        assert [r.margin for r in project.promotion_rules.all()] == [20, 10]
        assert [d.what for d in project.decisions.all()] == ["rule_changed", "rule_changed"]
        assert "more than 20 points above" in project.decisions.first().sentence

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("judge", "the cat"),
            ("margin", -1),
            ("margin", float("nan")),
            ("fewest_votes", 2.5),
            ("fewest_votes", -1),
            ("sampling", "sometimes"),
            ("tolerances", [{"task": "t", "metric": "m"}]),
            ("tolerances", [{"task": "t", "metric": " ", "worst": 1}]),
            ("tolerances", [{"task": "t", "metric": "m", "worst": -1}]),
            ("tolerances", [{"task": "t\x00", "metric": "m", "worst": 1}]),
            ("tolerances", [{"task": "t" * 201, "metric": "m", "worst": 1}]),
        ],
    )
    def test_a_wrong_field_is_named_and_nothing_is_written(self, project, manager, field, value):
        with pytest.raises(Refused) as refused:
            actions.set_rule(project=project, by=manager, **{field: value})
        assert list(refused.value.errors) == [field]
        assert not project.promotion_rules.exists()

    def test_other_projects_candidates_are_left_alone(self, rule, candidacy, child, base, vote):
        elsewhere = make_project()
        other = Candidacy.objects.create(project=elsewhere, model=child)
        rule()
        vote(child, base, "model_a", 60)
        candidate_review.periodic_task()
        other.refresh_from_db()
        assert other.state == "open" and other.evidence == {}
