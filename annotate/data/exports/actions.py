"""A project's feedback in a file of any format that other tools read: streamed, and lossless where it was imported.

Only what counts, unless other statuses are asked for; by people or by simulations, never both. A file does not know
the splits: it has a `side` where it is one of ours, and can be asked for one split alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.data.exports.feedback_items import Wanted, by_conversation, by_prompt, items
from annotate.data.formats import FORMATS, Format
from annotate.data.formats.containers import CONTAINERS, PACKED, content_type, written
from annotate.data.formats.items import Item, NewComparison, NewPrompt, Row
from annotate.models import AnnotatorKind, Project, Split, Status, User

OWN = "assay"
FILES = (*CONTAINERS, *PACKED)
_MARGIN = "trl-preference"


@dataclass(frozen=True)
class Export:
    """`name` is the file's; `parts` its bytes, read from the database as they are taken."""

    name: str
    content_type: str
    parts: Iterator[bytes]


def export_feedback(
    *, project: Project, by: User, format: str = OWN, file: str = "", judge: str = AnnotatorKind.PERSON,
    statuses: Sequence[str] = (Status.COUNTED,), side: str = "", sources: Sequence[str] = (), measures: bool = False,
) -> Export:  # fmt: skip
    """Refused at once for what does not exist and where there is nothing; else nothing is read before it is asked for.

    `measures` adds what was said of gold items, repeats and the tutorial.
    """
    require(by, "review", project)
    _check(format=(format, tuple(FORMATS)), file=(file, ("", *FILES)), judge=(judge, AnnotatorKind.values))
    _check(side=(side, ("", *Split.values)), **{f"status {s}": (s, Status.values) for s in statuses})
    found = FORMATS[format]
    wanted = Wanted(project, judge, tuple(statuses), side, tuple(sources), measures, found.holds)
    if not _has_any(wanted):
        kinds = ", ".join(kind.__name__.removeprefix("New").lower() for kind in found.holds)
        raise Refused(404, format=f"{project.name} has nothing yet that {found.title} can hold: {kinds}.")
    container = file or found.container
    name = f"{project.slug}-{format}.{container}"
    audit.record(action="feedback.exported", about=f"{', '.join(statuses)} as {name}", by=by, project=project)
    return Export(name, content_type(container), written(rows(wanted, found), container))


def rows(wanted: Wanted, found: Format) -> Iterator[Row]:
    keeps_margin = found.name.startswith(_MARGIN) and _all_have_margins(wanted, found.name)
    for some in _GROUPED[found.grouped](wanted):
        for row in found.writes([item for item, _ in some]):
            if found.name.startswith(_MARGIN) and not keeps_margin:
                row.pop("margin", None)
            yield row | _of_ours(some[0][1]) if found.name == OWN else row


def _alone(wanted: Wanted) -> Iterator[list[tuple[Item, Any]]]:
    return ([one] for one in items(wanted))


_GROUPED = {"": _alone, "prompt": by_prompt, "conversation": by_conversation}


def _of_ours(row: Any) -> Row:
    """Return what an importer has no use for, and somebody who looks at the file has."""
    prompt = getattr(row, "prompt", row)
    told = {name: getattr(row, name, "") for name in ("status", "status_reason", "source")}
    told |= {"side": prompt.side, "by_simulation": getattr(row, "judge", "") == AnnotatorKind.SIMULATION}
    return told | {"sampling": _sampling(row)}


def _sampling(row: Any) -> str:
    """Return how each of its answers was drawn and why it ended, as JSON in a text: a table has no nested columns."""
    answers = [getattr(row, name, None) for name in ("completion", "completion_a", "completion_b")]
    told = [{**answer.sampling, "finish_reason": answer.finish_reason} for answer in answers if answer is not None]
    return json.dumps(told, ensure_ascii=False) if any(answer and answer.sampling for answer in answers) else ""


def _all_have_margins(wanted: Wanted, format: str) -> bool:
    """TRL reads a margin from every row or from none. (Postgres takes "not there" for unknown: it is asked who has.)"""
    pairs = wanted.rows(NewComparison).filter(winner__in=("model_a", "model_b"))
    has_one = Q(strength__isnull=False) | Q(extra__format=format, extra__extra__has_key="margin")
    return not pairs.exclude(pk__in=pairs.filter(has_one).order_by().values("pk")).exists()


def _has_any(wanted: Wanted) -> bool:
    return any((wanted.prompts() if kind is NewPrompt else wanted.rows(kind)).exists() for kind in wanted.holds)


def _check(**given: tuple[str, Sequence[str]]) -> None:
    for field, (value, known) in given.items():
        if value not in known:
            text = ", ".join(name for name in known if name)
            raise Refused(400, **{field.partition(" ")[0]: f"{value!r} is none that is known here; use one of {text}."})
