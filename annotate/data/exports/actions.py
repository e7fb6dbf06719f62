"""Export feedback in any format that other tools read: streamed, and lossless where it was imported.

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
from annotate.data.exports.feedback_items import Selection, by_conversation, by_prompt, items
from annotate.data.formats import FORMATS, Format
from annotate.data.formats.containers import CONTAINERS, PACKED, content_type, written
from annotate.data.formats.items import Item, NewComparison, NewPrompt, Row
from annotate.models import AnnotatorKind, Project, Split, Status, User
from common.texts import NOT_STORABLE, is_storable

OWN = "assay"
FILES = (*CONTAINERS, *PACKED)
_MARGIN = "trl-preference"


@dataclass(frozen=True)
class Export:
    """Hold a file to download. `name` is the file's; `parts` its bytes, read from the database as they are taken."""

    name: str
    content_type: str
    parts: Iterator[bytes]


def export_feedback(
    *, project: Project, by: User, format: str = OWN, file: str = "", judge: str = AnnotatorKind.PERSON,
    statuses: Sequence[str] = (Status.COUNTED,), side: str = "", sources: Sequence[str] = (), measures: bool = False,
) -> Export:  # fmt: skip
    """Export a project's feedback. Refused at once for what does not exist and where there is nothing; rows are read
    only as they are taken.

    `measures` adds what was said of gold items, repeats and the tutorial.
    """
    require(by, "review", project)
    _check(format=(format, tuple(FORMATS)), file=(file, ("", *FILES)), judge=(judge, AnnotatorKind.values))
    _check(side=(side, ("", *Split.values)), **{f"status {s}": (s, Status.values) for s in statuses})
    if not all(map(is_storable, sources)):
        raise Refused(source=NOT_STORABLE)
    format_ = FORMATS[format]
    selection = Selection(project, judge, tuple(statuses), side, tuple(sources), measures, format_.holds)
    if not _has_any(selection):
        kinds = ", ".join(kind.__name__.removeprefix("New").lower() for kind in format_.holds)
        raise Refused(404, format=f"{project.name} has no data for {format_.title}: {kinds}.")
    container = file or format_.container
    name = f"{project.slug}-{format}.{container}"
    audit.record(action="feedback.exported", about=f"{', '.join(statuses)} as {name}", by=by, project=project)
    return Export(name, content_type(container), written(rows(selection, format_), container))


def rows(selection: Selection, format_: Format) -> Iterator[Row]:
    keeps_margin = format_.name.startswith(_MARGIN) and _all_have_margins(selection, format_.name)
    for group in _GROUPED[format_.grouped](selection):
        for row in format_.writes([item for item, _ in group]):
            if format_.name.startswith(_MARGIN) and not keeps_margin:
                row.pop("margin", None)
            yield row | _of_ours(group[0][1]) if format_.name == OWN else row


def _alone(selection: Selection) -> Iterator[list[tuple[Item, Any]]]:
    """Yield each item as a group of its own."""
    return ([pair] for pair in items(selection))


_GROUPED = {"": _alone, "prompt": by_prompt, "conversation": by_conversation}


def _of_ours(row: Any) -> Row:
    """Return the columns that an importer does not use, and a reader of the file does."""
    prompt = getattr(row, "prompt", row)
    columns = {name: getattr(row, name, "") for name in ("status", "status_reason", "source")}
    columns |= {"side": prompt.side, "by_simulation": getattr(row, "judge", "") == AnnotatorKind.SIMULATION}
    return columns | {"sampling": _sampling(row)}


def _sampling(row: Any) -> str:
    """Return how each of its answers was drawn and why it ended, as JSON in a text: a table has no nested columns."""
    answers = [getattr(row, name, None) for name in ("completion", "completion_a", "completion_b")]
    samplings = [{**answer.sampling, "finish_reason": answer.finish_reason} for answer in answers if answer is not None]
    return json.dumps(samplings, ensure_ascii=False) if any(answer and answer.sampling for answer in answers) else ""


def _all_have_margins(selection: Selection, format: str) -> bool:
    """Return whether all rows have margins: TRL reads a margin from every row or from none. (Postgres takes "not there"
    for unknown: it is asked who has.)"""
    pairs = selection.rows(NewComparison).filter(winner__in=("model_a", "model_b"))
    has_one = Q(strength__isnull=False) | Q(extra__format=format, extra__extra__has_key="margin")
    return not pairs.exclude(pk__in=pairs.filter(has_one).order_by().values("pk")).exists()


def _has_any(selection: Selection) -> bool:
    return any(
        (selection.prompts() if kind is NewPrompt else selection.rows(kind)).exists() for kind in selection.holds
    )


def _check(**choices: tuple[str, Sequence[str]]) -> None:
    for field, (value, allowed) in choices.items():
        if value not in allowed:
            text = ", ".join(name for name in allowed if name)
            raise Refused(400, **{field.partition(" ")[0]: f"{value!r} is unknown; use one of {text}."})
