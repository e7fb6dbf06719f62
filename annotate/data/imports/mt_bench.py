"""Bring MT-bench's files together: FastChat keeps questions, answers and judgements of them in files of their own.

    data/mt_bench/question.jsonl, model_answer/MODEL.jsonl, model_judgment/gpt-4_pair.jsonl

Rows of questions, answers and judgements come of it as `annotate.data.formats.fastchat` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from annotate.data.formats.fastchat import first_choice
from annotate.data.formats.items import Row
from annotate.data.rows.row_files import LARGEST_IMPORT, read_rows
from annotate.data.rows.row_source import UnreadableFile

QUESTIONS, ANSWERS, JUDGEMENTS = "question.jsonl", "model_answer", "model_judgment"


class NotMtBench(ValueError):
    """The folder, or a line in it, is not what FastChat writes; the message names the file and the line."""


def joined_rows(folder: Path) -> Iterator[Row]:
    """Yield each question, each answer with its question, each pairwise judgement with its question and answers.

    Raises NotMtBench. Scores of single answers, from 1 to 10, are no stars: see `left_out`."""
    if not (folder / QUESTIONS).is_file():
        raise NotMtBench(f"{folder} has no {QUESTIONS}; use a folder of MT-bench, such as data/mt_bench.")
    questions = {str(row["question_id"]): row for row in _rows(folder / QUESTIONS, "question_id", "turns")}
    yield from questions.values()
    answers: dict[tuple[str, str], list[str]] = {}
    for path in sorted((folder / ANSWERS).glob("*.jsonl")):
        for row in _rows(path, "question_id", "model_id", "choices"):
            question = _question(questions, row, path)
            answers[str(row["question_id"]), str(row["model_id"])] = first_choice(row) or []
            yield question | row
    for path in sorted((folder / JUDGEMENTS).glob("*_pair.jsonl")):
        for row in _rows(path, "question_id", "model_1", "model_2", "g1_winner", "g2_winner"):
            sides = {
                f"answer_{side}": answers[key]
                for side in (1, 2)
                if (key := (str(row["question_id"]), str(row[f"model_{side}"]))) in answers
            }
            told = {name: value for name, value in row.items() if not name.endswith("_user_prompt")}
            yield _question(questions, row, path) | told | sides


def left_out(folder: Path) -> list[str]:
    """Return the files in the folder that nothing reads."""
    judged = (path for path in (folder / JUDGEMENTS).glob("*.jsonl") if not path.name.endswith("_pair.jsonl"))
    return sorted(str(path.relative_to(folder)) for path in judged)


def _question(questions: dict[str, Row], row: Row, path: Path) -> Row:
    question = questions.get(str(row["question_id"]))
    if question is None:
        raise NotMtBench(f"{path.name} answers question {row['question_id']}, which {QUESTIONS} does not have.")
    return {
        name: question[name] for name in ("question_id", "category", "language", "turns", "system") if name in question
    }


def _rows(path: Path, *needed: str) -> Iterator[Row]:
    with path.open("rb") as file:
        try:
            for row in read_rows(file, path.name, "jsonl", largest=LARGEST_IMPORT):
                missing = [name for name in needed if name not in row.row]
                if row.problem or missing:
                    problem = row.problem or f"has no {' and no '.join(missing)}."
                    raise NotMtBench(f"{path.name}, line {row.line}, {problem}")
                yield row.row
        except UnreadableFile as error:
            raise NotMtBench(f"{path.name}: {error}") from error
