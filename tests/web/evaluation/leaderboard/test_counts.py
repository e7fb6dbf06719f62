"""Counts follow the ledger: each row once, whoever folds, in whatever order rows become visible."""

from __future__ import annotations

import random
import threading
import time

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from annotate.models import Comparison, Prompt, Status, StatusChange
from evaluation.leaderboard.recount import differences
from evaluation.leaderboard.votes import counts, languages, ledger
from evaluation.leaderboard.votes.counts import catch_up, counts_of, parts_of, tally_of_counts
from evaluation.leaderboard.votes.vote_blocks import counted
from evaluation.models import PromptLanguage, VoteCounts, VoteCursor
from evaluation.ratings import tally_totals
from tests.support.factories import make_comparison, make_completion, make_model, make_project, make_prompt, make_user

PERSON = "person"
STATUSES = [Status.COUNTED, Status.HELD, Status.EXCLUDED, Status.WITHDRAWN]
on_postgres = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite's writers come one by one")


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch) -> None:
    """Sequences of a test's database do not begin at 1; what counts is whether a transaction still runs."""
    monkeypatch.setattr(ledger, "PATIENCE", -1.0)
    monkeypatch.setattr(counts, "LOOK_AGAIN", 0.0)


def change_status(comparison: Comparison, status: str) -> None:
    """As the actions do it: the row and the ledger in one transaction."""
    with transaction.atomic():
        before = Comparison.objects.select_for_update().values_list("status", flat=True).get(pk=comparison.pk)
        Comparison.objects.filter(pk=comparison.pk).update(status=status)
        StatusChange.objects.create(
            kind="comparison", feedback_id=comparison.pk, before=before, after=status, reason="test"
        )


def totals_in_the_ledger(project) -> dict:
    rows = counted(project, PERSON).values_list("completion_a__model", "completion_b__model", "winner")
    return tally_as_dict(tally_totals([(*row, 1) for row in rows]))


def tally_as_dict(tally) -> dict:
    names = tally.models
    return {
        (names[a], names[b], said): int(n)
        for a, line in enumerate(tally.cells)
        for b, cells in enumerate(line)
        for said, n in enumerate(cells)
        if n
    }


def counted_now(project) -> dict:
    counts = counts_of(project, PERSON)
    return tally_as_dict(tally_of_counts(counts)) if counts else {}


def test_votes_undos_and_bans_in_any_order_are_each_folded_once(project, base, child, vote):
    chance = random.Random(0)
    models = [base, child, make_model(), make_model()]
    cast: list[Comparison] = []
    for round_ in range(60):
        if cast and chance.random() < 0.4:
            change_status(chance.choice(cast), chance.choice(STATUSES))
        else:
            a, b = chance.sample(models, 2)
            winner = chance.choice(["model_a", "model_b", "tie", "both_bad"])
            cast += vote(a, b, winner, side=chance.choice(["eval", "eval", "train"]), status=chance.choice(STATUSES))
        if round_ % 7 == 0:
            assert counted_now(project) == totals_in_the_ledger(project)
    assert counted_now(project) == totals_in_the_ledger(project)
    assert differences() == []
    statuses = [c.status for c in Comparison.objects.filter(prompt__side="eval")]
    expected = {status: statuses.count(status) for status in STATUSES[1:] if statuses.count(status)}
    assert counts_of(project, PERSON).left_out == expected


def test_a_vote_that_changed_before_it_was_first_seen_is_counted_once(project, base, child, vote):
    taken_back, held = vote(child, base, n=2)
    change_status(taken_back, Status.WITHDRAWN)
    change_status(held, Status.HELD)
    change_status(held, Status.COUNTED)
    assert counts_of(project, PERSON).votes == 1
    change_status(taken_back, Status.COUNTED)
    assert counts_of(project, PERSON).votes == 2


def test_more_votes_than_a_block_are_folded_block_by_block(project, base, child, vote, monkeypatch):
    monkeypatch.setattr(ledger, "BLOCK", 4)
    cast = vote(child, base, n=11)
    for comparison in cast[:6]:
        change_status(comparison, Status.EXCLUDED)
    counts = counts_of(project, PERSON)
    assert (counts.votes, counts.left_out) == (5, {"excluded": 6})
    assert differences() == []


