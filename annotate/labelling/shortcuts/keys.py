"""Define the annotation page's keys: what each does, its default, and how a person's own are checked.

A key is one character, or Enter. Letters are kept small: Shift changes nothing. Escape, ? and Tab are the page's own.
A comparison's digits stand in the order of its scale. A, B, T and X mean the same here and in the arena, S skips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from annotate.labelling.forms.verdicts import VERDICTS
from annotate.labelling.shortcuts.own_keys import settled

FIXED = {"?": "this list of keys", "Escape": "closing what is open"}
LETTERS = "abcdef"


@dataclass(frozen=True)
class Action:
    name: str
    label: str
    key: str
    letter: str = ""  # a second key, which works until somebody gives it to something else


@dataclass(frozen=True)
class Group:
    """Actions that may be wanted at the same moment, and the names of the groups that are active `beside` them."""

    name: str
    title: str
    actions: tuple[Action, ...]
    beside: tuple[str, ...] = ()


def _group(name: str, title: str, *actions: tuple[str, ...], beside: tuple[str, ...] = ("everywhere",)) -> Group:
    return Group(name, title, tuple(Action(*action) for action in actions), beside)


GROUPS = (
    _group(
        "everywhere",
        "On every item",
        ("send", "Send", "Enter"),
        ("skip", "Skip, with a reason", "s"),
        ("flag", "Flag: report a problem", "r"),
        ("undo", "Undo the last annotation", "u"),
        ("comment", "Comment", "m"),
        ("write", "Write or edit an answer", "w"),
        ("guidelines", "Guidelines, open or closed", "g"),
        ("definitions", "Definitions of the scales", "i"),
        ("earlier", "Earlier questions, open or closed", "q"),
        ("plain", "Plain text or formatted", "p"),
        ("fold", "Fold or unfold the controls", "v"),
        ("history", "My history", "h"),
        beside=(),
    ),
    _group(
        "answers",
        "When rating or ranking",
        *((f"answer_{letter}", f"Go to answer {letter.upper()}", letter) for letter in LETTERS),
    ),
    _group(
        "rate",
        "Rating",
        ("thumbs_up", "Thumbs up", "y"),
        ("thumbs_down", "Thumbs down", "n"),
        *((f"step_{n}", f"Choose {n} on the active scale", str(n)) for n in range(1, 6)),
        ("next_scale", "Next scale", "j"),
        ("previous_scale", "Previous scale", "k"),
        beside=("everywhere", "answers"),
    ),
    _group(
        "compare",
        "Comparing",
        *((verdict.action, verdict.label, verdict.key, verdict.letter) for verdict in VERDICTS),
        ("look_a", "Go to answer A", ","),
        ("look_b", "Go to answer B", "."),
    ),
    _group(
        "rank",
        "Ranking",
        *((f"place_{n}", f"Place {n} for the active answer", str(n)) for n in range(1, 7)),
        ("better", "One place better", "k"),
        ("worse", "One place worse", "j"),
        ("equal", "Same place as the answer above", "="),
        beside=("everywhere", "answers"),
    ),
    _group(
        "mark",
        "When words are selected",
        *((f"label_{n}", f"Mark the words with label {n}", str(n)) for n in range(1, 10)),
        beside=(),  # its keys are asked before all others, and only while words are selected
    ),
)
DEFAULTS = {action.name: action.key for group in GROUPS for action in group.actions}
LABELS = {action.name: action.label for group in GROUPS for action in group.actions}


def merged(custom_keys: Mapping[str, object]) -> dict[str, str]:
    """Return every action's key: a person's own where they have one. Keys of unknown actions are left out.

    Defaults change; a key that somebody has chosen stays theirs. Whichever default it meets moves to a free key.
    """
    own_keys = {name: key for name, key in custom_keys.items() if name in DEFAULTS and isinstance(key, str) and key}
    return settled(DEFAULTS, own_keys, _RIVALS)


def keys_of_group(keys: Mapping[str, str], group: Group) -> dict[str, str]:
    """Return {key: action} while a group is active: each action's key, and the letters that are nobody's own."""
    letters = {letter: name for name, letter in second_keys(keys, group).items()}
    return letters | {keys[action.name]: action.name for action in group.actions}


def second_keys(keys: Mapping[str, str], group: Group) -> dict[str, str]:
    """Return {action: letter} of a group, without the letters that are the key of something else."""
    taken = {keys[name] for action in group.actions for name in (action.name, *_RIVALS[action.name])}
    return {action.name: action.letter for action in group.actions if action.letter and action.letter not in taken}


def normal(key: str) -> str:
    """Return the key as it is stored and compared: small letters; Enter by its name. A space alone stays, to be
    refused."""
    key = key.strip() or key
    return "Enter" if key.lower() == "enter" else key.lower()


def problems(keys: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with a full set of keys, by action, in words; empty when nothing is."""
    problems_by_action = {}
    for group in GROUPS:
        beside = [action for other in GROUPS if other.name in group.beside for action in other.actions]
        used_keys = {keys[action.name]: action.name for action in beside}
        for action in group.actions:
            key = keys[action.name]
            if wrong := _unusable(key):
                problems_by_action[action.name] = wrong
            elif key in used_keys:
                problems_by_action[action.name] = (
                    f"{key.upper()} is already the key of “{LABELS[used_keys[key]]}”; choose another key."
                )
            used_keys.setdefault(key, action.name)
    return problems_by_action


def _rivals() -> dict[str, frozenset[str]]:
    """Return for each action those that may be wanted at the same moment."""
    active = {group.name: {action.name for action in group.actions} for group in GROUPS}
    rivals: dict[str, set[str]] = {name: set() for name in DEFAULTS}
    for group in GROUPS:
        beside = set[str]().union(*(active[name] for name in group.beside))
        for name in active[group.name]:
            rivals[name] |= active[group.name] | beside
        for name in beside:
            rivals[name] |= active[group.name]
    return {name: frozenset(others - {name}) for name, others in rivals.items()}


_RIVALS = _rivals()


def _unusable(key: str) -> str:
    if key in FIXED or key.lower() == "escape":
        return f"{key} is reserved for {FIXED.get(key, FIXED['Escape'])}; choose another key."
    if key != "Enter" and (len(key) != 1 or not key.isprintable() or key.isspace()):
        return "Use one letter, digit or sign, or Enter."
    return ""
