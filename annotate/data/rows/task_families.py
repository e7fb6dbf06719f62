"""Define families of labelled tasks, in FLAN's manner (Wei 2022): the fields of a row, and which of them is the answer.

A labelled dataset is of one family. Classifiers read `text`, `text_b` and `label`; instruction templates read every
field. Pure: no Django.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """Describe a task. `fields` must all be there; `answer` is the one that a plain instruction asks for."""

    name: str
    title: str
    fields: tuple[str, ...]
    answer: str
    example: Mapping[str, Any]
    text: str = ""  # what a classifier reads; "" where the answer is no label
    text_b: str = ""

    @property
    def is_classification(self) -> bool:
        return self.answer == "label"


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "classification",
            "Any labels",
            ("text", "label"),
            "label",
            {"text": "The parcel has not come.", "label": "delivery"},
            text="text",
            text_b="text_b",
        ),
        Task(
            "sentiment",
            "Sentiment",
            ("text", "label"),
            "label",
            {"text": "A warm and funny film.", "label": "positive"},
            text="text",
        ),
        Task(
            "nli",
            "Natural language inference",
            ("premise", "hypothesis", "label"),
            "label",
            {"premise": "A dog runs on a beach.", "hypothesis": "An animal is outside.", "label": "entailment"},
            text="premise",
            text_b="hypothesis",
        ),
        Task(
            "question_answering",
            "Question answering",
            ("context", "question", "answer"),
            "answer",
            {"context": "Ada was born in London.", "question": "Where was Ada born?", "answer": "London"},
        ),
        Task(
            "summarisation",
            "Summarisation",
            ("text", "summary"),
            "summary",
            {"text": "The council met on Monday and voted to …", "summary": "The council voted."},
        ),
        Task(
            "translation",
            "Translation",
            ("source", "target", "source_language", "target_language"),
            "target",
            {
                "source": "Good morning",
                "target": "Guten Morgen",
                "source_language": "English",
                "target_language": "German",
            },
        ),
        Task(
            "commonsense",
            "Commonsense",
            ("question", "choices", "answer"),
            "answer",
            {"question": "What melts in the sun?", "choices": ["ice", "stone"], "answer": "ice"},
        ),
    )
}


def task_of(fields: set[str]) -> Task | None:
    """Return the family that has such columns; None when none has. The one that uses most of them wins."""
    fitting = [task for task in TASKS.values() if set(task.fields) <= fields]
    return max(fitting, key=lambda task: len(task.fields), default=None)
