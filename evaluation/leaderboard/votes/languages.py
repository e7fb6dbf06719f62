"""Find the language of a prompt once by its text (py3langid: naive Bayes over byte n-grams), and keep it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from django.db.models import QuerySet

from annotate.models import Project, Prompt, Split
from evaluation.models import PromptLanguage

UNKNOWN = "und"  # ISO 639: undetermined
SURE = 0.2  # of the chance shared by some hundred languages; below it a text says nothing of its language
BLOCK = 500
_MOST_CHARACTERS = 2000  # of a text: more do not change the answer


@cache
def _identifier() -> Any:
    """Return the identifier; it costs half a second and some memory, so only processes that meet a new prompt load
    it."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=SURE)


def language_of(text: str) -> str:
    """Return the ISO 639 code of the likeliest language, "und" when the text is too short or has no words."""
    if not any(character.isalpha() for character in text):
        return UNKNOWN
    language = str(_identifier().classify(text[:_MOST_CHARACTERS])[0])
    return UNKNOWN if language == "zxx" else language


def find(prompts: Iterable[int], *, is_read_only: bool = False) -> dict[int, str]:
    """Return the languages of these prompts; those not known yet are found, and stored unless it `is_read_only`."""
    ids = sorted(set(prompts))
    languages: dict[int, str] = {}
    for first in range(0, len(ids), BLOCK):
        batch = ids[first : first + BLOCK]
        stored = dict(PromptLanguage.objects.filter(prompt__in=batch).values_list("prompt_id", "language"))
        rows = _found(Prompt.objects.filter(pk__in=[pk for pk in batch if pk not in stored]))
        if not is_read_only:
            _keep(rows)
        languages |= stored | {row.prompt_id: row.language for row in rows}
    return languages


def _found(prompts: QuerySet[Prompt] | Sequence[Prompt]) -> list[PromptLanguage]:
    return [PromptLanguage(prompt=prompt, language=language_of(prompt.text)) for prompt in prompts]


def _keep(rows: list[PromptLanguage]) -> None:
    PromptLanguage.objects.bulk_create(rows, ignore_conflicts=True)  # another process may have found it meanwhile


def find_all(project: Project | None = None) -> Iterable[int]:
    """Find the languages of all eval prompts that have none yet, block by block; yield how many each time."""
    prompts = Prompt.objects.filter(side=Split.EVAL, found_language=None).order_by("id")
    if project is not None:
        prompts = prompts.filter(project=project)
    while batch := list(prompts[:BLOCK]):
        _keep(_found(batch))
        yield len(batch)
