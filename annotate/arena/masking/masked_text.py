"""A model that names itself in the arena: which characters of its answer tell who it is, and what is shown instead.

An answer that is still being written holds its last characters back, so that a name that is split over pieces, or
whose telling words come after it, never shows. What has been shown stays: more text changes no decision about it.
Pure: no Django. The patterns are in `annotate.arena.masking.self_naming`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import lru_cache

from annotate.arena.masking.look_alikes import Folded, fold
from annotate.arena.masking.naming_rules import LOOK_ON, SKELETON, MaskingContext, Rule, Rules, rules_for

HIDDEN = "(name hidden)"
SHORTEST_CODE = 6
LONGEST = 120  # characters of a name with its letters spaced out
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_OPEN_ENTITY = re.compile(r"(?:&[#\w]{0,12}|</?\w{0,10})$")
_CODE = re.compile(r"(?<![\w+/-])[A-Za-z0-9+/_-]+={0,2}(?![\w+/=-])")  # what may be base64
_OPEN_CODE = re.compile(r"(?<![\w+/-])[A-Za-z0-9+/_-]+={0,2}$")


def names_itself(text: str, masking: MaskingContext) -> bool:
    """Return whether the text names its model, also by a name that the visitor has typed: it stays in sight, and a vote
    on it is to be looked at."""
    folded = fold(text)
    rules = rules_for(masking, True)
    return bool(_identifying(folded, _matches(folded, rules)) or _coded(text, rules))


def shown(text: str, masking: MaskingContext, *, is_whole: bool) -> str:
    """Return `text` as a voter may see it. Of an answer that goes on, as much as can be decided now."""
    return _mask_whole(text, masking) if is_whole else _shown(text, masking, is_whole=False)


@lru_cache(maxsize=64)
def _mask_whole(text: str, masking: MaskingContext) -> str:
    """Mask a whole answer, once for all who look at it."""
    return _shown(text, masking, is_whole=True)


def _shown(text: str, masking: MaskingContext, *, is_whole: bool) -> str:
    if not is_whole and (entity := _OPEN_ENTITY.search(text)):
        text = text[: entity.start()]
    folded, rules = fold(text), rules_for(masking, False)
    matches = _matches(folded, rules)
    end = len(text) if is_whole else _safe_end(text, folded, rules, matches)
    parts, at = [], 0
    for start, stop in _joined([*_identifying(folded, matches), *_coded(text, rules)]):
        if stop > end:
            end = min(start, end)
            break
        parts += [text[at:start], HIDDEN]
        at = stop
    return "".join([*parts, text[at:end]])


def spans(text: str, masking: MaskingContext) -> list[tuple[int, int]]:
    """Return where the names stand, from first to last, apart from each other."""
    folded, rules = fold(text), rules_for(masking, False)
    return _joined([*_identifying(folded, _matches(folded, rules)), *_coded(text, rules)])


def _matches(folded: Folded, rules: Rules) -> list[tuple[Rule, re.Match[str]]]:
    """Return every name, whether it tells or not."""
    return [(rule, match) for rule in rules.rules for match in rule.names.finditer(folded.latin)]


def _identifying(folded: Folded, matches: list[tuple[Rule, re.Match[str]]]) -> list[tuple[int, int]]:
    identifying = [match.span() for rule, match in matches if rule.identifies(folded, match)]
    # Whoever has named itself goes on to its version and its maker: after that no name at all is shown.
    since = min((start for start, _ in identifying), default=len(folded.latin))
    further = [match.span() for rule, match in matches if rule.kind != "ambiguous" and not rule.is_typed]
    identifying += [span for span in further if span[0] > since]
    return _joined((folded.starts[start], folded.ends[end - 1]) for start, end in identifying)


def _safe_end(text: str, folded: Folded, rules: Rules, matches: list[tuple[Rule, re.Match[str]]]) -> int:
    """Return how far the text may be shown: before any name that what follows may make telling, and before anything
    that may become a name."""
    full_length = len(folded.latin)
    ends = [match.start() for _, match in matches if match.end() > full_length - LOOK_ON]
    for start in range(max(0, full_length - LONGEST), full_length):
        begins = start == 0 or folded.latin[start - 1] not in _WORD or folded.latin[start] not in _WORD
        if begins and folded.latin[start:].translate(SKELETON) in rules.beginnings:
            ends.append(start)
            break
    end = folded.starts[min(ends)] if ends and min(ends) < full_length else len(text)
    code = _OPEN_CODE.search(text)
    return min(end, code.start()) if code and _decoded(code[0]) is not None else end


def _coded(text: str, rules: Rules) -> list[tuple[int, int]]:
    """Return where a name stands in base64: nobody writes one so by chance."""
    names = [rule.names for rule in rules.rules if rule.kind != "ambiguous" and not rule.is_typed]
    codes = ((match, _decoded(match[0])) for match in _CODE.finditer(text) if len(match[0]) >= SHORTEST_CODE)
    return [
        match.span() for match, decoded in codes if decoded and any(name.search(fold(decoded).latin) for name in names)
    ]


def _decoded(code: str) -> str | None:
    """Return what it may be base64 of, as far as it goes; None when that is no text, as of nearly all words."""
    code = code.rstrip("=").replace("-", "+").replace("_", "/")
    plain = base64.b64decode(code + "A" * (-len(code) % 4))[: len(code) * 3 // 4]
    return plain.decode() if plain.isascii() and plain.decode().isprintable() else None


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
