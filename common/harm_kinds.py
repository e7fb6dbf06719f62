"""Kinds of harm, as the red-team data of hh-rlhf tags them (Ganguli 2022, section 3.2). Pure: no Django."""

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
    """Our name of a tag as a file has it; what is unknown keeps its own words, as a name."""
    known = tag.strip().casefold()
    return known if known in HARMS else _BY_TITLE.get(known, "other")


def of_tags(tags: Iterable[str]) -> str:
    """As a prompt keeps them: our names of the tags, in our order, a space between; `other` when there are none."""
    found = {named(tag) for tag in tags}
    return " ".join(name for name in HARMS if name in found) or "other"


def title(harm: str) -> str:
    """Of one kind or of several, as `of_tags` has them."""
    return ", ".join(HARMS.get(name, name) for name in harm.split())
