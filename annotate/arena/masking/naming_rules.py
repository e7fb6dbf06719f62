"""The rules by which a text tells which model wrote it: its names, its maker, and sentences about itself. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from annotate.arena.masking import self_naming
from annotate.arena.masking.look_alikes import Folded, fold

LOOK_BACK = 140  # characters of a sentence before a name
LOOK_ON = 24  # and after it: the words that tell
_FLAGS = re.DOTALL
_LEET = {"a": "[a4@]", "e": "[e3]", "i": "[i1l!|]", "l": "[l1i|]", "o": "[o0]", "s": "[s5$]", "t": "[t7]"}
# Letters alone, those that digits stand for included: what "C-1-a" and "Cl4" have in common with "Claude".
SKELETON = {
    **{c: None for c in map(ord, " \t\n._·|/-,;:'\"()[]{}<>#+=&%^?")},
    **str.maketrans("4@3105$7!i", "aaelosstll"),
}


@dataclass(frozen=True)
class MaskingContext:
    """Hold what must not be read in an answer (`names`, as the models are registered), and what the visitor has
    said."""

    names: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True)
class Rule:
    """Hold names of one kind, and where they tell. `kind`: anywhere, family, wordlike, ambiguous or maker."""

    kind: str
    names: re.Pattern[str]
    asks_who: bool
    is_typed: bool = False  # by the visitor: such a name tells only of whoever gives it as its own

    def identifies(self, folded: Folded, match: re.Match[str]) -> bool:
        if self.kind == "anywhere" or (self.asks_who and self.kind != "ambiguous"):
            return True
        start, end = match.span()
        low = max(0, start - LOOK_BACK)
        before, before_plain = folded.latin[low:start], folded.plain[low:start]
        after, after_plain = folded.latin[end : end + LOOK_ON], folded.plain[end : end + LOOK_ON]
        if self.kind == "maker":
            return _is_maker(before, before_plain, after, after_plain)
        at_end = end + LOOK_ON >= len(folded.latin)
        if not _is_self(before, before_plain, after, after_plain, at_start=low == 0, at_end=at_end):
            return False
        if self.kind == "wordlike" and re.search(r"\b(?:an?|the)\s*$", before):
            is_model = re.match(rf"[\s-]*(?:{self_naming.MODEL_WORDS}|\d)", after)
            return bool(is_model) or any(c.isdigit() for c in match[0])
        if self.kind == "ambiguous":
            about = _sentence(before)[-80:] + " " + after
            return bool(_model_words().search(about)) or any(c.isdigit() for c in match[0])
        return True


@dataclass(frozen=True)
class Rules:
    """Hold what is looked for in one battle; `beginnings` are those of all its names, letters alone."""

    rules: tuple[Rule, ...]
    beginnings: frozenset[str]


def _is_self(before: str, before_plain: str, after: str, after_plain: str, *, at_start: bool, at_end: bool) -> bool:
    sentence = _sentence(before)
    if any(p.search(sentence) for p in _compiled(self_naming.BEFORE_LATIN + self_naming.MADE_BY)):
        return True
    if _is_self_elsewhere(_sentence(before_plain), after_plain):
        return True
    if any(p.match(after) for p in _compiled(self_naming.AFTER)):
        return True
    if _one(self_naming.AS_BEFORE).search(sentence) and _one(self_naming.AS_AFTER).match(after):
        return True
    if at_start and not before.strip(" \n\t[<(\"'#-") and re.match(r"[\s\])>]*[:：>]", after):
        return True
    if at_start and before.strip() in ("[", "(") and re.match(r"\s*[\])]", after):
        return True
    return at_end and not re.search(r"\w", after) and bool(_one(self_naming.SIGNED).search(before))


def _is_self_elsewhere(sentence: str, after: str) -> bool:
    """Return whether a sentence in a script of its own names itself."""
    return any(_one(b).search(sentence) and _one(a).match(after) for b, a in self_naming.BEFORE_OTHER)


def _is_maker(before: str, before_plain: str, after: str, after_plain: str) -> bool:
    sentence = _sentence(before)
    if any(p.search(sentence) for p in _compiled(self_naming.MADE_BY)):
        return True
    if _is_self_elsewhere(_sentence(before_plain), after_plain):
        return True
    if any(p.search(sentence) for p in _compiled(self_naming.BEFORE_LATIN)):
        return bool(re.search(r"\b(?:by|from|at|of|von|par|por|de|da|di|pel[oa])(?:\s\w+){0,2}\s*$", sentence)) or (
            after.startswith(("'s", "’s"))
        )
    if _one(self_naming.MADE_ME).match(after):
        return True
    return bool(re.match(r"\s*(?:is|are)\s+my\s+(?:creator|developer|maker|parent)", after))


def _sentence(before: str) -> str:
    """Return what of it belongs to the same sentence; a point within a number ends none."""
    cut = 0
    for match in re.finditer(r"[.!?。！？](?=\s|$)|\n\s*\n", before):
        cut = match.end()
    return before[cut:]


@lru_cache(maxsize=256)
def rules_for(masking: MaskingContext, strict: bool) -> Rules:
    """Return the rules for these names. Whoever names a model or its maker may read about it. Whoever names several
    models may be asking which of them this is, so that none of them may be given by a model as its own; `strict`:
    neither may one."""
    question = fold(masking.question)
    asks_who = bool(
        _one(self_naming.ASKS_WHO_LATIN).search(question.latin)
        or _one(self_naming.ASKS_WHO_OTHER).search(question.plain)
    )
    distinctive, plain = _own_names(masking.names)
    kinds = {
        "anywhere": distinctive,
        "family": self_naming.FAMILIES,
        "wordlike": (*self_naming.WORDLIKE, *plain),
        "ambiguous": self_naming.AMBIGUOUS,
        "maker": self_naming.MAKERS,
    }
    typed = set() if asks_who else {n for names in kinds.values() for n in names if _pattern(n).search(question.latin)}
    is_choice = strict or len(_without_contained(typed - set(self_naming.MAKERS))) > 1
    rules: list[Rule] = []
    forbidden: list[str] = []
    for kind, names in kinds.items():
        free = tuple(name for name in names if name not in typed)
        if free:
            rules.append(Rule(kind, _any_of(free, kind != "maker" and kind != "anywhere"), asks_who))
        typed_names = tuple(name for name in names if name in typed) if is_choice else ()
        if typed_names:
            as_own = "family" if kind == "anywhere" else kind
            rules.append(Rule(as_own, _any_of(typed_names, kind != "maker"), asks_who, is_typed=True))
        forbidden += free + typed_names
    return Rules(tuple(rules), _beginnings(tuple(forbidden)))


@lru_cache(maxsize=32)  # hundreds of kept rules share one: nearly all questions type no name
def _beginnings(names: tuple[str, ...]) -> frozenset[str]:
    skeletons = (fold(name).latin.translate(SKELETON) for name in names)
    return frozenset(skeleton[:n] for skeleton in skeletons for n in range(1, len(skeleton) + 1))


def _without_contained(names: set[str]) -> set[str]:
    """Return the names without those that are part of another one: SmolLM2 and SmolLM2-135M-instruct are one model."""
    plain = {fold(name).latin.translate(SKELETON) for name in names}
    return {one for one in plain if not any(one != other and one in other for other in plain)}


def _own_names(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names that are nothing but a name, and those that may be a word."""
    distinctive: dict[str, None] = {}
    plain: dict[str, None] = {}
    for name in names:
        parts = [part for part in re.split(r"[\s/_.-]+", name) if part]
        for candidate in (name, parts[0] if parts else ""):
            letters = re.sub(r"[\W_]", "", candidate)
            if len(letters) < 3 or letters.isdigit() or letters.casefold() in self_naming.GENERIC:
                continue
            is_camel = bool(re.search(r"[a-z][A-Z]", candidate))
            has_number = any(c.isdigit() for c in letters) and len(letters) >= 4
            (distinctive if is_camel or has_number else plain)[candidate] = None
    return tuple(distinctive), tuple(plain)


