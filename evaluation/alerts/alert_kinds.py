"""List the kinds of alerts: what each says, where it leads and who sees it. Pure: no Django.

`evaluation.alerts.causes` finds what there is of each kind, and `evaluation.alerts.alert_upkeep` opens and closes it.
docs/guides/alerts.md has the same list.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class AlertKind:
    """Hold a kind of alerts. `link` names the page it leads to, `right` what its readers may do in the project.

    Its causes are looked for every `every` seconds. People are told when a cause has lasted for `patience` seconds.
    """

    key: str
    sentence: str
    link: str
    right: str = "research"
    every: float = 15.0
    patience: float = 0.0


RUN_FAILED = AlertKind("run.failed", "A run failed.", "Run")
RUN_PAUSED = AlertKind("run.paused", "A run is paused and waits for a decision.", "Run")
RUN_WAITS = AlertKind("run.waits", "Runs wait, and no worker is running.", "Runs", every=30.0, patience=10 * MINUTE)
QUEUE_IDLE = AlertKind(
    "queue.idle", "Prompts wait for annotation, and nobody has annotated for two days.", "Annotate", every=10 * MINUTE
)
ANNOTATOR_FLAGGED = AlertKind("annotator.flagged", "An annotator is flagged.", "Quality", every=HOUR)
VOTES_HELD = AlertKind(
    "votes.held", "Arena votes are held for review.", "Held votes", right="manage", every=5 * MINUTE, patience=HOUR
)
VOTES_MISSING = AlertKind(
    "votes.missing",
    "Rounds or an experiment wait for votes or comparisons that cannot come.",
    "Rounds or experiment",
    every=MINUTE,
    patience=10 * MINUTE,
)
WEBHOOK_OFF = AlertKind(
    "webhook.off",
    "A webhook was switched off because its address does not respond.",
    "Webhook",
    right="manage",
    every=30.0,
)
_ALL = (RUN_FAILED, RUN_PAUSED, RUN_WAITS, QUEUE_IDLE, ANNOTATOR_FLAGGED, VOTES_HELD, VOTES_MISSING, WEBHOOK_OFF)
KINDS = {kind.key: kind for kind in _ALL}
CHOICES = [(kind.key, kind.sentence) for kind in KINDS.values()]
