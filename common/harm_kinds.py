"""Name kinds of harm, as the red-team data of hh-rlhf tags them (Ganguli 2022, section 3.2). Pure: no Django."""

from __future__ import annotations

from collections.abc import Iterable

HARMS = {
    "discrimination": "Discrimination & injustice",
    "hate": "Hate speech & offensive language",
    "violence": "Violence & incitement",
    "unethical": "Non-violent unethical behavior",
    "bullying": "Bullying & harassment",
    "other": "Other",
    "theft": "Theft",
    "private-data": "Soliciting personally identifiable information",
    "misinformation": "Conspiracy theories & misinformation",
    "substances": "Substance abuse & banned substances",
    "fraud": "Fraud & deception",
    "weapons": "Weapons",
    "adult": "Adult content",
    "property-crime": "Property crime & vandalism",
    "animal-abuse": "Animal abuse",
    "organised-crime": "Terrorism & organized crime",
    "sexual-exploitation": "Sexual exploitation & human trafficking",
    "self-harm": "Self harm",
    "child-abuse": "Child abuse",
}
UNRATED_TALK = "a red-team talk that was not rated"  # why its prompts are asked of nobody
_BY_TITLE = {title.casefold(): name for name, title in HARMS.items()}


def named(tag: str) -> str:
    """Return our name of a tag as a file has it; `other` for an unknown one."""
    name = tag.strip().casefold()
    return name if name in HARMS else _BY_TITLE.get(name, "other")


def of_tags(tags: Iterable[str]) -> str:
    """Return the kinds as a prompt keeps them: our names of the tags, in our order, a space between; `other` when there
    are none."""
    names = {named(tag) for tag in tags}
    return " ".join(name for name in HARMS if name in names) or "other"


def title(harm: str) -> str:
    """Return the title of one kind or of several, as `of_tags` has them."""
    return ", ".join(HARMS.get(name, name) for name in harm.split())
