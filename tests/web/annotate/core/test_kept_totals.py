"""Totals of few rows are exact; of many they are counted once in some minutes."""

from __future__ import annotations

import time

import pytest
from django.core.cache import cache

from annotate.core.db import kept_totals
from annotate.data.overview import present
from annotate.data.prompts import listing
from annotate.models import Completion
from annotate.projects.overview import loop_stations
from annotate.projects.overview.loop_stations import counted_annotations, stations
from tests.support.factories import make_completion, make_project, make_prompt, make_rating
from tests.support.processes import until

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()
    yield
    cache.clear()


def annotations_of(project) -> int:
    annotations = counted_annotations(project)
    return next(one.count for one in stations(project, frozenset({"read"}), annotations) if one.name == "annotations")


def test_few_rows_are_counted_each_time():
    project = make_project()
    prompt = make_prompt(project)
    for n in range(3):
        make_completion(prompt)
        assert present.answer_count(project) == n + 1


def test_of_many_rows_the_totals_are_kept_for_each_project(monkeypatch):
    monkeypatch.setattr(kept_totals, "LARGE", 2)
    projects = [make_project(), make_project()]
    for project in projects:
        prompt = make_prompt(project)
        for _ in range(3):
            make_rating(make_completion(prompt))
        assert present.answer_count(project) == annotations_of(project) == 3
    make_rating(make_completion(projects[0].prompts.get()))
    assert present.answer_count(projects[0]) == annotations_of(projects[0]) == 3, "of five minutes ago at most"
    cache.clear()
    assert [present.answer_count(one) for one in projects] == [4, 3]
    assert Completion.objects.count() == 7
    [ratings] = [row for row in present.annotation_totals(projects[0]) if row["kind"] == "rating"]
    assert sum(n for _, _, n in ratings["columns"]) == 4


def test_of_many_rows_neither_size_nor_total_is_asked_again(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(kept_totals, "LARGE", 2)
    project = make_project()
    for category in "ccba":
        make_prompt(project, category=category)
    with django_assert_num_queries(2):
        assert listing.categories(project) == ["a", "b", "c"]
    with django_assert_num_queries(0):
        assert listing.categories(project) == ["a", "b", "c"]
    with django_assert_num_queries(1):
        assert loop_stations.prompt_counts(project) == {"train": 4, "eval": 0}


@pytest.mark.django_db(transaction=True)
def test_a_total_that_grows_old_is_counted_beside_whoever_looks(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(kept_totals, "LARGE", 1)
    monkeypatch.setattr(kept_totals, "AHEAD", 1)
    project = make_project()
    for number in (2, 3):
        while Completion.objects.count() < number:
            make_completion(make_prompt(project))
        assert present.answer_count(project) == 2
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2)
    with django_assert_num_queries(0):
        assert present.answer_count(project) == 2
    until(lambda: present.answer_count(project) == 3)
    kept_totals._counting.submit(lambda: None).result()  # its connection is closed before the tables are emptied
