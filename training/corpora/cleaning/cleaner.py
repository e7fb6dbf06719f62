"""The rules in their order, one document after the other: first what mends, then what annotators, then what
compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from common.passages import Passages
from training.configs import CorpusConfig
from training.configs.corpus import numbers
from training.corpora.cleaning import c4, contamination
from training.corpora.cleaning import text_repair as unicode
from training.corpora.cleaning.cleaning_report import Report
from training.corpora.cleaning.duplicates import Exact, Near
from training.corpora.cleaning.gopher import Quality, repetition
from training.corpora.cleaning.language import in_languages
from training.corpora.cleaning.ledger import Ledger
from training.corpora.cleaning.personal_data import replacing
from training.corpora.cleaning.rules import Rule, Verdict


def rules_of(config: CorpusConfig, ledger: Ledger, evaluation: Passages) -> list[Rule]:
    """Return the rules that are switched on. Duplicates come last: they remember only what every other rule has kept.

    Evaluation texts are looked for before private data is replaced, else a marker could hide a passage.
    """
    codes = config.language_codes()
    near_duplicates = Near(ledger, config.near_threshold, config.near_words, config.near_permutations)
    every = {
        "fix_unicode": lambda: Rule("fix_unicode", "Broken characters", unicode.mend),
        "c4_boilerplate": lambda: Rule("c4_boilerplate", "Boilerplate (C4)", c4.boilerplate),
        "c4_lines": lambda: Rule("c4_lines", "Lines that are not sentences (C4)", c4.sentence_lines),
        "c4_code": lambda: Rule("c4_code", "Curly brackets (C4)", c4.code),
        "languages": lambda: Rule("languages", "Other languages", in_languages(codes, config.language_confidence)),
        "gopher_quality": lambda: Rule("gopher_quality", "Quality (Gopher)", quality_of(config).judge),
        "gopher_repetition": lambda: Rule("gopher_repetition", "Repetition (Gopher)", _repetition_of(config)),
        "evaluation_texts": lambda: Rule(
            "evaluation_texts", "Evaluation texts", partial(contamination.judge, evaluation)
        ),
        "private_data": lambda: Rule("private_data", "Private data", replacing(config.phone_region.upper())),
        "exact_duplicates": lambda: Rule("exact_duplicates", "Equal documents", Exact(ledger).judge),
        "near_duplicates": lambda: Rule("near_duplicates", "Nearly equal documents (MinHash)", near_duplicates.judge),
    }
    return [make() for name, make in every.items() if (codes if name == "languages" else getattr(config, name))]


def quality_of(config: CorpusConfig) -> Quality:
    codes = config.language_codes()
    return Quality(
        min_words=config.min_words,
        max_words=config.max_words,
        word_length=numbers(config.word_length, 2) or (),
        max_symbols=config.max_symbols,
        max_bullets=config.max_bullets,
        max_ellipses=config.max_ellipses,
        min_alphabetic=config.min_alphabetic,
        min_small_words=config.min_small_words if not codes or codes == ("en",) else 0,  # they are English ones
    )


def _repetition_of(config: CorpusConfig) -> Callable[[str], Verdict]:
    return repetition(
        numbers(config.repeated_lines, 4) or (),
        numbers(config.top_phrases, 3) or (),
        numbers(config.repeated_phrases, 6) or (),
    )


def clean(text: str, source: str, rules: Sequence[Rule], report: Report) -> str | None:
    """Return the text as it goes into the corpus, or None; what each rule did to it is in the report."""
    for rule in rules:
        verdict = rule.judge(text)
        if verdict.drop_reason:
            report.removed(rule.name, source, verdict)
            return None
        if verdict.text != text:
            report.changed(rule.name, source, text, verdict.text)
            text = verdict.text
    return text
