"""What tests of items handed out ahead share: an item shown with others that wait, and time that has run out."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from annotate.labelling import assigning, handing_ahead
from annotate.models import Assignment, Project, User
from tests.support.factories import make_completion, make_prompt, make_user


def make_answers(project: Project, n: int) -> None:
    for _ in range(n):
        make_completion(make_prompt(project))


def shown_and_ahead(project: Project, user: User) -> tuple[Assignment, list[Assignment]]:
    """Return the item that is shown, and those that wait in the browser."""
    shown = assigning.next_for(project=project, user=user)
    held = handing_ahead.hand_ahead(project=project, user=user)
    assert shown is not None and held[0] == shown and all(each.is_ahead for each in held[1:])
    return shown, held[1:]


def run_out(*assignments: Assignment) -> None:
    pks = [assignment.pk for assignment in assignments]
    Assignment.objects.filter(pk__in=pks).update(expires_at=timezone.now() - timedelta(seconds=1))


def give_to_another(project: Project, user: User, waiting: Assignment) -> None:
    """Have an item that waits given back and handed to somebody else, who asks when nothing else is left."""
    handing_ahead.give_back(project=project, user=user, pks=[waiting.pk])
    other = make_user(project)
    while (assignment := assigning.next_for(project=project, user=other)) and assignment.item != waiting.item:
        Assignment.objects.filter(pk=assignment.pk).update(state="submitted")
    assert assignment is not None
