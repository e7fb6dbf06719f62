from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Value
from django.utils import timezone

from annotate.core.db.prepared import Prepared, Slot
from annotate.models import Completion, Guideline, Prompt
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
