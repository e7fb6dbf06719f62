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


def find(prompts: Iterable[int]) -> dict[int, str]:
    """Return the languages of these prompts; those not known yet are found and stored."""
    ids = sorted(set(prompts))
    languages: dict[int, str] = {}
    for first in range(0, len(ids), BLOCK):
        batch = ids[first : first + BLOCK]
        stored = dict(PromptLanguage.objects.filter(prompt__in=batch).values_list("prompt_id", "language"))
        languages |= stored | _keep(Prompt.objects.filter(pk__in=[pk for pk in batch if pk not in stored]))
    return languages


def _keep(prompts: QuerySet[Prompt] | Sequence[Prompt]) -> dict[int, str]:
    rows = [PromptLanguage(prompt=prompt, language=language_of(prompt.text)) for prompt in prompts]
    PromptLanguage.objects.bulk_create(rows, ignore_conflicts=True)  # another process may have found it meanwhile
    return {row.prompt_id: row.language for row in rows}


def find_all(project: Project | None = None) -> Iterable[int]:
    """Find the languages of all eval prompts that have none yet, block by block; yield how many each time."""
    prompts = Prompt.objects.filter(side=Split.EVAL, found_language=None).order_by("id")
    if project is not None:
        prompts = prompts.filter(project=project)
    while batch := list(prompts[:BLOCK]):
        yield len(_keep(batch))
