"""Lock the project, and look at what decides how an item is handed out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import Project, User
from annotate.models.project_locks import lock_together
from common.languages.language_tags import primaries


@dataclass(frozen=True)
class Look:
    """What decides which steps of handing out are needed at all."""

    holds_something: bool  # in any project: with the project asked for, SQLite would read all of it
    has_stale: bool
    has_changes: bool
    has_priorities: bool
    has_reserved: bool  # for this person
    has_ahead: bool  # for this person, in their hands or given back
    handed_out: int  # in all projects: turns need no more than a number that grows
    languages: tuple[str, ...]  # that this person gets prompts in; () for all

    @property
    def is_plain(self) -> bool:
        """Return whether the first entry of the queue is all that is needed."""
        special = (self.holds_something, self.has_stale, self.has_changes, self.has_priorities, self.has_reserved)
        return not any(special) and not self.has_ahead


# What decides which of the next statements are needed at all. Written out: it runs each time an item is handed out, and
# most of an item's cost is Django putting its statements together.
_LOOK = """
SELECT
  EXISTS (SELECT 1 FROM annotate_assignment WHERE user_id = %(user)s AND state = 'open'),
  EXISTS (SELECT 1 FROM annotate_assignment
          WHERE project_id = %(project)s AND state = 'open' AND expires_at <= %(now)s),
  EXISTS (SELECT 1 FROM annotate_queuechange WHERE project_id = %(project)s),
  EXISTS (SELECT 1 FROM annotate_itempriority WHERE project_id = %(project)s AND is_open),
  EXISTS (SELECT 1 FROM annotate_reservedprompt
          WHERE user_id = %(user)s AND state = 'open' AND project_id = %(project)s),
  EXISTS (SELECT 1 FROM annotate_assignment
          WHERE user_id = %(user)s AND project_id = %(project)s AND is_ahead AND state IN ('open', 'expired')),
  (SELECT COUNT(*) FROM annotate_assignment WHERE user_id = %(user)s),
  (SELECT language FROM annotate_membership WHERE project_id = %(project)s AND user_id = %(user)s)
FROM annotate_project WHERE id = %(project)s"""


def lock_and_look(project: Project, user: User) -> Look:
    """Lock the project, and return what the next steps depend on."""
    project.lock()
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, _values(project, user))
        return _seen(cursor.fetchone(), user)


def share_and_look(project: Project, user: User) -> Look:
    """Lock the project together with others who hand out, on Postgres, and return what the next steps depend on."""
    return _seen(lock_together(project.pk, user.pk, _LOOK, **_values(project, user)), user)


def _values(project: Project, user: User) -> dict[str, Any]:
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    return {"project": project.pk, "user": user.pk, "now": now}


def _seen(row: Any, user: User) -> Look:
    if row is None:
        raise Refused(404, project="This project no longer exists.")
    languages = () if user.is_simulated else primaries(row[7] or "")
    return Look(bool(row[0]), bool(row[1]), bool(row[2]), bool(row[3]), bool(row[4]), bool(row[5]), row[6], languages)
