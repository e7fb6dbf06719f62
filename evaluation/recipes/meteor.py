"""METEOR by nltk (Lavie & Agarwal 2007): matches of words, then of stems, then of synonyms where WordNet is there.

nltk's own function raises where WordNet's data is absent. Nothing is downloaded here: without the data, words match
exactly or by their stem, and the signature says so, for it is another figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import nltk
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import meteor_score

from evaluation.recipes.word_tokens import words


class NoSynonyms:
    """Stand in for WordNet: every word is alone."""

    def synsets(self, word: str) -> list[Any]:
        return []


class CachedStemmer(PorterStemmer):
    """The same words come again and again, and stemming them is most of the time."""

    @lru_cache(maxsize=200_000)  # noqa: B019 - one stemmer lives as long as the process
    def stem(self, word: str, to_lowercase: bool = True) -> str:
        return str(super().stem(word, to_lowercase))


_STEMMER = CachedStemmer()


@lru_cache(maxsize=1)
def synonyms() -> tuple[Any, str]:
    """Return WordNet and its version, or what stands in its place; no attempt is made to fetch it."""
    for name in ("wordnet", "wordnet31", "wordnet2021"):
        try:
            nltk.data.find(f"corpora/{name}")
        except LookupError:
            try:
                nltk.data.find(f"corpora/{name}.zip")
            except LookupError:
                continue
        reader = getattr(nltk.corpus, name)
        try:
            reader.synsets("word")  # loads it: a broken archive shows here
            return reader, f"WordNet {reader.get_version()}"
        except (LookupError, OSError, ValueError):
            continue
    return NoSynonyms(), "exact and stem matches, no WordNet"


def meteor(answer: str, references: Sequence[str], wordnet: Any = None) -> float:
    """Return the best over the references, between 0 and 1; 0 where nothing matches."""
    wordnet = wordnet if wordnet is not None else synonyms()[0]
    answer_words = words(answer, signs=True)
    return float(
        meteor_score([words(r, signs=True) for r in references], answer_words, stemmer=_STEMMER, wordnet=wordnet)
    )


def signature() -> str:
    return f"METEOR nltk {nltk.__version__}, {synonyms()[1]}, best reference"