def test_rows_that_are_joined_are_asked_for_by_both_ends_and_not_by_a_limit(project, base, child, vote, monkeypatch):
    """With a limit Postgres planned for few rows: a hundred blocks took 450 s of its processor where they take 40."""
    monkeypatch.setattr(ledger, "BLOCK", 4)
    cast = vote(child, base, n=6)
    with CaptureQueriesContext(connection) as captured:
        assert counts_of(project, PERSON).votes == 6
    joined = [query["sql"] for query in captured if "WITH votes" in query["sql"]]
    ends = [cast[3].pk, cast[5].pk]
    assert len(joined) == 2 and all("LIMIT 4" not in sql for sql in joined)
    assert all(f'"annotate_comparison"."id" <= {end}' in sql for end, sql in zip(ends, joined, strict=True))


def test_nothing_new_costs_two_queries_and_writes_nothing(project, base, child, vote, django_assert_num_queries):
    vote(child, base, n=3)
    state = counts_of(project, PERSON).state
    with django_assert_num_queries(2):
        assert counts_of(project, PERSON).state == state


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_too_busy_leaves_the_counts_as_they_were(monkeypatch, caplog):
    project, a, b = make_project(), make_model(), make_model()
    new_vote(project, a, b)
    catch_up()
    new_vote(project, a, b)

    def busy() -> bool:
        raise OperationalError("database is locked")

    monkeypatch.setattr(counts, "_fold_some", busy)
    assert counts_of(project, PERSON).votes == 1
    assert "database is locked" in caplog.text
    monkeypatch.undo()
    assert counts_of(project, PERSON).votes == 2


def test_another_projects_votes_leave_the_state_alone(project, base, child, vote):
    vote(child, base)
    state = counts_of(project, PERSON).state
    other = make_prompt(make_project(), side="eval")
    make_comparison(make_completion(other, model=base), make_completion(other, model=child))
    assert counts_of(project, PERSON).state == state
    assert VoteCursor.objects.count() == 1


def test_models_whose_votes_were_all_taken_back_leave_the_tally(project, base, child, vote):
    third = make_model()
    only = vote(third, base)[0]
    vote(child, base)
    assert third.pk in tally_of_counts(counts_of(project, PERSON)).models
    change_status(only, Status.WITHDRAWN)
    assert third.pk not in tally_of_counts(counts_of(project, PERSON)).models


def test_categories_and_languages_are_counted_apart(project, base, child, vote):
    text = "Pourquoi le ciel est-il bleu en plein jour, et rouge le soir ? Expliquez-le simplement."
    french = make_prompt(project, text, side="eval", category="physics")
    answers = make_completion(french, model=child), make_completion(french, model=base)
    cast = [make_comparison(*answers, "model_a", make_user()) for _ in range(3)]
    vote(child, base, n=2)
    assert counts_of(project, PERSON).votes == 5
    assert counts_of(project, PERSON, "category", "physics").votes == 3
    assert counts_of(project, PERSON, "language", "fr").votes == 3
    change_status(cast[0], Status.HELD)
    assert counts_of(project, PERSON, "language", "fr").votes == 2
    named = {(row.part, row.name): row.votes for row in parts_of(project, PERSON)}
    assert named["category", "physics"] == 2
    assert named["language", "en"] == 2


def test_votes_of_many_kinds_in_one_block_are_counted_each_in_its_rows(project, base, child, vote):
    texts = [
        "Pourquoi le ciel est-il bleu en plein jour, et rouge le soir ? Expliquez-le simplement.",
        "Warum ist der Himmel am Tag blau, und am Abend rot? Bitte einfach erklären, für Kinder.",
        "Why is the sky blue during the day, and red in the evening? Please explain it in simple words.",
    ]
    prompts = [make_prompt(project, text, side="eval", category=f"odd, {text[0]}|\x1f '\u00e9'") for text in texts]
    last = {}
    for language, prompt in [*zip(("fr", "de", "en"), prompts, strict=True)] * 2:
        answers = make_completion(prompt, model=child), make_completion(prompt, model=base)
        last["language", language] = make_comparison(*answers, "tie", make_user()).pk
    of_one = make_completion(prompts[0], model=child), make_completion(prompts[0], model=child)
    make_comparison(*of_one, "tie", make_user())
    catch_up()
    rows = {(row.part, row.name): (row.votes, row.last_comparison_id) for row in parts_of(project, PERSON)}
    assert {key: row for key, row in rows.items() if key[0] == "language"} == {key: (2, pk) for key, pk in last.items()}
    assert sum(votes for (part, _), (votes, _) in rows.items() if part == "category") == 6
    assert VoteCursor.objects.get().last_comparison_id == Comparison.objects.order_by("-id")[0].pk
    assert differences() == []


