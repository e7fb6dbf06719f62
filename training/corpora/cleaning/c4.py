"""The heuristics of C4 (Raffel et al. 2020, 1910.10683, section 2.2), as its published pipeline has them.

Narrower than there: a line on JavaScript goes when it asks for it ("please enable JavaScript"), not whenever it names
it, which spoils texts about programming. Left out: the list of bad words, which drops harmless pages by the million
(Dodge et al. 2021, 2104.08758), and the removal of repeated three-sentence spans, which MinHash stands in for.
"""

from __future__ import annotations

import re

from training.corpora.cleaning.rules import Verdict

_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_SCRIPTS = ("enable", "disabled", "turn on", "turned off", "browser", "require", "need")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_ENDS = (".", "?", "!", '"', "”", "’", "'")
_FEWEST_WORDS, _FEWEST_SENTENCES, _LONGEST_WORD = 5, 3, 1000
_SENTENCE_END = re.compile(r"[.?!][\"”’')\]]*(?=\s|$)")


def boilerplate(text: str) -> Verdict:
    """Remove lines on cookies, policies and JavaScript; drop a page of lorem ipsum."""
    if "lorem ipsum" in text.casefold():
        return Verdict(text, "lorem ipsum")
    kept_text = "\n".join(line for line in text.split("\n") if not _is_boilerplate(line))
    return Verdict(kept_text) if kept_text.strip() else Verdict(kept_text, "only boilerplate")


def _is_boilerplate(line: str) -> bool:
    small = line.casefold()
    if "javascript" in small and any(word in small for word in _SCRIPTS):
        return True
    return any(words in small for words in _POLICIES)


def sentence_lines(text: str) -> Verdict:
    """Keep only lines that end as sentences do and have five words; at least three sentences; no citation marks.

    Citation marks go here and not with the boilerplate: in code, `r[2]` is none.
    """
    lines = (_CITATION.sub("", line) for line in text.split("\n"))
    kept_text = "\n".join(line for line in lines if _is_sentence_line(line.strip()))
    sentences = len(_SENTENCE_END.findall(kept_text))
    if sentences < _FEWEST_SENTENCES:
        return Verdict(
            kept_text, f"fewer than {_FEWEST_SENTENCES} sentences", f"{sentences} in lines that end like one"
        )
    return Verdict(kept_text)


def _is_sentence_line(line: str) -> bool:
    words = line.split()
    return (
        line.endswith(_ENDS)
        and not line.endswith("...")
        and len(words) >= _FEWEST_WORDS
        and max(map(len, words)) <= _LONGEST_WORD
    )


def code(text: str) -> Verdict:
    return Verdict(text, "a curly bracket") if "{" in text else Verdict(text)
