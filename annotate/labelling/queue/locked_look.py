"""Lock the project, and look at what decides how an item is handed out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from annotate.core.db.prepared import Asked, ask, stored
from annotate.core.errors import Refused
from annotate.labelling.queue.urgent_items import UrgentPair, urgent_questions
from annotate.models import Project, User
from annotate.models.project_locks import SAVEPOINT, SHARE, shared_keys
from common.languages.language_tags import primaries


@dataclass(frozen=True)
class Look:
    """What decides which steps of handing out are needed at all."""

    holds_something: bool  # in any project: with the project asked for, SQLite would read all of it
    has_stale: bool
    has_changes: bool
    has_urgent_changes: bool  # that cannot wait for the background worker
    has_priorities: bool
    has_reserved: bool  # for this person
    has_ahead: bool  # for this person, in their hands or given back
    handed_out: int  # in all projects: turns need no more than a number that grows
    languages: tuple[str, ...]  # that this person gets prompts in; () for all

    @property
    def is_plain(self) -> bool:
        """Return whether the first entry of the queue is all that is needed."""
        special = (
            self.holds_something,
            self.has_stale,
            self.has_urgent_changes,
            self.has_priorities,
            self.has_reserved,
        )
        return not any(special) and not self.has_ahead


# What decides which of the next statements are needed at all. Written out: it runs each time an item is handed out, and
# most of an item's cost is Django putting its statements together.
_LOOK = """
SELECT
  EXISTS (SELECT 1 FROM annotate_assignment WHERE user_id = %(user)s AND state = 'open'),
  EXISTS (SELECT 1 FROM annotate_assignment
          WHERE project_id = %(project)s AND state = 'open' AND expires_at <= %(now)s),
  EXISTS (SELECT 1 FROM annotate_queuechange WHERE project_id = %(project)s),
  EXISTS (SELECT 1 FROM annotate_queuechange
          WHERE project_id = %(project)s AND (can_wait_until IS NULL OR can_wait_until <= %(now)s)),
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
    return _seen(ask(_look(project, user))[0], user)


def share_and_look(project: Project, user: User, *questions: Asked) -> tuple[Look, list[UrgentPair], list[list[Any]]]:
    """Lock the project together with others who hand out, on Postgres, and return what the next steps depend on: a
    look, the urgent pairs and the answers to the questions."""
    urgent_ones = urgent_questions(project)
    looked, *answers = lock_together(project.pk, user.pk, _look(project, user), *urgent_ones, *questions)
    urgent = [pair for pairs in answers[: len(urgent_ones)] for pair in pairs]
    return _seen(looked, user), urgent, answers[len(urgent_ones) :]


def lock_together(project_id: int, user_id: int, *questions: Asked) -> list[list[Any]]:
    """Wait until nobody has the project alone, and no other transaction hands out to this user. Return the answers to
    the questions, which see what they have committed.

    Whoever wants the project alone afterwards must call `give_back` first: two who waited for each other would wait for
    ever. All in one trip to the database; it runs with each annotation.
    """
    locks = Asked(SHARE, shared_keys(project_id, user_id))
    return ask(Asked(SAVEPOINT, [], None), locks, *questions)[2:]


def _look(project: Project, user: User) -> Asked:
    return Asked(_LOOK, {"project": project.pk, "user": user.pk, "now": stored(timezone.now())})


def _seen(rows: list[Any], user: User) -> Look:
    if not rows:
        raise Refused(404, project="This project no longer exists.")
    (row,) = rows
    languages = () if user.is_simulated else primaries(row[8] or "")
    holds, stale, changes, urgent_changes, has_priorities, reserved, ahead = map(bool, row[:7])
    return Look(holds, stale, changes, urgent_changes, has_priorities, reserved, ahead, row[7], languages)
