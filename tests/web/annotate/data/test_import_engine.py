"""Imports of files: what is added, what is told, and what a kill, a twin or a cancellation leaves behind."""

from __future__ import annotations

import errno
import gzip
import io
import json
import math
import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError
from django.utils import timezone

from annotate.core.db.connections import database_now
from annotate.core.errors import Refused
from annotate.data import formats
from annotate.data.formats.items import NewAttack, NewDemonstration, NewFlag, NewPrompt, NewRanking, NewRating, NewSpan
from annotate.data.imports import actions, engine, feedback_rows, reading
from annotate.data.imports import kept_files as files
from annotate.data.imports.actions import Order, cancel_import, go_on, import_pairs, preview, start_import
from annotate.data.imports.engine import Importer
from annotate.data.imports.preparing import prepare
from annotate.data.imports.sinks import Database, Nowhere
from annotate.data.imports.writing import write
from annotate.data.rows import row_source
from annotate.labelling import assigning as assignments
from annotate.labelling import queue_upkeep
from annotate.models import (
    Attack,
    Comparison,
    Completion,
    Delivery,
    Demonstration,
    Flag,
    Import,
    Project,
    Prompt,
    QueueChange,
    QueueEntry,
    Ranking,
    Rating,
    Span,
    Webhook,
)
from common.transcripts import Pair
from tests.support.annotate.importing import carry_out
from tests.support.factories import make_contestant, make_model, make_prompt, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 10)


def row(n: int, **fields) -> dict:
    return {"prompt": f"Question {n}?", "chosen": f"Good {n}.", "rejected": f"Bad {n}.", **fields}


def lines(rows) -> bytes:
    return "".join(json.dumps(each) + "\n" if isinstance(each, dict) else f"{each}\n" for each in rows).encode()


def start(project, by, content: bytes, name="rows.jsonl", **order) -> Import:
    return start_import(project=project, file=io.BytesIO(content), file_name=name, order=Order(**order), by=by)


def stored() -> tuple[int, int, int]:
    return Prompt.objects.count(), Completion.objects.count(), Comparison.objects.count()


def test_rows_are_added_and_counted(project, researcher):
    done = carry_out(start(project, researcher, lines(row(n) for n in range(25)), source="mine"))
    assert done.state == "done" and done.problem == ""
    assert done.counts == {"prompts": 25, "completions": 50, "comparisons": 25, "bad": 0, "rows": 25}
    assert stored() == (25, 50, 25) and done.lines == 25 and done.position == done.bytes
    one = Comparison.objects.order_by("id").first()
    assert (one.author, one.judge, one.source, one.status) == (researcher, "person", "mine", "counted")
    better = one.completion_a if one.winner == "model_a" else one.completion_b
    assert better.text.startswith("Good") and one.created_at is not None and one.prompt.side in ("train", "eval")


def test_the_same_file_again_adds_nothing_and_another_source_is_another_annotation(project, researcher):
    content = lines(row(n) for n in range(12))
    for _ in range(2):
        again = carry_out(start(project, researcher, content, source="one"))
    assert again.counts["already"] == 12 and "comparisons" not in {k for k, n in again.counts.items() if n}
    assert stored() == (12, 24, 12)
    carry_out(start(project, researcher, content, source="two"))
    assert Prompt.objects.count() == 12 and Comparison.objects.count() == 24


def test_what_was_sent_as_pairs_is_found_again_in_a_file(project, researcher):
    pair = Pair([{"role": "user", "content": "Question 1?"}], "Good 1.", "Bad 1.")
    import_pairs(project=project, pairs=[pair], source="s", by=researcher)
    assert carry_out(start(project, researcher, lines([row(1)]), source="s")).counts["already"] == 1


def test_bad_lines_are_told_by_line_and_the_others_are_taken(project, researcher):
    rows = [row(1), "{no json", row(2, chosen="Bad 2."), row(3, prompt=" "), row(4, chosen="x\x00"), row(5)]
    done = carry_out(start(project, researcher, lines(rows)))
    assert done.counts["comparisons"] == 2 and done.counts["bad"] == 4
    told = dict(done.problems.values_list("line", "reason"))
    assert set(told) == {2, 3, 4, 5} and "JSON" in told[2] and "same" in told[3] and "NUL" in told[5]


