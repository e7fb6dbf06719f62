from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.corpus_sources import BadSource, read_orders
from training.configs.options import option


@dataclass(frozen=True)
class CorpusConfig:
    """Gather texts, clean them by published rules, and freeze what is left as a corpus."""

    kind: ClassVar[str] = "corpus"
    sources: str = option(
        "python:topics\npython:docstrings",
        "one on each line: a file or pattern (books/*.txt, web.jsonl.gz, part-*.parquet), hub:owner/name/config:split, "
        "python:topics, python:docstrings, app:answers, app:demonstrations",
        multiline=True,
    )
    text_field: str = option(
        "text",
        "field with the text in jsonl, parquet and hub rows; of several, separated by commas, the first that exists",
    )
    documents: str = option(
        "whole files",
        "how txt files are split into documents",
        choices=("whole files", "between blank lines", "lines"),
    )
    max_documents: int = option(0, "maximum per source; 0: all", low=0, high=10**12)
    fix_unicode: bool = option(True, "repair broken characters, HTML entities and line ends (ftfy, NFC)")
    languages: str = option("en", "keep these languages (codes, with commas); empty keeps all")
    c4_boilerplate: bool = option(True, "C4: drop lines about cookies and JavaScript, and pages of lorem ipsum")
    c4_lines: bool = option(
        False, "C4: keep only lines that end like a sentence; for web pages, not for verse, lists or code"
    )
    c4_code: bool = option(False, "C4: drop pages with a curly bracket, because they are probably code")
    gopher_quality: bool = option(
        True, "Gopher: drop texts that are too short or long, have many symbols, or few common words"
    )
    gopher_repetition: bool = option(True, "Gopher: drop texts that repeat lines, paragraphs or phrases")
    private_data: bool = option(True, "replace e-mail addresses, phone numbers and IP addresses by a marker")
    evaluation_texts: bool = option(True, "drop documents that share a passage with evaluation texts of this project")
    exact_duplicates: bool = option(True, "keep the first of equal documents, ignoring case and white space")
    near_duplicates: bool = option(True, "keep the first of documents that are nearly equal (MinHash)")
    held_out: float = option(0.02, "share of the documents held out for validation, by hash", low=0.0001, high=0.5)
    language_confidence: float = option(
        0.4,
        "minimum probability of a wanted language; texts under 100 letters always pass",
        low=0,
        high=1,
        advanced=True,
    )
    min_words: int = option(
        50, "Gopher quality: minimum words; lower it for short texts", low=0, high=10**6, advanced=True
    )
    max_words: int = option(100_000, "Gopher quality: maximum words", low=1, high=10**9, advanced=True)
    word_length: str = option("3, 10", "Gopher quality: mean length of a word, from and to", advanced=True)
    max_symbols: float = option(0.1, "Gopher quality: # or ellipses for each word", low=0, high=10, advanced=True)
    max_bullets: float = option(
        0.9, "Gopher quality: share of lines that start with a bullet", low=0, high=1, advanced=True
    )
    max_ellipses: float = option(
        0.3, "Gopher quality: share of lines that end with an ellipsis", low=0, high=1, advanced=True
    )
    min_alphabetic: float = option(0.8, "Gopher quality: share of words with a letter", low=0, high=1, advanced=True)
    min_small_words: int = option(
        2, "Gopher quality: of the, be, to, of, and, that, have, with (English only)", low=0, high=8, advanced=True
    )
    repeated_lines: str = option(
        "0.3, 0.3, 0.2, 0.2",
        "Gopher repetition: share of repeated lines, paragraphs, their letters in lines, in paragraphs",
        advanced=True,
    )
    top_phrases: str = option(
        "0.20, 0.18, 0.16", "Gopher repetition: letters in the most common phrase of 2, 3, 4 words", advanced=True
    )
    repeated_phrases: str = option(
        "0.15, 0.14, 0.13, 0.12, 0.11, 0.10",
        "Gopher repetition: letters in repeated phrases of 5 to 10 words",
        advanced=True,
    )
    phone_region: str = option(
        "US", "region of phone numbers without a country code; empty: only numbers with +…", advanced=True
    )
    passage_words: int = option(
        13, "evaluation texts: words in a shared passage (GPT-3: 13)", low=3, high=100, advanced=True
    )
    near_threshold: float = option(0.8, "near duplicates: Jaccard similarity", low=0.3, high=1, advanced=True)
    near_words: int = option(5, "near duplicates: words in a shingle", low=1, high=20, advanced=True)
    near_permutations: int = option(128, "near duplicates: hashes in a signature", low=16, high=1024, advanced=True)
    longest_document: int = option(
        100_000,
        "maximum characters; longer documents are split at the end of a line",
        low=1000,
        high=10**7,
        advanced=True,
    )
    shard_mb: int = option(64, "size of one file of the corpus", low=1, high=4096, advanced=True)
    checkpoint_every: int = option(2000, "documents read between checkpoints", low=1, high=10**7, advanced=True)

    def cross_check(self) -> dict[str, str]:
        errors: dict[str, str] = {}
        try:
            read_orders(self.sources)
        except BadSource as error:
            errors["sources"] = str(error)
        if not [name for name in self.text_field.split(",") if name.strip()]:
            errors["text_field"] = "Enter the field with the text; it is usually called text."
        if self.min_words > self.max_words:
            errors["min_words"] = f"must not be above max_words, which is {self.max_words}."
        counts = {"word_length": 2, "repeated_lines": 4, "top_phrases": 3, "repeated_phrases": 6}
        for name, count in counts.items():
            if numbers(getattr(self, name), count) is None:
                errors[name] = f"must be {count} numbers separated by commas, not {getattr(self, name)!r}."
        if bad := [code for code in self.language_codes() if not (code.isalpha() and 2 <= len(code) <= 3)]:
            errors["languages"] = f"{bad[0]!r} is not a language code; use codes such as en, de, separated by commas."
        if self.phone_region and not (self.phone_region.isalpha() and len(self.phone_region) == 2):
            errors["phone_region"] = (
                f"must be the two letters of a country such as US, or empty, not {self.phone_region!r}."
            )
        return errors

    def language_codes(self) -> tuple[str, ...]:
        return tuple(code.strip().lower() for code in self.languages.split(",") if code.strip())


def numbers(text: str, count: int) -> tuple[float, ...] | None:
    """Return the numbers between the commas, or None when they are not `count` numbers from 0 up."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    return values if len(values) == count and all(value >= 0 for value in values) else None