def test_a_language_is_found_once_and_what_says_nothing_is_undetermined(project, vote, base, child):
    assert languages.language_of("Wie hoch ist der Berg, und wer war als Erster oben?") == "de"
    assert {languages.language_of(text) for text in ("", "2 + 2 = ?", "🙂")} == {"und"}
    vote(child, base)
    catch_up()
    kept = PromptLanguage.objects.get()
    PromptLanguage.objects.update(language="xx")
    assert languages.find([kept.prompt_id]) == {kept.prompt_id: "xx"}


def test_languages_of_all_eval_prompts_are_found_by_a_command(project, capsys):
    for _ in range(3):
        make_prompt(project, side="eval")
    make_prompt(project, side="train")
    call_command("find_languages", project=project.slug)
    assert "3 prompts" in capsys.readouterr().out
    assert PromptLanguage.objects.count() == 3
    with pytest.raises(CommandError, match="no project"):
        call_command("find_languages", project="nowhere")


class TestRecount:
    def test_counts_that_agree_say_so(self, project, base, child, vote, capsys):
        change_status(vote(child, base, n=3)[0], Status.HELD)
        call_command("recount_votes")
        assert "agree with the ledger of 3 comparisons" in capsys.readouterr().out

    def test_wrong_counts_are_told_and_made_anew(self, project, base, child, vote, capsys):
        vote(child, base, n=3)
        catch_up()
        VoteCounts.objects.filter(part="").update(left_out={"held": 7})
        with pytest.raises(CommandError, match="1 of the counts"):
            call_command("recount_votes", check=True)
        assert "status held: 7, the ledger says 0" in capsys.readouterr().err
        with pytest.raises(CommandError):
            call_command("recount_votes")
        assert counts_of(project, PERSON).left_out == {}
        call_command("recount_votes")

    def test_counts_that_would_fall_below_none_make_themselves_anew(self, project, base, child, vote, caplog):
        cast = vote(child, base, n=3)
        catch_up()
        row = VoteCounts.objects.get(part="")
        row.cells = counts._encoded(counts._decoded(row) * 0)
        row.save()
        change_status(cast[0], Status.WITHDRAWN)
        assert counts_of(project, PERSON).votes == 2
        assert "made anew" in caplog.text


class TestMissing:
    """Numbers that were not there when the cursor passed them."""

    @pytest.fixture(autouse=True)
    def _patience(self, monkeypatch) -> None:
        monkeypatch.setattr(ledger, "PATIENCE", 60.0)

    def test_ranges_are_cut_where_rows_have_turned_up(self):
        gaps = [ledger.Missing(3, 9, 0.0), ledger.Missing(20, 20, 0.0)]
        assert [(gap.low, gap.high) for gap in ledger._without(gaps, [3, 6, 7, 20])] == [(4, 5), (8, 9)]

    def test_a_number_is_waited_for_until_no_transaction_could_bring_it(self):
        gap, late = ledger.Missing(5, 5, seen_at=1000.0), 1001.0 + ledger.PATIENCE
        assert ledger.waited_for(gap, ledger.Moment(1001.0, own_transaction=100, oldest=100)) == gap, (
            "too soon to be sure"
        )
        waiting = ledger.waited_for(gap, ledger.Moment(late, own_transaction=100, oldest=90))
        assert waiting == gap._replace(horizon=100), "one that is older than we runs still"
        assert ledger.waited_for(waiting, ledger.Moment(late, own_transaction=130, oldest=99)) == waiting
        assert ledger.waited_for(waiting, ledger.Moment(late, own_transaction=130, oldest=101)) is None
        assert ledger.waited_for(gap, ledger.Moment(late, own_transaction=100, oldest=100)) is None, "nobody else runs"

    def test_numbers_drawn_long_ago_need_no_patience(self):
        now = ledger.Moment(1e9, own_transaction=7, oldest=7)
        old, young = ledger._gaps(0, [(3, 1e9 - 7200), (4, 1e9 - 7100), (6, 1e9 - 5)], now)
        assert (old.low, old.high, ledger.waited_for(old, now)) == (1, 2, None)
        assert (young.low, young.high, ledger.waited_for(young, now)) == (5, 5, young)


class InItsOwnConnection(threading.Thread):
    """Runs `work` in a transaction that stays open until `commit` is set."""

    def __init__(self, work) -> None:
        super().__init__(daemon=True)
        self.work, self.done, self.commit = work, threading.Event(), threading.Event()
        self.start()
        assert self.done.wait(20)

    def run(self) -> None:
        try:
            with transaction.atomic():
                self.work()
                self.done.set()
                self.commit.wait(20)
        finally:
            connections.close_all()

    def end(self) -> None:
        self.commit.set()
        self.join(20)