def test_of_many_bad_lines_a_bounded_number_is_named(project, researcher, monkeypatch):
    monkeypatch.setattr(engine, "MOST_NAMED", 15)
    done = carry_out(start(project, researcher, lines([row(1)] + ["no"] * 40)))
    assert done.counts["bad"] == 40 and done.problems.count() == 15


def test_a_file_of_which_no_line_can_be_used_is_refused_and_not_kept(project, researcher):
    with pytest.raises(Refused) as refused:
        start(
            project, researcher, lines([row(n, chosen="", rejected="") for n in range(3)]), format="trl-preference-text"
        )
    assert "line 1" in refused.value.errors["file"]
    with pytest.raises(Refused):
        start(project, researcher, b"{}\nno\n")
    with pytest.raises(Refused):
        start(project, researcher, b"")
    assert not Import.objects.exists() and not list(files.folder().iterdir())


def test_a_refused_file_stays_where_somebody_has_kept_the_same_meanwhile(project, researcher, monkeypatch):
    def refuse(kept_file, **_):
        files.keep(io.BytesIO(b"the same\n"), "again.jsonl")
        raise Refused(400, file="No line can be used.")

    monkeypatch.setattr(actions, "start_import_of", refuse)
    with pytest.raises(Refused):
        start(project, researcher, b"the same\n")
    assert [path.read_bytes() for path in files.folder().iterdir()] == [b"the same\n"]


def test_a_file_that_arrives_again_while_old_ones_are_swept_stays(monkeypatch):
    import os

    kept = files.keep(io.BytesIO(b"the same\n"), "one.jsonl")
    os.utime(files.folder() / kept.hash, (0, 0))
    let_go = files._let_go_of_old

    def meanwhile(path, oldest):
        files.keep(io.BytesIO(b"the same\n"), "again.jsonl")
        return let_go(path, oldest)

    monkeypatch.setattr(files, "_let_go_of_old", meanwhile)
    assert files.sweep() == 0 and (files.folder() / kept.hash).exists()


@pytest.mark.parametrize("order", [{"source": "arena"}, {"format": "nonsense"}, {"judge": "dog"}, {"source": "x" * 61}])
def test_a_wrong_order_names_its_field(project, researcher, order):
    with pytest.raises(Refused) as refused:
        start(project, researcher, lines([row(1)]), **order)
    assert set(refused.value.errors) == set(order)


def test_a_reviewer_may_not_import(project):
    with pytest.raises(Refused) as refused:
        start(project, make_user(project, role="reviewer"), lines([row(1)]))
    assert refused.value.status == 403


def test_a_dry_run_tells_exactly_what_an_import_would_do_and_writes_nothing(project, researcher):
    rows = [*(row(n) for n in range(15)), row(3), "bad", *(row(n) for n in range(15, 30)), row(16)]
    carry_out(start(project, researcher, lines(row(n) for n in range(5)), source="s"))
    before = stored()
    checked = carry_out(start(project, researcher, lines(rows), source="s", dry_run=True))
    assert checked.state == "checked" and stored() == before
    done = carry_out(go_on(checked, by=researcher))
    assert done.state == "done" and done.problems.count() == 1
    told, happened = Counter(checked.counts), Counter(done.counts)
    assert told == happened and happened["comparisons"] == 25 and happened["already"] == 7


def fail_once(monkeypatch, name: str, error: Exception) -> None:
    """The next call of that method of Work does its work and then dies."""
    original = getattr(engine.Work, name)
    failed = []

    def dying(self, *args):
        original(self, *args)
        if not failed:
            failed.append(True)
            raise error

    monkeypatch.setattr(engine.Work, name, dying)


def expire(of: Import) -> None:
    Import.objects.filter(pk=of.pk).update(claimed_until=timezone.now() - timedelta(seconds=1))


def test_a_death_between_rows_and_place_loses_neither(project, researcher, monkeypatch):
    of = start(project, researcher, lines(row(n) for n in range(35)))
    importer = Importer()
    importer.do()
    fail_once(monkeypatch, "_note", SystemExit())  # as a kill: nothing is tidied up
    with pytest.raises(SystemExit):
        importer.do()
    of.refresh_from_db()
    assert of.lines == 10 and Comparison.objects.count() == 10
    assert not Importer().do()  # its lease has not run out
    expire(of)
    done = carry_out(of)
    assert done.state == "done" and done.counts["comparisons"] == 35 and stored() == (35, 70, 35)


