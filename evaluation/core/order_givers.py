"""Say who gave an order that takes long, and whether they could still give it: it is carried out all the same."""

from __future__ import annotations

from annotate.core.permissions import ROLES_FOR
from annotate.models import Membership, Project, User


def ordered_by(person: User | None, project: Project, *, is_over: bool) -> str:
    """Return who ordered it, in a sentence; a second one where they have left and it still goes on."""
    if person is None:
        return "Ordered by an account that is gone."
    if not (since := _what_has_changed(person, project)):
        return f"Ordered by {person.username}."
    on = "" if is_over else " It goes on in that name to its end; a manager or researcher can cancel it."
    return f"Ordered by {person.username}, {since}.{on}"


def _what_has_changed(person: User, project: Project) -> str:
    """Return why somebody could not order it now, empty where they could."""
    if not person.is_active:
        return "whose account is inactive"
    role = Membership.objects.filter(project=project, user=person).values_list("role", flat=True).first()
    if person.is_superuser or role in ROLES_FOR["research"]:
        return ""
    return f"whose role here is now {role}" if role else "who has left the project"
