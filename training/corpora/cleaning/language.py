"""Find which language a text is in, by py3langid: naive Bayes over byte n-grams, 139 languages, all in the wheel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from common.texts import percent
from training.core.run_directory import RecipeFailure
from training.corpora.cleaning.rules import Verdict

_FEWEST_LETTERS = 100  # below, "hello world" is taken for Fula and verse for nothing sure
_LOOKED_AT = 2000


def in_languages(codes: Sequence[str], confidence: float) -> Callable[[str], Verdict]:
    """Make a rule that keeps a text when a wanted language is the most probable one, and at least as probable as
    `confidence`."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if unknown := sorted(set(codes) - set(identifier.labels)):
        known_codes = ", ".join(sorted(identifier.labels))
        raise RecipeFailure("bad_config", f"languages: {unknown[0]} cannot be detected.", f"Use {known_codes}.")

    def judge(text: str) -> Verdict:
        if sum(map(str.isalpha, text[:1000])) < _FEWEST_LETTERS:
            return Verdict(text)
        ranking = identifier.rank(text[:_LOOKED_AT])
        best, share = ranking[0]
        if best in codes and share >= confidence:
            return Verdict(text)
        reason = "uncertain language" if best in codes else "no language" if best == "zxx" else f"detected as {best}"
        return Verdict(text, reason, f"{best} at {percent(share)}")

    return judge