def test_the_database_going_away_begins_the_portion_anew(project, researcher, monkeypatch):
    of = start(project, researcher, lines(row(n) for n in range(35)))
    importer = Importer()
    fail_once(monkeypatch, "_note", OperationalError("away"))
    with pytest.raises(OperationalError):
        importer.do()
    done = carry_out(of, importer)
    assert done.state == "done" and done.counts["comparisons"] == 35 and stored() == (35, 70, 35)


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.json", "rows.csv"])
def test_any_kind_of_file_is_gone_on_with(project, researcher, name):
    rows = [row(n) for n in range(30)]
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    csv = "prompt,chosen,rejected\n" + "".join(f"{r['prompt']},{r['chosen']},{r['rejected']}\n" for r in rows)
    content = {
        "rows.jsonl.gz": gzip.compress(lines(rows)),
        "rows.json": json.dumps(rows).encode(),
        "rows.csv": csv.encode(),
    }[name]
    of = start(project, researcher, content, name, columns=columns if name == "rows.csv" else {})
    Importer().do()
    expire(of)
    done = carry_out(of)
    assert done.state == "done" and done.counts["comparisons"] == 30 and stored() == (30, 60, 30)


def test_two_background_workers_share_no_import(project, researcher):
    imports = [start(project, researcher, lines(row(n) for n in range(k, k + 25)), source=f"{k}") for k in (0, 10, 20)]
    workers = [Importer(), Importer()]
    while any([worker.do() for worker in workers]):
        pass
    assert [carry_out(of).counts["comparisons"] for of in imports] == [25, 25, 25]
    assert Prompt.objects.count() == 45 and Comparison.objects.count() == 75


def test_who_was_cut_off_writes_nothing_more(project, researcher):
    of = start(project, researcher, lines(row(n) for n in range(35)))
    slow, quick = Importer(), Importer()
    slow.do()
    expire(of)
    quick.do()
    assert not slow.do()
    assert carry_out(of, quick).counts["comparisons"] == 35 and stored() == (35, 70, 35)


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_import_is_claimed_and_kept_by_the_databases_clock(project, researcher, monkeypatch, hours):
    """One of the workers is on a machine whose clock is wrong: neither takes the other's import away."""
    of, right = start(project, researcher, lines(row(n) for n in range(35))), timezone.now
    with monkeypatch.context() as wrong:
        wrong.setattr(timezone, "now", lambda: right() + timedelta(hours=hours))
        Importer().do()
        assert engine.claim() is None
    of.refresh_from_db()
    assert of.lines > 0 and timedelta(0) < of.claimed_until - database_now() <= engine.LEASE
    assert engine.claim() is None


def test_a_background_worker_that_ends_gives_back_what_it_has(project, researcher):
    of = start(project, researcher, lines(row(n) for n in range(35)))
    importer = Importer()
    importer.do()
    importer.end()
    assert carry_out(of).counts["comparisons"] == 35


def test_cancelled_while_it_waits_and_while_it_runs(project, researcher):
    waiting = start(project, researcher, lines([row(1)]))
    assert cancel_import(waiting, by=researcher).state == "cancelled"
    with pytest.raises(Refused):
        cancel_import(waiting, by=researcher)
    running = start(project, researcher, lines(row(n) for n in range(35)))
    importer = Importer()
    importer.do()
    cancel_import(running, by=researcher)
    stopped = carry_out(running, importer)
    assert stopped.state == "cancelled" and stopped.counts["comparisons"] == 10
    done = carry_out(go_on(stopped, by=researcher))
    assert done.state == "done" and done.counts["comparisons"] == 35 and stored() == (35, 70, 35)


def test_cancelled_after_its_last_portion_it_ends_all_the_same(project, researcher):
    running, importer = start(project, researcher, lines(row(n) for n in range(3))), Importer()
    importer.do()
    cancel_import(running, by=researcher)
    assert carry_out(running, importer).state == "cancelled"


def test_cancelled_when_its_worker_has_died_it_ends_with_the_next(project, researcher):
    running = start(project, researcher, lines(row(n) for n in range(35)))
    Importer().do()  # and nobody hears of that one again
    cancel_import(running, by=researcher)
    Import.objects.update(claimed_until=database_now() - timedelta(seconds=1))
    assert carry_out(running).state == "cancelled" and stored() == (10, 20, 10)


