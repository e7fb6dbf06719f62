"""Corpora of the Hugging Face Hub, streamed: nothing is downloaded as a whole, and no code of theirs is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from annotate.data.rows.hub_opening import FolderInTheWay, open_stream
from common.texts import first_line
from training.configs.corpus_sources import Order, local_words
from training.core.run_directory import RecipeFailure
from training.corpora.reading import unpacking_bounds as bounds
from training.corpora.reading.source_part import Part, text_of


def reader(order: Order, fields: Sequence[str]) -> Callable[[Part, int], Iterator[str | None]]:
    """Yield the rows' texts. The stream tells its own place, so that a resumed run need not download what it has
    read."""

    def rows(part: Part, skip: int) -> Iterator[str | None]:
        try:
            with bounds.within(bounds.LONGEST_WAIT):
                stream = _stream(order)
            if part.resume_from is not None:
                stream.load_state_dict(part.resume_from)
            elif skip:
                stream = stream.skip(skip)
            part.state = stream.state_dict
            for number, row in enumerate(bounds.streamed(stream, order.line, skip), start=skip):
                text = text_of(row, fields)
                if text is None and number == 0:
                    raise RecipeFailure(
                        "no_text_field",
                        f"The first row of {order.line} has no text in {' or '.join(fields)}; it has {', '.join(row)}.",
                        "Enter the field with the text in text_field.",
                    )
                yield text
        except (RecipeFailure, OSError, ValueError, RuntimeError, ImportError, bounds.TooSlow) as error:
            raise _failure_of(order, error) from error

    return rows


def _stream(order: Order) -> Any:
    try:
        return open_stream(order.name, order.config, order.split)
    except FolderInTheWay as error:
        raise RecipeFailure("hub_local", local_words(order), "Correct sources.") from error


def _failure_of(order: Order, error: BaseException) -> RecipeFailure:
    if isinstance(error, RecipeFailure):
        return error
    line = first_line(error)
    if isinstance(error, ValueError):
        remedy = "Correct its config or split in sources; the message lists the valid ones."
    elif isinstance(error, FileNotFoundError):
        remedy = "Check the name under Data, Catalogue; a gated corpus also needs HF_TOKEN in the worker's environment."
    elif "offline" in line.lower():
        remedy = "HF_HUB_OFFLINE is set for the worker: unset it, or upload the corpus as files."
    else:
        remedy = "Check that this machine reaches the Hub, then resume: the run continues from its last checkpoint."
    return RecipeFailure("hub", f"{order.line} cannot be read: {line}", remedy)