@cache
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(p, _FLAGS) for p in patterns)


def _one(pattern: str) -> re.Pattern[str]:
    return _compiled((pattern,))[0]


def _model_words() -> re.Pattern[str]:
    return _one(self_naming.MODEL_WORDS)


@lru_cache(maxsize=512)
def _any_of(names: tuple[str, ...], with_version: bool) -> re.Pattern[str]:
    ordered = sorted(names, key=len, reverse=True)
    spaced = "|".join(_source(name) for name in ordered if not _is_cjk(name))
    unspaced = "|".join(_source(name) for name in ordered if _is_cjk(name))
    version = self_naming.VERSION if with_version else ""
    bounded = rf"(?<![a-z0-9])(?:{spaced}){version}(?![a-z])(?!-[a-z]{{3}})" if spaced else ""
    return re.compile("|".join(filter(None, (bounded, unspaced))), _FLAGS)


def _is_cjk(name: str) -> bool:
    return any("\u3040" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for c in name)


@lru_cache(maxsize=1024)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(_source(name) if _is_cjk(name) else rf"(?<![a-z0-9])(?:{_source(name)})(?![a-z])", _FLAGS)


@lru_cache(maxsize=2048)
def _source(name: str) -> str:
    """Return the name with its own gaps in any spelling, letters that digits stand for, or all its letters spaced
    out."""
    folded = fold(name).latin
    parts = [part for part in re.split(r"[\W_]+", folded) if part]
    if _is_cjk(name):
        return r"\s?".join(map(re.escape, folded))
    tight = r"[\W_]{0,3}".join("".join(_LEET.get(c, re.escape(c)) for c in part) for part in parts)
    letters = [_LEET.get(c, re.escape(c)) for part in parts for c in part]
    spaced = r"[\s._·|/-]{1,3}".join(letters)
    return f"{tight}|{spaced}" if len(letters) > 2 else tight
