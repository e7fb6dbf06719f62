"""The quality and repetition rules of Gopher (Rae et al. 2021, 2112.11446, appendix A.1.1 and table A1)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from common.texts import percent
from training.corpora.cleaning.rules import Verdict

_SMALL_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_BULLETS = ("•", "‣", "▶", "◀", "◦", "■", "□", "▪", "▫", "–", "-", "*")
_ELLIPSES = ("...", "…", "[…]")
_PARAGRAPHS = re.compile(r"\n{2,}")


@dataclass(frozen=True)
class Quality:
    min_words: int
    max_words: int
    word_length: tuple[float, ...]
    max_symbols: float
    max_bullets: float
    max_ellipses: float
    min_alphabetic: float
    min_small_words: int

    def judge(self, text: str) -> Verdict:
        words = text.split()
        for reason, is_bad, detail in self._tests(text, words):
            if is_bad:
                return Verdict(text, reason, detail)
        return Verdict(text)

    def _tests(self, text: str, words: list[str]) -> Iterator[tuple[str, bool, str]]:
        """Yield (reason, whether it holds, the figure), the cheapest first."""
        count = len(words)
        yield "too few words", count < self.min_words, f"{count} words"
        yield "too many words", count > self.max_words, f"{count} words"
        if not words:
            return
        mean = sum(map(len, words)) / count
        low, high = self.word_length
        yield "words too short or long", not low <= mean <= high, f"{mean:.1f} letters per word"
        symbols = max(text.count("#"), text.count("...") + text.count("…")) / count
        yield "too many symbols", symbols > self.max_symbols, f"{symbols:.2f} per word"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        bullets = sum(line.startswith(_BULLETS) for line in lines) / len(lines)
        yield "a list of bullets", bullets > self.max_bullets, f"{percent(bullets)} of the lines"
        cut = sum(line.endswith(_ELLIPSES) for line in lines) / len(lines)
        yield "lines cut off", cut > self.max_ellipses, f"{percent(cut)} end in an ellipsis"
        alphabetic = sum(any(map(str.isalpha, word)) for word in words) / count
        yield "words without letters", alphabetic < self.min_alphabetic, f"{percent(alphabetic)} have one"
        small = (
            len(_SMALL_WORDS & {word.casefold().strip(".,;:!?\"'()") for word in words}) if self.min_small_words else 0
        )
        yield "too few common words", small < self.min_small_words, f"{small} of the eight"


def repetition(repeated: Sequence[float], top: Sequence[float], phrases: Sequence[float]) -> Callable[[str], Verdict]:
    """Make the rule of repetition. `repeated`: lines, paragraphs, letters in either; `top`: phrases of 2 to 4 words;
    `phrases`: of 5 to 10."""

    def judge(text: str) -> Verdict:
        for name, share, bound in _shares(text, repeated, top, phrases):
            if share > bound:
                return Verdict(text, name, f"{percent(share)}, above {percent(bound)}")
        return Verdict(text)

    return judge


def _shares(
    text: str, repeated: Sequence[float], top: Sequence[float], phrases: Sequence[float]
) -> Iterator[tuple[str, float, float]]:
    """Yield (what is repeated, its share, the bound); a long phrase cannot be repeated where no shorter one is."""
    lines = [line for line in text.split("\n") if line.strip()]
    paragraphs = [part for part in _PARAGRAPHS.split(text.strip()) if part.strip()]
    for name, units, bounds in (("lines", lines, repeated[::2]), ("paragraphs", paragraphs, repeated[1::2])):
        count, letters = _repeated(units)
        yield f"repeated {name}", count / max(len(units), 1), bounds[0]
        yield f"letters in repeated {name}", letters / max(sum(map(len, units)), 1), bounds[1]
    words = text.split()
    letters_in_all = max(sum(map(len, words)), 1)
    for length, bound in enumerate(top, start=2):
        yield f"one repeated phrase of {length} words", _top_phrase(words, length) / letters_in_all, bound
    for length, bound in enumerate(phrases, start=5):
        share = _repeated_phrases(words, length) / letters_in_all
        if share == 0:
            return
        yield f"repeated phrases of {length} words", share, bound


def _repeated(units: list[str]) -> tuple[int, int]:
    """Return how many of these stand there a second time, and their letters."""
    units_so_far: set[str] = set()
    count = letters = 0
    for unit in units:
        if unit in units_so_far:
            count, letters = count + 1, letters + len(unit)
        units_so_far.add(unit)
    return count, letters


def _top_phrase(words: list[str], length: int) -> int:
    """Return the letters of the phrase that fills most of the text, for every time it stands there; 0 if only once."""
    counts = Counter(zip(*(words[start:] for start in range(length)), strict=False))
    return max((n * sum(map(len, phrase)) for phrase, n in counts.items() if n > 1), default=0)


def _repeated_phrases(words: list[str], length: int) -> int:
    """Return the letters of the text that lie in phrases which stood there before; none counted twice."""
    phrases_so_far: set[tuple[str, ...]] = set()
    letters = place = 0
    while place + length <= len(words):
        phrase = tuple(words[place : place + length])
        if phrase in phrases_so_far:
            letters += sum(map(len, phrase))
            place += length
        else:
            phrases_so_far.add(phrase)
            place += 1
    return letters
