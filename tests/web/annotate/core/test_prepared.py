from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Value
from django.utils import timezone

from annotate.core.db.prepared import Asked, Prepared, Slot, _numbered, ask
from annotate.core.db.prepared_writes import create, update_then_insert
from annotate.models import Completion, FirstAnswer, Guideline, Prompt
from tests.support.factories import make_completion, make_guideline, make_project, make_prompt

pytestmark = pytest.mark.django_db


def test_a_prepared_query_gives_what_django_gives_and_builds_it_once(django_assert_num_queries):
    project = make_project()
    prompts = [make_prompt(project), make_prompt(project)]
    answers = [make_completion(prompt) for prompt in prompts]
    built = []

    def build():
        built.append(1)
        return Completion.objects.select_related("prompt").filter(prompt=Slot("prompt"))

    of_prompt = Prepared(build)
    for prompt, answer in zip(prompts, answers, strict=True):
        with django_assert_num_queries(1):
            (found,) = of_prompt.rows(prompt=prompt.pk)
            assert found.prompt == prompt
        for field in Completion._meta.concrete_fields:
            assert getattr(found, field.attname) == getattr(answer, field.attname)
    assert built == [1]
    assert of_prompt.first(prompt=0) is None


def test_moments_and_texts_are_compared_as_they_are_stored():
    text = "It's 100 % “right”."
    make_guideline(make_project(), text)
    before = Prepared(lambda: Guideline.objects.filter(created_at__lte=Slot("at"), text=Slot("text")))
    assert before.first(at=timezone.now(), text=text).version == 1
    assert before.first(at=timezone.now() - timedelta(hours=1), text=text) is None
    assert before.first(at=timezone.now(), text="'; --") is None


def test_one_slot_may_stand_twice():
    prompt = make_prompt(make_project())
    twice = Prepared(lambda: Prompt.objects.filter(pk=Slot("pk"), root=None).exclude(pk__gt=Slot("pk")))
    assert twice.rows(pk=prompt.pk) == [prompt]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite's sqlite3 keeps its statements by itself")
def test_postgres_plans_it_once_however_the_values_differ():
    prompts = [make_prompt(make_project()) for _ in range(5)]
    planned = Prepared(lambda: Prompt.objects.filter(pk=Slot("pk")).annotate(only_here=Value("planned once")))
    for prompt in prompts:
        assert planned.first(pk=prompt.pk) == prompt
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%only_here%'")
        assert len(cursor.fetchall()) == 1


def test_several_are_asked_together_and_each_sees_what_those_before_it_wrote(django_assert_num_queries):
    answer = make_completion(make_prompt(make_project()))
    renamed = Asked("UPDATE annotate_prompt SET category = %s WHERE id = %s", ["new", answer.prompt_id], None)
    prompts = Prepared(lambda: Prompt.objects.filter(pk=Slot("pk")))
    with django_assert_num_queries(3):
        nothing, found, texts = ask(
            renamed,
            prompts.asked(pk=answer.prompt_id),
            Asked("SELECT text FROM annotate_completion WHERE id = %(pk)s", {"pk": answer.pk}).then(
                lambda rows: rows * 2
            ),
        )
    assert nothing == [] and [prompt.category for prompt in found] == ["new"] and texts == [(answer.text,)] * 2
    assert ask() == []


def test_a_row_is_inserted_as_django_inserts_it():
    rows = [
        FirstAnswer(who="it's 100 %", key=str(n), request_hash="h", status=201, body={"a": [1, None]}) for n in (1, 2)
    ]
    create(rows[0])
    rows[1].save()
    stored = [
        FirstAnswer.objects.filter(pk=row.pk).values("who", "request_hash", "status", "body").get() for row in rows
    ]
    assert stored[0] == stored[1] and not rows[0]._state.adding and rows[0].pk != rows[1].pk
    rows[0].status = 200
    rows[0].save()
    assert FirstAnswer.objects.filter(status=200).get().created_at == rows[0].created_at
    with pytest.raises(IntegrityError), transaction.atomic():
        create(FirstAnswer(who="it's 100 %", key="1", request_hash="h"))


@pytest.mark.parametrize("changes", [True, False])
def test_a_row_is_inserted_only_where_the_update_changes_something(changes):
    prompt = make_prompt(make_project())
    update = Asked("UPDATE annotate_prompt SET category = %s WHERE id = %s RETURNING id", ["new", prompt.pk * changes])
    row, refused = FirstAnswer(who="me", key="k", request_hash="h"), []
    update_then_insert(update, row, lambda: refused.append(1))
    assert (row.pk is not None) == (not refused) == changes == FirstAnswer.objects.filter(who="me").exists()
    prompt.refresh_from_db()
    assert (prompt.category == "new") == changes


def test_places_of_values_are_numbered_for_postgres():
    assert _numbered("SELECT '%%', %s, %s") == ("SELECT '%', $1, $2", [], False)
    assert _numbered("%(b)s %(a)s %(b)s 100%%") == ("$1 $2 $1 100%", ["b", "a"], False)
