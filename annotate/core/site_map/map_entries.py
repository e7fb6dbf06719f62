"""List the pages of a project in eight groups: the one place from which bar, second line and way back are made.

What a page asks of its reader is declared by its view (`annotate.core.rights`) and not repeated here. Pure data: no
Django.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """Hold a page of the map. `page` is the name of its address.

    Pages whose address begins as its own are below it; so are those named in `below`, and those whose address begins
    with one of `also`: inside the project, or with a slash in front, of the site. Addresses in `detours` are shown in
    place of the page, which leads to them: they get no way back to it. `audience` is who is shown the page in the
    bar, where that is fewer people than may open it. `switch` is the setting of a project that must be on. `guide` is
    a file of docs/guides without its ending.
    """

    words: str
    page: str
    below: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    detours: tuple[str, ...] = ()
    audience: str = ""
    switch: str = ""
    guide: str = ""


@dataclass(frozen=True)
class Group:
    words: str
    entries: tuple[Entry, ...]


GROUPS = (
    Group(
        "Overview",
        (
            Entry("Overview", "project", also=("join/",)),
            Entry("Start from my model", "first-model", guide="first-model"),
        ),
    ),
    Group(
        "Annotate",
        (
            Entry("Work", "annotate", detours=("reading/", "tutorial/"), guide="judging"),
            Entry("Arena", "arena", guide="arena-and-datasets"),
            Entry("Red team", "red-team", switch="asks_attacks", guide="red-team"),
            Entry("Attacks", "attacks", switch="asks_attacks", guide="red-team"),
            Entry("My history", "annotate-history", guide="judging"),
            Entry("My quality", "quality-mine", guide="fair-work"),
            Entry("My keys", "shortcuts", guide="judging"),
        ),
    ),
    Group(
        "Data",
        (
            Entry("All data", "data", audience="review", guide="arena-and-datasets"),
            Entry("Prompts", "prompts", audience="review", guide="arena-and-datasets"),
            Entry("Annotations", "votes", audience="review", guide="judging"),
            Entry("Datasets", "datasets", also=("/datasets/",), audience="research", guide="arena-and-datasets"),
            Entry("Add data", "add-data", also=("data/imports/", "data/upload/"), guide="import-export"),
            Entry("Export", "export", guide="import-export"),
            Entry("Instructions", "instruct", guide="instruction-tuning"),
            Entry("Corpora", "catalogue", audience="research", switch="from_scratch", guide="corpus-and-tokenizer"),
        ),
    ),
    Group(
        "Train",
        (
            Entry("Runs", "runs", also=("/runs/",), audience="research", guide="runs"),
            Entry("New run", "choose-kind", also=("runs/from-file/",), guide="runs"),
            Entry("Compare", "compare-runs", audience="research", guide="runs"),
            Entry("Disk", "disk", guide="runs"),
        ),
    ),
    Group(
        "Models",
        (
            Entry("Registry", "models", also=("/models/",), audience="research", guide="models"),
            Entry("Add a model", "new-model", guide="models"),
            Entry("Playground", "project-playground", below=("playground", "playground-keep"), guide="models"),
        ),
    ),
    Group(
        "Evaluate",
        (
            Entry("Leaderboard", "leaderboard", guide="ratings"),
            Entry("Benchmarks", "evaluations", audience="research", guide="evaluation"),
            Entry("Experiments", "experiments", audience="research", guide="experiments"),
            Entry("Rounds", "rounds", audience="research", guide="rounds"),
            Entry("Judge models", "judge-models", audience="review", guide="judge-models"),
            Entry("Promotion", "decisions", audience="research", guide="promotion"),
            Entry("Next questions", "ask-next", audience="research", guide="promotion"),
            Entry("Cost", "cost", audience="research", guide="promotion"),
        ),
    ),
    Group(
        "Team",
        (
            Entry("People", "people", also=("members/", "invite/", "invitations/"), guide="accounts"),
            Entry("Assigned work", "packages", guide="judging"),
            Entry("Quality", "quality", guide="quality"),
            Entry("Disagreements", "adjudicate", also=("send-back/", "prompts/"), guide="quality"),
            Entry("Reviews", "reviews", switch="review_percent", guide="quality"),
            Entry("Gold items and tutorial", "gold", guide="quality"),
            Entry("Held votes", "held-votes", guide="vote-defence"),
            Entry("Exclusions", "quality-exclusions", guide="quality"),
        ),
    ),
    Group(
        "Settings",
        (
            Entry("General", "project-settings", guide="accounts"),
            Entry("Guidelines", "guidelines", guide="judging"),
            Entry("Scales", "scales", guide="judging"),
            Entry("Webhooks", "webhooks", guide="webhooks"),
            Entry("Audit trail", "audit", guide="accounts"),
        ),
    ),
)

# What stands in the bar of visitors and annotators, in place of the groups: words, and the page of an entry.
SHORT_BAR = (
    ("Annotate", "annotate"),
    ("Arena", "arena"),
    ("Leaderboard", "leaderboard"),
    ("History", "annotate-history"),
)

# Pages of no project, by how their address begins: they have no groups in their bar.
OUTSIDE = (
    *("account/", "sign-in/", "sign-out/", "invitations/", "notices/", "projects/new/", "first-model/", "tour/"),
    *("sample/", "api/", "guides/"),
)
