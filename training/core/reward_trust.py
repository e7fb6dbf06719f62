"""Read what a reward model showed on held-out annotations, before a policy is trained against it. Pure.

A reward run writes the evidence into reward.json, beside the weights, so that a recipe knows it without the database.
PPO, GRPO and RLOO refuse a reward model that did not beat chance: standardised scores have the same spread whether they
mean anything or not. One that is older than the evidence goes on working, with a warning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]

OVERRULE = "trust_unproven_reward"  # the option of PPO, GRPO and RLOO
CODE = "reward_not_proven"
REMEDY = (
    "Annotate more answers, on more prompts, and train the reward model again; or set trust_unproven_reward to use it "
    "anyway."
)
_CHANCE = {"slope": 0.0, "pair_accuracy": 0.5, "thumbs_auc": 0.5, "stars_spearman": 0.0}
_NAMES = {
    "slope": "slope of all annotations",
    "pair_accuracy": "accuracy on pairs",
    "thumbs_auc": "AUC on thumbs",
    "stars_spearman": "rank correlation with stars",
}


@dataclass(frozen=True)
class Evidence:
    """Hold the held-out evidence for a reward model. `beats_chance` is None where nobody measured it. `figures`: by
    name value, lower, upper (95 %) and n."""

    beats_chance: bool | None = None
    figures: dict[str, Row] = field(default_factory=dict)

    @property
    def refuses(self) -> bool:
        return self.beats_chance is False

    @property
    def sentence(self) -> str:
        """Return what is known, with the figures."""
        if self.beats_chance is None:
            return "It was not measured whether this reward model is better than chance on held-out annotations."
        if not self.figures:
            return (
                "There are no annotations on this reward model's held-out prompts, so it was not compared with chance."
            )
        verb = "beats" if self.beats_chance else "does not beat"
        return f"On held-out annotations this reward model {verb} chance: {self._figures_text()}."

    def _figures_text(self) -> str:
        return "; ".join(
            f"{_NAMES[name]} {row['value']:.2f} [{row['lower']:.2f}, {row['upper']:.2f}] where chance is "
            f"{_CHANCE[name]:g}, n = {row['n']}"
            for name, row in self.figures.items()
        )


def of_row(row: Row | None) -> Evidence:
    """Return the evidence of a `held_out` row: `beats_chance`, and a figure or null by name. None and {} are
    unknown."""
    if not row or not isinstance(row.get("beats_chance"), bool):
        return Evidence()
    figures = {name: row[name] for name in _NAMES if isinstance(row.get(name), dict)}
    return Evidence(row["beats_chance"], figures)


def of_folder(folder: str | Path) -> Evidence:
    """Return the evidence of a reward model's folder: of reward.json, else of the result.json of the run that made
    it."""
    folder = Path(folder)
    facts, result = _read(folder / "reward.json"), _read(folder.parent / "result.json")
    if facts.get("held_out"):
        return of_row(facts["held_out"])
    if not facts or "beats_chance" not in result:
        return Evidence()
    return of_row({**(result.get("held_out") or {}), "beats_chance": result["beats_chance"]})


def as_row(evidence: Evidence, *, overruled: bool) -> Row:
    """Return the row for result.json of the run that followed it. `overruled`: somebody asked to use it all the
    same."""
    text = "unknown" if evidence.beats_chance is None else evidence.beats_chance
    return {"beats_chance": text, "overruled": overruled and evidence.refuses, "sentence": evidence.sentence}


def _read(path: Path) -> Row:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}
