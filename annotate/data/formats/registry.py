"""Register every format by its name, and detect which one a file has. Pure: no Django."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from annotate.data.formats import (
    alpaca_eval,
    fastchat,
    hh_rlhf,
    lmarena,
    lossless,
    open_assistant,
    openai_summaries,
    own,
    pandalm,
    trl,
    unjudged,
)
from annotate.data.formats.argilla import records_reader, records_writer
from annotate.data.formats.items import (
    KINDS,
    Item,
    NewAnswers,
    NewAttack,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewPrompt,
    NewRanking,
    NewRating,
    NewSpan,
    Row,
)
from annotate.data.formats.label_studio import studio_reader, studio_writer
from annotate.data.formats.mapping import mapped

Reader = Callable[[Row, int], list[Item]]
Writer = Callable[[Sequence[Item]], list[Row]]
# What a reader raises, beside ValueError in words, for a row that is built otherwise than its format.
ODD_ROW = (TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Format:
    """Describe a file format. `writes` takes items that belong together. `holds` are the kinds of items that a file of
    it can have."""

    name: str
    title: str
    reads: Reader
    writes: Writer
    fits: Callable[[Row], bool]
    holds: tuple[type[Item], ...]
    grouped: str = ""  # where a row holds what several people said: of one "prompt", or in one "conversation"
    container: str = "jsonl"  # the file that its own tools read
    is_by_model: bool = False  # its annotations are a model's, never people's


def _by_row(
    name: str, title: str, read_row: Callable[[Row], Item], write: Callable[[Item], Row | None],
    fits: Callable[[Row], bool], *holds: type[Item], container: str = "jsonl", turns: bool = False,
) -> Format:  # fmt: skip
    """Return a format of single rows. With `turns` it has a place for what followed the answers, where two
    conversations went on apart."""
    writes = lossless.writer(name, write)
    return Format(
        name, title, lossless.reader(name, read_row, write), writes if turns else _of_one_turn(writes), fits, holds,
        container=container,
    )  # fmt: skip


def _of_one_turn(writes: Writer) -> Writer:
    """Return a writer without votes on what followed: else the first answers alone would get the credit for it."""

    def write(items: Sequence[Item]) -> list[Row]:
        return writes([item for item in items if not getattr(item, "later_a", ()) and not getattr(item, "later_b", ())])

    return write


def _trl() -> list[Format]:
    formats = []
    for suffix, words, chat in (("", "as conversations", True), ("-text", "in plain text", False)):
        formats += [
            _by_row(
                f"trl-preference{suffix}", f"Preference pairs, {words} (TRL preference)",
                trl.read_preference, trl.preference(conversational=chat, implicit=False),
                trl.fits("prompt", "chosen", "rejected", conversational=chat), NewComparison, turns=chat,
            ),
            _by_row(
                f"trl-preference-implicit{suffix}",
                f"Preference pairs with the prompt inside, {words} (TRL preference)",
                trl.read_preference, trl.preference(conversational=chat, implicit=True),
                trl.fits("chosen", "rejected", absent=("prompt",), conversational=chat), NewComparison, turns=chat,
            ),
            _by_row(
                f"trl-unpaired{suffix}", f"Answers labelled good or bad, {words} (TRL unpaired preference)",
                trl.read_unpaired, trl.unpaired(conversational=chat),
                trl.fits("prompt", "completion", "label", conversational=chat), NewRating,
            ),
            _by_row(
                f"trl-prompt-completion{suffix}", f"Prompts with answers, {words} (TRL prompt-completion)",
                trl.read_prompt_completion, trl.prompt_completion(conversational=chat),
                trl.fits("prompt", "completion", conversational=chat), NewDemonstration,
            ),
            _by_row(
                f"trl-prompt-only{suffix}", f"Prompts alone, {words} (TRL prompt-only)",
                trl.read_prompt_only, trl.prompt_only(conversational=chat),
                trl.fits("prompt", absent=("completion", "chosen"), conversational=chat), NewPrompt,
            ),
            _by_row(
                f"trl-language-modeling{suffix}", f"One text a row, {words} (TRL language modeling)",
                trl.read_language_modeling, trl.language_modeling(conversational=chat),
                trl.fits("messages" if chat else "text", conversational=chat), NewDemonstration, NewPrompt,
            ),
        ]  # fmt: skip
    return formats


_ALL_BUT_ATTACKS = (NewComparison, NewRating, NewRanking, NewDemonstration, NewPrompt, NewSpan, NewFlag)
# In the order in which they are tried on a file: the more particular first.
_ALL = [
    Format("assay", "Assay's own rows", own.read, own.write, own.fits, tuple(KINDS.values())),
    _by_row(
        "hh-rlhf", "hh-rlhf pairs", hh_rlhf.read_pair, hh_rlhf.write_pair, hh_rlhf.fits_pair, NewComparison, turns=True,
    ),
    _by_row(
        "hh-rlhf-red-team", "hh-rlhf red-team attempts", hh_rlhf.read_attack, hh_rlhf.write_attack,
        hh_rlhf.fits_attack, NewAttack,
    ),
    _by_row(
        "lmarena", "LMArena conversations", lmarena.read, lmarena.write, lmarena.fits, NewComparison, turns=True,
    ),
    _by_row(
        "lmarena-55k", "LMArena 55k", lmarena.read_55k, lmarena.write_55k, lmarena.fits_55k, NewComparison,
        container="csv", turns=True,
    ),
    _by_row(
        "alpaca-eval", "alpaca_eval annotations", alpaca_eval.read, alpaca_eval.write, alpaca_eval.fits, NewComparison,
        container="json",
    ),
    _by_row(
        "openai-summaries", "OpenAI comparisons of summaries", openai_summaries.read, openai_summaries.write,
        openai_summaries.fits, NewComparison,
    ),
    Format(
        "pandalm", "PandaLM test set", pandalm.read, _of_one_turn(pandalm.write), pandalm.fits, (NewComparison,),
        grouped="prompt", container="json",
    ),
    Format(
        "open-assistant", "Open-Assistant trees", open_assistant.read, open_assistant.write, open_assistant.fits,
        (NewRanking, NewRating, NewFlag, NewDemonstration, NewPrompt, NewComparison), grouped="conversation",
    ),
    Format(
        "label-studio", "Label Studio tasks", studio_reader.read, _of_one_turn(studio_writer.write), studio_reader.fits,
        _ALL_BUT_ATTACKS, grouped="prompt", container="json",
    ),
    Format(
        "argilla", "Argilla records", records_reader.read, _of_one_turn(records_writer.write), records_reader.fits,
        _ALL_BUT_ATTACKS, grouped="prompt",
    ),
    *_trl(),
]  # fmt: skip
FORMATS: dict[str, Format] = {each.name: each for each in _ALL}
# Read and not written: nobody has said anything yet that an export could hold.
INCOMING: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            "mt-bench", "MT-bench: answers and pairwise votes of a model", fastchat.read_mt_bench,
            lambda items: [], fastchat.fits_mt_bench, (NewAnswers, NewComparison), is_by_model=True,
        ),
        Format(
            "fastchat-log", "FastChat's arena log", fastchat.read_log, lambda items: [], fastchat.fits_log,
            (NewComparison, NewRating),
        ),
        Format(
            "answers", "Answers to annotate", unjudged.read_answers, lambda items: [], unjudged.fits_answers,
            (NewAnswers,),
        ),
        Format(
            "examples", "Questions with answers to learn from: Alpaca, ShareGPT", unjudged.read_examples,
            lambda items: [], unjudged.fits_examples, (NewDemonstration, NewPrompt),
        ),
        Format(
            "questions", "Prompts only; other fields are ignored: question, instruction, text, MT-bench",
            unjudged.read_questions, lambda items: [],
            unjudged.fits_questions, (NewPrompt,),
        ),
    )
}  # fmt: skip
READERS: dict[str, Reader] = {name: each.reads for name, each in {**FORMATS, **INCOMING}.items()}
WRITERS: dict[str, Writer] = {name: each.writes for name, each in FORMATS.items()}


def detect(rows: Sequence[Row], name: str = "") -> str:
    """Return the first format that the first rows fit. Raises ValueError in words where none does."""
    for format_ in _in_order():
        if rows and all(format_.fits(row) for row in rows):
            return format_.name
    if not rows:
        raise ValueError(f"{name or 'The file'} has no rows.")
    columns = ", ".join(sorted({column for row in rows for column in row})[:12])
    raise ValueError(
        f"{name or 'The file'} has the fields {columns}: this matches no known format. Choose its format, or choose "
        "what each column is."
    )


def _in_order() -> list[Format]:
    """Return the formats in the order of detection: TRL's come late, for a prompt with a completion is to learn from
    unless the row says which model gave it."""
    formats = list(FORMATS.values())
    first = next(index for index, format_ in enumerate(formats) if format_.name.startswith("trl"))
    unjudged_formats = INCOMING["answers"], INCOMING["examples"]
    of_fastchat = INCOMING["mt-bench"], INCOMING["fastchat-log"]
    return [*of_fastchat, *formats[:first], *unjudged_formats, *formats[first:], INCOMING["questions"]]


__all__ = ["FORMATS", "INCOMING", "ODD_ROW", "READERS", "WRITERS", "Format", "detect", "mapped"]
