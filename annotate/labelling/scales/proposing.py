"""Take over the scales that another tool's labelling interface proposes: shown first, added at a manager's word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.scales import actions
from annotate.labelling.scales.proposed_scales import ProposedScale, propose
from annotate.models import Project, Scale, User
from annotate.projects.actions import change_settings


@dataclass(frozen=True)
class Proposed:
    """`new` would be added and `settings` switched on; `standing` are there already, each with what stands."""

    new: tuple[ProposedScale, ...]
    standing: tuple[tuple[ProposedScale, Scale], ...]
    settings: tuple[str, ...]
    notes: tuple[str, ...]


def look(*, project: Project, text: str, by: User | None) -> Proposed:
    """Return what the interface proposes for this project. Raises Refused, 400, where it cannot be read."""
    if by is not None:
        require(by, "manage", project)
    try:
        proposal = propose(text)
    except ValueError as error:
        raise Refused(400, interface=str(error)) from error
    standing, new = [], []
    for one in proposal.scales:
        found = _standing(project, one)
        standing += [(one, found)] if found else []
        new += [] if found else [one]
    settings = tuple(name for name in proposal.asks if not getattr(project, name))
    return Proposed(tuple(new), tuple(standing), settings, proposal.notes)


@transaction.atomic
def take(*, project: Project, text: str, by: User | None) -> Proposed:
    """Add what is new and switch on what it needs, whole or not at all; nothing that stands is changed."""
    proposed = look(project=project, text=text, by=by)
    for one in proposed.new:
        actions.add(
            project=project, by=by, kind=one.kind, name=one.name, title=one.title, definition=one.definition,
            is_required=one.is_required,
        )  # fmt: skip
    if proposed.settings:
        settings: dict[str, Any] = dict.fromkeys(proposed.settings, True)
        change_settings(project=project, by=by, **settings)
    return proposed


def _standing(project: Project, proposed: ProposedScale) -> Scale | None:
    """Return the scale in whose place it would come: of its name, or the one that a project has of this kind."""
    same_kind = project.scales.filter(kind=proposed.kind)
    if named := same_kind.filter(name=proposed.name).first():
        return named
    is_single = Scale.Kind(proposed.kind) not in actions.MOST
    return same_kind.filter(retired_at=None).first() if is_single else None