def test_a_row_that_the_database_refuses_is_told_and_the_others_are_taken(project, researcher, monkeypatch):
    original = feedback_rows._comparison

    def refusing(tables, item, *args):
        if item.a == "Good 3.":
            raise IntegrityError("no")
        original(tables, item, *args)

    monkeypatch.setitem(feedback_rows._ROWS, feedback_rows.NewComparison, refusing)
    done = carry_out(start(project, researcher, lines(row(n) for n in range(12))))
    assert done.counts["comparisons"] == 11 and done.problems.get().line == 4


def test_a_damaged_file_ends_with_what_was_taken_until_then(project, researcher):
    whole = gzip.compress(lines(row(n) for n in range(3000)), 1)
    done = carry_out(start(project, researcher, whole[: len(whole) // 2], "rows.jsonl.gz"))
    assert done.state == "failed" and "damaged" in done.problem and 0 < done.counts["comparisons"] < 3000


def test_names_of_models_stay_names_unless_a_manager_links_them(project, researcher):
    ours = make_contestant(project, make_model(name="ours")).model
    make_model(name="elsewhere")
    fields = {
        "prompt": "prompt",
        "completion_a": "a",
        "completion_b": "b",
        "winner": "w",
        "model_a": "m",
        "model_b": "n",
    }
    content = b"prompt,a,b,w,m,n\nQ?,one,two,model_a,ours,elsewhere\n"
    carry_out(start(project, researcher, content, "t.csv", columns=fields, source="names"))
    assert not Completion.objects.exclude(model=None).exists()
    assert set(Completion.objects.values_list("named_model", flat=True)) == {"ours", "elsewhere"}
    with pytest.raises(Refused) as refused:
        start(project, researcher, content, "t.csv", columns=fields, source="linked", link=True)
    assert refused.value.status == 403
    manager = make_user(project, role="manager")
    carry_out(start(project, manager, content, "t.csv", columns=fields, source="linked", link=True))
    assert list(Completion.objects.exclude(model=None).values_list("model", "named_model")) == [(ours.pk, "ours")]


def test_what_a_file_calls_its_judge_tells_annotations_apart(project, researcher):
    fields = {"prompt": "p", "completion": "c", "stars": "s", "author": "who"}
    content = b"p,c,s,who\nQ?,A,4,ann\nQ?,A,4,bob\nQ?,A,4,ann\n"
    done = carry_out(start(project, researcher, content, "t.csv", columns=fields))
    assert done.counts["ratings"] == 2 and done.counts["already"] == 1
    assert set(Rating.objects.values_list("source_judge", flat=True)) == {"ann", "bob"}
    assert set(Rating.objects.values_list("author", flat=True)) == {researcher.pk}


def test_a_program_judged(project, researcher):
    carry_out(start(project, researcher, lines([row(1)]), judge="simulation"))
    assert Comparison.objects.get().judge == "simulation"


def asked(text="Q?") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def written(project, by, *items) -> Counter:
    ready = [prepare(item, line=n, eval_percent=25) for n, item in enumerate(items)]
    into = feedback_rows.Into(project.pk, "s", by.pk, "person")
    told = write(ready, into, Nowhere())
    done = write(ready, into, Database())
    assert told == done
    assert write(ready, into, Database())["already"] == len(items)
    return done


def test_every_kind_of_annotation_becomes_its_row(project, researcher):
    make_prompt(project, "Q?")
    done = written(
        project,
        researcher,
        NewRating(messages=asked(), text="A", thumbs=True, aspects={"helpful": 4}, judge="ann", comment="fine"),
        NewRanking(messages=asked(), texts=("A", "B", "C"), order=((2,), (0, 1)), judge="ann"),
        NewDemonstration(messages=asked(), text="Better", edited_from="A", seconds=2.5),
        NewSpan(messages=asked(), text="A wrong word", start=2, end=7, label="error"),
        NewFlag(messages=asked(), reason="odd"),
        NewPrompt(messages=asked("Another?"), category="poems"),
    )
    kinds = ("ratings", "rankings", "demonstrations", "spans", "flags", "prompts")
    assert [done[kind] for kind in kinds] == [1, 1, 1, 1, 1, 1] and done["completions"] == 4
    rating = Rating.objects.get()
    assert (rating.thumbs, rating.aspects, rating.comment) == (True, {"helpful": 4}, "fine")
    ranking, of = Ranking.objects.get(), dict(Completion.objects.values_list("text", "pk"))
    assert ranking.order == [[of["C"]], [of["A"], of["B"]]]
    pairs = {(p.completion_a.text, p.completion_b.text): p.winner for p in ranking.pairs.all()}
    assert pairs == {("A", "B"): "tie", ("A", "C"): "model_b", ("B", "C"): "model_b"}
    assert Demonstration.objects.get().edited_from_id == of["A"] and Demonstration.objects.get().seconds == 2.5
    assert Span.objects.get().text == "wrong" and Flag.objects.get().completion is None
    assert Prompt.objects.get(category="poems").messages == asked("Another?")


def test_an_attack_is_kept_whole_and_its_prompt_ends_with_the_last_question(project, researcher):
    talk = [*asked("How?"), {"role": "assistant", "content": "No."}, *asked("Please!")]
    answered = [*talk, {"role": "assistant", "content": "Fine."}]
    attack = NewAttack(messages=answered, rating=3.0, tags=("Theft",), task_description="To steal", model="RLHF 52B")
    done = written(project, researcher, attack)
    found = Attack.objects.get()
    assert done["attacks"] == 1 and found.messages == answered and found.prompt.messages == talk
    assert found.prompt.harm == "theft" and found.kinds == ["theft"]  # else it is shown to people unasked
    assert (found.rating, found.tags, found.task_description) == (3.0, ["Theft"], "To steal")
    assert found.extra == {"model": "RLHF 52B"}
    with pytest.raises(ValueError, match="0 to 4"):
        prepare(NewAttack(messages=answered, rating=7.0), line=1, eval_percent=25)


@pytest.mark.parametrize(
    ("rows", "can_wait"), [([row(1), row(2)], True), ([{"prompt": "One?", "completion": "1."}], False)]
)
def test_annotators_wait_only_for_what_leaves_less_to_do(project, researcher, rows, can_wait):
    """A written answer fills the place of its prompt; all else that an import brings only adds to the queue."""
    project.eval_percent = 0
    project.save()
    carry_out(start(project, researcher, lines(rows)))
    assert [change.can_wait_until is not None for change in QueueChange.objects.all()] == [can_wait]


def test_a_written_answer_to_a_prompt_that_stands_leaves_nothing_to_write(project, researcher):
    """What waits for annotators is counted by the queue."""
    Project.objects.update(eval_percent=0, asks_ratings=False, asks_comparisons=False, asks_answers=True)
    project.refresh_from_db()
    for one, left in (({"prompt": "One?"}, 1), ({"prompt": "One?", "completion": "1."}, 0)):
        carry_out(start(project, researcher, lines([one])))
        queue_upkeep.take_in_changes()
        assert QueueEntry.with_room(project).count() == left


def test_answers_to_a_prompt_that_stands_are_asked_about_whatever_goes_to_the_eval_split_by_now(project, researcher):
    for percent, one in ((0, {"prompt": "One?"}), (100, {"prompt": "One?", "chosen": "1.", "rejected": "2."})):
        Project.objects.update(eval_percent=percent, asks_ratings=False)
        project.refresh_from_db()
        carry_out(start(project, researcher, lines([one])))
        queue_upkeep.take_in_changes()
    assert Prompt.objects.get().side == "train"
    assert assignments.next_for(project=project, user=make_user(project)).kind == "compare"


def test_what_has_no_place_of_its_own_is_kept_beside_the_annotation(project, researcher):
    make_prompt(project, "q?  ")
    item = NewRating(messages=asked("Q?"), text="A", stars=3, language="de", source_id="7", extra={"x": [1, "ü"]})
    written(project, researcher, item)
    extra = Rating.objects.get().extra
    assert extra == {"messages": asked("Q?"), "language": "de", "source_id": "7", "extra": {"x": [1, "ü"]}}


def test_a_project_is_told_when_an_import_has_ended(project, researcher):
    Webhook.objects.create(project=project, url="https://example.org/", secret="whsec_x")
    carry_out(start(project, researcher, lines([row(1)]), dry_run=True))
    assert not Delivery.objects.exists()
    done = carry_out(start(project, researcher, lines([row(1)])))
    body = Delivery.objects.get().body
    assert body["type"] == "import.finished" and body["data"]["import"] == done.pk
    assert body["data"]["counts"]["comparisons"] == 1


def test_a_preview_shows_the_first_items(project, researcher):
    of = start(project, researcher, lines(["bad", *(row(n) for n in range(30))]))
    shown = preview(of, 3)
    assert [line for line, _ in shown] == [2, 3, 4] and shown[0][1].a == "Good 0."


def test_files_are_swept_when_their_import_has_long_ended(project, researcher, settings):
    import os

    done = carry_out(start(project, researcher, lines([row(1)])))
    waiting = start(project, researcher, lines([row(2)]))
    for path in files.folder().iterdir():
        os.utime(path, (0, 0))
    assert files.sweep() == 0
    Import.objects.filter(pk=done.pk).update(finished_at=timezone.now() - timedelta(days=30))
    assert files.sweep() == 1 and files.path_of(waiting.file_hash).exists()
    with pytest.raises(Refused) as refused:
        go_on(Import.objects.create(**_like(done, state="failed")), by=researcher)
    assert refused.value.status == 410


def _like(of: Import, **fields):
    copied = ("project", "created_by", "format", "source", "file_name", "file_hash", "bytes")
    return {name: getattr(of, name) for name in copied} | fields


def test_numbers_that_are_none_cost_no_row(project, researcher):
    content = b'{"prompt": "q", "chosen": "a", "rejected": "b", "score": NaN}\n'
    content += b'{"prompt": "r", "chosen": "a", "rejected": "b", "score": 1e999}\n'
    done = carry_out(start(project, researcher, content))
    assert done.counts["comparisons"] == 1 and Comparison.objects.get().extra["extra"] == {"score": None}
    assert "infinite" in done.problems.get(line=2).reason


@pytest.mark.parametrize(("seconds", "told"), [(-5, "must be 0 or more"), ("Infinity", "finite")])
def test_impossible_seconds_are_told(project, researcher, seconds, told):
    good = {"type": "rating", "prompt": "q", "completion": "a", "stars": 3, "seconds": 2.5}
    done = carry_out(start(project, researcher, lines([good, good | {"stars": 4, "seconds": seconds}])))
    assert Rating.objects.get().seconds == 2.5 and told in done.problems.get(line=2).reason


def test_a_row_that_the_database_refuses_in_part_is_left_out_whole(project, researcher, monkeypatch):
    def refusing(ready, *rest):
        if any(one.item.judge == "annotator2" and one.line == 2 for one in ready):
            raise IntegrityError("no")
        return write(ready, *rest)

    monkeypatch.setattr(engine, "write", refusing)
    rows = [
        {"instruction": f"q{n}", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 2} for n in range(3)
    ]
    done = carry_out(start(project, researcher, lines(rows)))
    assert done.counts["comparisons"] == 4 and [bad.line for bad in done.problems.all()] == [2]


def test_a_full_disk_is_told_and_leaves_nothing(project, researcher, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(Refused) as refused:
        start(project, researcher, lines([row(1)]))
    assert refused.value.status == 507 and "disk is full" in refused.value.errors["file"]
    assert not Import.objects.exists() and not list(files.folder().iterdir())


def test_what_moves_a_rank_is_set_going_by_managers_alone(project, researcher):
    manager = make_user(project, role="manager")
    checked = carry_out(start(project, manager, lines([row(1)]), link=True, dry_run=True))
    with pytest.raises(Refused) as refused:
        go_on(checked, by=researcher)
    assert refused.value.status == 403
    assert go_on(checked, by=manager).state == "queued"


ODD_ROWS = [
    ("assay", {"type": "span", "prompt": "q", "completion": "abc", "start": math.nan, "end": 2, "label": "x"}),
    ("pandalm", {"instruction": "q", "response1": "a", "response2": "b", "annotator1": math.nan}),
    ("argilla", {"prompt": "q", "response_1": "a", "response_2": "b", "ranking.responses.users": ["u"],
                 "ranking.responses.status": ["submitted"],
                 "ranking.responses": [[{"value": "response_1", "rank": []}, {"value": "response_2", "rank": 1}]]}),
    ("argilla", {"prompt": "q", "response": "abc", "span.responses.users": ["u"],
                 "span.responses.status": ["submitted"],
                 "span.responses": [[{"start": None, "end": 2, "label": "x"}]]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "odd"), ODD_ROWS)
def test_a_row_built_as_nobody_thought_of_costs_no_other(name, odd):
    for make in (lambda row: row, lambda row: json.loads(json.dumps(row))):
        portion = reading.Portion()
        reading._take(portion, row_source.FileRow(7, make(odd)), formats.READERS[name], 10)
        assert [bad.line for bad in portion.bad] == [7] and not portion.ready


def test_what_a_reader_stumbles_over_is_told_by_its_line():
    def stumbling(row, line):
        return row["missing"][0].text

    portion = reading.Portion()
    reading._take(portion, row_source.FileRow(3, {"missing": None}), stumbling, 10)
    assert portion.bad[0].line == 3 and "does not match its format" in portion.bad[0].reason


def test_names_that_no_page_can_show_are_told_all_the_same(project, researcher):
    with pytest.raises(Refused) as refused:
        start(project, researcher, b'{"\\ud800": 1, "a\\u0000": 2}\n', name="odd\0.jsonl", source="odd")
    refused.value.errors["file"].encode()
    assert "\\ud800" in refused.value.errors["file"] and "\0" not in refused.value.errors["file"]
    answered = {"prompt": "q", "response_1": "a", "response_2": "b"}
    answered |= {f"best.responses{end}": [value] for end, value in {"": "response_1", ".users": "u"}.items()}
    odd = {name.replace("best", "be\ud800\0"): value for name, value in answered.items()}
    odd["be\ud800\0.responses"] = ["nothing of it"]
    done = carry_out(start(project, researcher, lines([answered, odd])))
    assert (done.state, done.counts["comparisons"], done.counts["bad"]) == ("done", 1, 1)
    assert "\\ud800" in done.problems.get().reason


def test_what_is_too_deep_to_be_read_anywhere_else_is_told(project, researcher):
    def nested(depth: int) -> list:
        return [nested(depth - 1)] if depth else []

    done = carry_out(start(project, researcher, lines([row(1, more=nested(90)), row(2, more=nested(300))])))
    assert done.counts["comparisons"] == 1 and "nested" in done.problems.get(line=2).reason


def test_an_error_that_would_come_again_ends_the_import(project, researcher, monkeypatch):
    import_ = start(project, researcher, lines(row(n) for n in range(20)))

    def broken(*given, **more):
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(engine, "write", broken)
    done = carry_out(import_)
    assert done.state == "failed" and "RecursionError" in done.problem


def test_a_small_file_that_unpacks_without_an_end_is_refused_at_once(project, researcher, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST_LOOK", 100_000)
    for content in (b"\n" * 1_000_000, b"x" * 5_000_000, b"[" + b" " * 1_000_000):
        with pytest.raises(Refused) as refused:
            start(project, researcher, gzip.compress(content), name="rows.jsonl.gz")
        assert refused.value.status == 413 and "no row" in refused.value.errors["file"]
    many = carry_out(start(project, researcher, gzip.compress(lines(row(n) for n in range(3_000))), name="x.jsonl.gz"))
    assert many.counts["comparisons"] == 3_000  # the bound is for the look alone


def test_a_portion_is_full_by_all_that_its_rows_hold(monkeypatch):
    monkeypatch.setattr(reading, "CHARACTERS", 1_000)
    read, portion = formats.READERS["trl-prompt-only-text"], reading.Portion()
    reading._take(portion, row_source.FileRow(1, {"prompt": "q" * 600, "more": "m" * 600}), read, 10)
    assert portion.is_full


def test_a_portion_is_read_while_the_one_before_it_is_written():
    begun = threading.Event()

    def parts():
        yield reading.Portion(line=1)
        begun.set()
        yield reading.Portion(line=2)
        raise row_source.UnreadableFile("damaged")

    ahead = reading.ReadAhead(parts())
    assert ahead.take().line == 1
    assert begun.wait(5)  # though nobody has asked for the second yet
    assert ahead.take().line == 2
    with pytest.raises(row_source.UnreadableFile):
        ahead.take()
    ahead.close()
