"""How tests with transactions of their own leave the database (tests/support/emptying.py)."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType

from annotate.models import Project, User
from tests.support.factories import make_project, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("turn", [1, 2, 3])  # the first of a module by Django's flush on Postgres, the others without
def test_the_next_finds_it_empty_but_for_what_django_writes(turn: int) -> None:
    assert not Project.objects.exists() and not User.objects.exists()
    make_user(make_project(), role="manager").user_permissions.add(Permission.objects.earliest("pk"))
    assert ContentType.objects.get_for_model(Project).pk in ContentType.objects.values_list("pk", flat=True)


def test_what_django_writes_is_there_after_a_test_that_removed_it() -> None:
    ContentType.objects.all().delete()


def test_and_the_next_one_finds_it() -> None:
    assert ContentType.objects.get_for_model(Project) and Permission.objects.filter(codename="add_project").exists()