def new_vote(project, a, b) -> Comparison:
    prompt = Prompt.objects.filter(project=project).first() or make_prompt(project, side="eval")
    return make_comparison(make_completion(prompt, model=a), make_completion(prompt, model=b), "model_a", make_user())


def test_missing_numbers_are_looked_for_twice_a_second_and_not_by_every_page(project, base, child, vote, monkeypatch):
    vote(child, base)
    catch_up()
    VoteCursor.objects.update(late={"votes": [[10**9, 10**9, time.time(), 0]], "changes": []})
    folds: list[bool] = []
    monkeypatch.setattr(counts, "_fold_some", lambda: bool(folds.append(True)))
    monkeypatch.setattr(counts, "LOOK_AGAIN", 3600.0)
    monkeypatch.setattr(counts, "_looked_at", float("-inf"))
    for _ in range(5):
        catch_up()
    assert len(folds) == 1
    vote(child, base)
    catch_up()
    assert len(folds) == 2, "what is new does not wait"


@on_postgres
@pytest.mark.django_db(transaction=True)
class TestOnPostgres:
    def test_a_vote_that_commits_after_a_later_one_was_folded_is_counted_once(self):
        project, a, b = make_project(), make_model(), make_model()
        make_prompt(project, side="eval")
        slow = InItsOwnConnection(lambda: new_vote(project, a, b))
        new_vote(project, a, b)
        assert counts_of(project, PERSON).votes == 1
        assert VoteCursor.objects.get().late["votes"], "the number of the slow one is remembered"
        slow.end()
        assert counts_of(project, PERSON).votes == 2
        assert counts_of(project, PERSON).votes == 2
        assert VoteCursor.objects.get().late["votes"] == []
        assert differences() == []

    def test_an_undo_that_commits_late_is_counted_once(self):
        project, a, b = make_project(), make_model(), make_model()
        first, second = new_vote(project, a, b), new_vote(project, a, b)
        assert counts_of(project, PERSON).votes == 2
        slow = InItsOwnConnection(lambda: change_status(first, Status.WITHDRAWN))
        change_status(second, Status.HELD)
        counts = counts_of(project, PERSON)
        assert (counts.votes, counts.left_out) == (1, {"held": 1})
        slow.end()
        counts = counts_of(project, PERSON)
        assert (counts.votes, counts.left_out) == (0, {"held": 1, "withdrawn": 1})
        assert differences() == []

    def test_numbers_of_a_transaction_that_failed_are_let_go_of(self, monkeypatch):
        monkeypatch.setattr(ledger, "PATIENCE", 60.0)
        project, a, b = make_project(), make_model(), make_model()
        new_vote(project, a, b)
        try:
            with transaction.atomic():
                for _ in range(5):
                    new_vote(project, a, b)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        new_vote(project, a, b)
        assert counts_of(project, PERSON).votes == 2
        low, high, *_ = VoteCursor.objects.get().late["votes"][-1]
        assert high - low == 4
        monkeypatch.setattr(ledger, "PATIENCE", -1.0)
        assert counts_of(project, PERSON).votes == 2
        assert VoteCursor.objects.get().late["votes"] == []

    def test_a_number_is_kept_while_its_transaction_runs_however_long(self):
        project, a, b = make_project(), make_model(), make_model()
        make_prompt(project, side="eval")
        slow = InItsOwnConnection(lambda: new_vote(project, a, b))
        new_vote(project, a, b)
        for _ in range(3):
            assert counts_of(project, PERSON).votes == 1
        slow.end()
        assert counts_of(project, PERSON).votes == 2


@pytest.mark.django_db(transaction=True)
def test_many_who_fold_at_once_while_votes_are_cast_count_each_once():
    project, a, b = make_project(), make_model(), make_model()
    make_prompt(project, side="eval")
    cast = [new_vote(project, a, b) for _ in range(5)]
    is_over = threading.Event()

    def keep_folding() -> None:
        try:
            while not is_over.is_set():
                catch_up()
                time.sleep(0.002)
        finally:
            connections.close_all()

    folders = [threading.Thread(target=keep_folding, daemon=True) for _ in range(3)]
    for thread in folders:
        thread.start()
    for number in range(25):
        cast.append(new_vote(project, a, b))
        change_status(cast[number], STATUSES[number % 4])
    is_over.set()
    for thread in folders:
        thread.join(20)
    assert counted_now(project) == totals_in_the_ledger(project)
    assert differences() == []
    assert connection.vendor == "postgresql" or VoteCursor.objects.get().late == {"votes": [], "changes": []}
