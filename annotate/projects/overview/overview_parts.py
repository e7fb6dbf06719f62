"""Say what the page of a project is made of, and let the apps above add what they know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from annotate.core.hooks import Hook
from annotate.models import Project


@dataclass(frozen=True)
class Station:
    """Hold one station of the loop: how many there are now, a line on their state, and where they are shown.

    `state` is `live` where something is under way, `bad` where something failed or is missing, else empty.
    """

    name: str
    title: str
    count: int
    line: str
    address: str
    state: str = ""


@dataclass(frozen=True)
class Alert:
    """Hold something that runs, has failed or waits for somebody: a line, a link, and a state as a station has it.

    `right` is what its readers may do in the project.
    """

    words: str
    link: str
    address: str
    state: str = ""
    right: str = "research"


@dataclass(frozen=True)
class Event:
    """Hold something that happened; `link` is a part of what is shown, without an address it is plain text."""

    at: datetime
    words: str
    link: str = ""
    address: str = ""


@dataclass(frozen=True)
class Part:
    """Hold what one app knows of a project. Alerts and events are for those who research in it: for others they are
    not read, so that generators ask the database nothing."""

    stations: tuple[Station, ...] = ()
    alerts: Iterable[Alert] = ()
    events: Iterable[Event] = ()


OVERVIEW: Hook[Callable[[Project], Part]] = Hook(
    "overview",
    "Called with a project when its page is shown; returns stations of the loop, and what runs, failed, waits or "
    "happened, as far as the app knows it.",
)
