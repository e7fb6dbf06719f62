"""The language of a prompt, found once by its text (py3langid: naive Bayes over byte n-grams) and kept."""

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
    """Half a second and some memory, for processes that meet a new prompt alone."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=SURE)


def language_of(text: str) -> str:
    """ISO 639 code of the likeliest language, "und" when the text is too short or has no words."""
    if not any(character.isalpha() for character in text):
        return UNKNOWN
    language = str(_identifier().classify(text[:_MOST_CHARACTERS])[0])
    return UNKNOWN if language == "zxx" else language


def find(prompts: Iterable[int]) -> dict[int, str]:
    """Return the languages of these prompts; those that are not known yet are found and kept."""
    ids = sorted(set(prompts))
    found: dict[int, str] = {}
    for first in range(0, len(ids), BLOCK):
        some = ids[first : first + BLOCK]
        known = dict(PromptLanguage.objects.filter(prompt__in=some).values_list("prompt_id", "language"))
        found |= known | _keep(Prompt.objects.filter(pk__in=[pk for pk in some if pk not in known]))
    return found


def _keep(prompts: QuerySet[Prompt] | Sequence[Prompt]) -> dict[int, str]:
    rows = [PromptLanguage(prompt=prompt, language=language_of(prompt.text)) for prompt in prompts]
    PromptLanguage.objects.bulk_create(rows, ignore_conflicts=True)  # another process may have found it meanwhile
    return {row.prompt_id: row.language for row in rows}


def find_all(project: Project | None = None) -> Iterable[int]:
    """Find the languages of all eval prompts that have none yet, block by block; yields how many each time."""
    prompts = Prompt.objects.filter(side=Split.EVAL, found_language=None).order_by("id")
    if project is not None:
        prompts = prompts.filter(project=project)
    while some := list(prompts[:BLOCK]):
        yield len(_keep(some))
