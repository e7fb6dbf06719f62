"""Instruction templates: files that hold a prompt, a line `---`, and a completion.

    {# forward: the task first #}
    Summarise the following text.

    {{ text }}
    ---
    {{ summary }}

The first line says which way it goes (`forward` asks for the answer, `inverted` gives it and asks for something else)
and what is particular about it. A template may use the fields of its task
(annotate/data/rows/task_families.py), `labels` (all those of the dataset) and the filters `either`,
`bullets`, `lettered` and `letter_in`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Template, meta

from annotate.data.rows.task_families import TASKS, Task
from training.instructions import sandbox
from training.instructions.sandbox import TemplateRefused

FOLDER = Path(__file__).parent / "templates"
FORWARD, INVERTED = "forward", "inverted"
LONGEST = 4000
_HEADER = re.compile(r"\A\{#\s*(forward|inverted|several):\s*(.*?)\s*#\}\s*\n")
_PARTING = re.compile(r"^---[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Instruction:
    """One template of a task. `name` is recorded with each row that it makes, such as `sentiment/plain`."""

    name: str
    task: str
    direction: str
    about: str
    source: str
    prompt: Template
    completion: Template

    @property
    def is_inverted(self) -> bool:
        return self.direction == INVERTED

    def render(self, row: dict[str, Any], labels: list[str]) -> tuple[str, str]:
        """Return (prompt, completion) of a labelled row. Raises TemplateRefused, naming the template."""
        fields = {name: "" for name in _optional(TASKS[self.task])} | row | {"labels": labels}
        try:
            prompt, completion = sandbox.render(self.prompt, fields), sandbox.render(self.completion, fields)
        except TemplateRefused as error:
            raise TemplateRefused(f"{self.name}: {error}") from error
        if not prompt or not completion:
            raise TemplateRefused(f"{self.name}: the {'completion' if prompt else 'prompt'} is empty after rendering.")
        return prompt, completion


@dataclass(frozen=True)
class FewShot:
    """Say how solved examples stand before the one to solve."""

    name: str
    about: str
    template: Template

    def render(self, shots: list[tuple[str, str]], prompt: str) -> str:
        solved = [{"prompt": shot_prompt, "completion": completion} for shot_prompt, completion in shots]
        return sandbox.render(self.template, {"shots": solved, "prompt": prompt})


def fields_of(task: Task) -> list[str]:
    """Return what a template of this task may name."""
    return [*task.fields, *_optional(task), *(["labels"] if task.is_classification else [])]


def _optional(task: Task) -> list[str]:
    return [task.text_b] if task.text_b and task.text_b not in task.fields else []


def read_instruction(source: str, task: Task, name: str) -> Instruction:
    """Return a checked template. Raises TemplateRefused in words: what is missing, unknown or misspelt."""
    text = source.replace("\r\n", "\n").strip()
    if len(text) > LONGEST:
        raise TemplateRefused(f"A template can have at most {LONGEST:,} characters.")
    direction, about, body = _header(text)
    parts = _PARTING.split(body)
    if len(parts) != 2 or not parts[0].strip() or not parts[1].strip():
        raise TemplateRefused("Write the prompt, then a line with only ---, then the completion.")
    field_names = set(fields_of(task))
    named = _names(body)
    if unknown := sorted(named - field_names):
        raise TemplateRefused(
            f"{', '.join(unknown)} is not a field of {task.name}; the fields are {', '.join(fields_of(task))}."
        )
    if not _names(parts[1]):
        raise TemplateRefused(f"The completion has no field: it must contain {{{{ {task.answer} }}}} or another.")
    prompt, completion = (sandbox.compile_template(part.strip()) for part in parts)
    instruction = Instruction(name, task.name, direction, about, text, prompt, completion)
    instruction.render(
        {k: v for k, v in task.example.items()}, _labels_of_example(task)
    )  # a first row shows misspelt filters
    return instruction


def _labels_of_example(task: Task) -> list[str]:
    return [str(task.example["label"]), "another"] if task.is_classification else []


def _header(text: str) -> tuple[str, str, str]:
    if match := _HEADER.match(text):
        return match[1], match[2], text[match.end() :]
    return FORWARD, "", text


def _names(source: str) -> set[str]:
    sandbox.compile_template(source)  # for its words about bad syntax
    return meta.find_undeclared_variables(sandbox.ENVIRONMENT.parse(source))


@functools.cache
def instructions_of(task_name: str) -> tuple[Instruction, ...]:
    """Return our templates of a task, by name."""
    task = TASKS[task_name]
    return tuple(
        read_instruction(path.read_text(encoding="utf-8"), task, f"{task_name}/{path.stem}")
        for path in sorted((FOLDER / task_name).glob("*.jinja"))
    )


@functools.cache
def few_shots() -> tuple[FewShot, ...]:
    few_shot_templates = []
    for path in sorted((FOLDER / "few_shot").glob("*.jinja")):
        _, about, body = _header(path.read_text(encoding="utf-8"))
        few_shot_templates.append(FewShot(f"few_shot/{path.stem}", about, sandbox.compile_template(body.strip())))
    return tuple(few_shot_templates)
