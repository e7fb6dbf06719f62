"""List what a project's annotators answer by. A project that declares nothing asks for thumbs, stars and the better of
two."""

from __future__ import annotations

from annotate.core.db.prepared import Prepared, Slot
from annotate.models import Assignment, Project, Scale

RATED = (Scale.Kind.THUMBS, Scale.Kind.STARS, Scale.Kind.ASPECT)
DEFAULTS = (
    Scale(kind=Scale.Kind.THUMBS, name="thumbs", title="Thumbs"),
    Scale(kind=Scale.Kind.STARS, name="stars", title="Stars"),
    Scale(kind=Scale.Kind.COMPARISON, name="better", title="Which answer is better?"),
    Scale(kind=Scale.Kind.RANKING, name="ranking", title="Rank the answers, the best first"),
)

# What an annotator of each kind of item may answer by.
OF_ITEM = {
    Assignment.Kind.RATE: (*RATED, Scale.Kind.SPAN),
    Assignment.Kind.COMPARE: (Scale.Kind.COMPARISON, Scale.Kind.SPAN),
    Assignment.Kind.RANK: (Scale.Kind.RANKING, Scale.Kind.SPAN),
    Assignment.Kind.WRITE: (),
}

Asked = dict[str, list[Scale]]
_KINDS = tuple(map(str, Scale.Kind.values))
_in_force = Prepared(lambda: Scale.objects.filter(project=Slot("project"), retired_at=None))


def scales_in(project: Project, *, has_own: bool = True) -> Asked:
    """Return for each kind the scales in force, in their order. Not `has_own`: the project is known to have none.

    What rates one answer stands by default only where the project declares none of thumbs, stars and aspects; labels
    for spans have no default.
    """
    scales: Asked = {kind: [] for kind in _KINDS}
    for scale in _in_force.rows(project=project.pk) if has_own else ():
        scales[scale.kind].append(scale)
    declares_rating = any(scales[kind] for kind in RATED)
    for scale in DEFAULTS:
        if not scales[scale.kind] and not (scale.kind in RATED and declares_rating):
            scales[scale.kind].append(scale)
    return scales


def declares_rating(scales: Asked) -> bool:
    """Return whether the project itself says what an answer is rated by; else names of aspects are free."""
    return any(scale.pk is not None for kind in RATED for scale in scales[kind])


def asks_one_thing(kind: str, scales: Asked) -> bool:
    """Return whether an item is answered by one choice, so that the choice can send it: a comparison, or one scale."""
    if kind == Assignment.Kind.RATE:
        return sum(len(scales[rated]) for rated in RATED) == 1 and not scales[Scale.Kind.SPAN]
    return kind == Assignment.Kind.COMPARE


def scales_of(assignment: Assignment, *, has_own: bool = True) -> list[Scale]:
    scales = scales_in(assignment.project, has_own=has_own)
    return [scale for kind in OF_ITEM[Assignment.Kind(assignment.kind)] for scale in scales[kind]]
