"""Lay out the lineage of a model as a picture: where each box and each arrow lies. Drawn by
templates/evaluation/registry/graph.html.

Layers from left to right, so that each arrow leads to the right; arrows over several layers keep a lane free in those
between (Sugiyama, Tagawa and Toda 1981, without its second pass: lineages are small).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Q

from annotate.core.permissions import Person, models_seen, projects_where
from annotate.models import LanguageModel
from evaluation.registry.ancestry import RELATED, LineageEntry, ancestry, entry_of, totals
from training.models import Run

BOX_WIDTH, BOX_HEIGHT = 160, 74  # six layers, a tokenizer to a second PPO, fit beside each other on a laptop
ACROSS, DOWN, MARGIN = 200, 96, 12
MOST_DESCENDANTS = 24
NAME_LETTERS, LINE_LETTERS = 17, 23  # as many as fit at the sizes of models.css in a wide font, DejaVu Sans


@dataclass(frozen=True)
class Box:
    """One model in the picture. `lines` stand below its name: its stage, its data, its votes."""

    entry: LineageEntry
    x: int
    y: int
    is_current: bool
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return as much of the name as fits; the title has all of it."""
        return _short(self.entry.model.name, NAME_LETTERS)


@dataclass(frozen=True)
class Arrow:
    path: str
    is_reward: bool
    label: str


@dataclass(frozen=True)
class Graph:
    boxes: list[Box]
    arrows: list[Arrow]
    width: int
    height: int
    left_out: int  # descendants beyond those shown


@dataclass(frozen=True)
class Link:
    """A link from a model, by its key, to one that was made with it."""

    start: int
    end: int
    is_reward: bool


def of_model(model: LanguageModel, person: Person) -> Graph:
    """Return what went into it and what came of it, as far as this person may see."""
    readable = projects_where(person, "read")
    line = ancestry(model, readable)
    later, left_out = _descendants(model, person, set(readable.values_list("pk", flat=True)))
    every = {member.model.pk: member for member in (*line, *later)}
    links = [link for member in every.values() for link in _links(member) if link.start in every]
    return laid_out(every, links, current=model.pk, left_out=left_out)


def _links(entry: LineageEntry) -> Iterable[Link]:
    if entry.model.parent_id is not None:
        yield Link(entry.model.parent_id, entry.model.pk, is_reward=False)
    for rewarding in entry.reward_models:
        yield Link(rewarding.pk, entry.model.pk, is_reward=True)


def _descendants(model: LanguageModel, person: Person, readable: set[int]) -> tuple[list[LineageEntry], int]:
    """Return children and what was rewarded by it, then theirs, the nearest first; and how many more there are of the
    last."""
    visited, descendants = {model.pk}, list[LineageEntry]()
    layer = [model.pk]
    seeable = models_seen(person).select_related(*RELATED)
    while layer:
        makers = Run.objects.filter(Q(reward_model__in=layer) | Q(other_reward_models__in=layer)).values("pk")
        rewarded = Q(made_by__in=makers) | Q(kept_checkpoint__run__in=makers)
        children = seeable.filter(Q(parent__in=layer) | rewarded).distinct().order_by("pk")
        new = [child for child in children if child.pk not in visited]
        room = MOST_DESCENDANTS - len(descendants)
        descendants += [entry_of(child, readable) for child in new[:room]]
        visited |= {child.pk for child in new}
        if len(new) > room:
            return descendants, len(new) - room
        layer = [child.pk for child in new]
    return descendants, 0


def laid_out(every: dict[int, LineageEntry], links: Sequence[Link], *, current: int, left_out: int = 0) -> Graph:
    links = _without_circles(links)
    layers = _layers(every, links)
    positions = _places(every, links, layers, current)
    annotation_counts = totals(dataset for entry in every.values() for dataset in entry.datasets)
    boxes = [
        Box(entry, *_corner(positions[pk]), is_current=pk == current, lines=_lines(entry, annotation_counts))
        for pk, entry in every.items()
    ]
    arrows = [_arrow(link, layers, positions, every) for link in links]
    width = max(box.x for box in boxes) + BOX_WIDTH + MARGIN
    height = max(_corner(position)[1] for position in positions.values()) + BOX_HEIGHT + MARGIN
    return Graph(boxes, arrows, width, height, left_out)


def _without_circles(links: Sequence[Link]) -> list[Link]:
    """Return the links without those that lead back: no run makes them, but a hand at the database may."""
    forward_links: list[Link] = []
    for link in links:
        reached, ends = {link.end}, [link.end]
        while ends:
            ends = [other.end for other in forward_links if other.start in ends and other.end not in reached]
            reached.update(ends)
        if link.start not in reached:
            forward_links.append(link)
    return forward_links


def _layers(every: dict[int, LineageEntry], links: Sequence[Link]) -> dict[int, int]:
    """Return how many steps the longest way to each takes."""
    layers = dict.fromkeys(every, 0)
    for _ in every:
        for link in links:
            layers[link.end] = max(layers[link.end], layers[link.start] + 1)
    return layers


Key = int | tuple[int, int, int]  # a model, or a lane for an arrow: start, end, layer


def _places(
    every: dict[int, LineageEntry], links: Sequence[Link], layers: dict[int, int], current: int
) -> dict[Key, tuple[int, int]]:
    """Return (layer, row) of each model and of each lane: the way to the current model above, the rest as straight as
    may be.

    Layer by layer, each wants the row of what leads to it. Where several want one, arrows from a parent go straight
    on, then come the models, then the arrows of rewards.
    """
    main = _main_line(every, current)
    positions: dict[Key, tuple[int, int]] = {pk: (layers[pk], 0) for pk in main}
    lanes = [(link, layer) for link in links for layer in range(layers[link.start] + 1, layers[link.end])]
    for layer in range(max(layers.values()) + 1):
        wishes: list[tuple[bool, int, int, Key]] = []
        for link in (link for link, lane_layer in lanes if lane_layer == layer):
            is_main = link.start in main and link.end in main and not link.is_reward
            row = positions[_before(link, layer, layers)][1]
            wishes.append((not is_main, row, 2 if link.is_reward else 0, (link.start, link.end, layer)))
        for pk in (pk for pk in every if layers[pk] == layer and pk not in main):
            rows = [positions[_before(link, layer, layers)][1] for link in links if link.end == pk]
            wishes.append((True, min(rows, default=1), 1, pk))
        _put(wishes, layer, positions)
    return positions


def _before(link: Link, layer: int, layers: dict[int, int]) -> Key:
    """Return what an arrow comes from in the layer before this one: its lane there, or the model that it starts at."""
    return link.start if layer - 1 == layers[link.start] else (link.start, link.end, layer - 1)


def _put(wishes: list[tuple[bool, int, int, Key]], layer: int, positions: dict[Key, tuple[int, int]]) -> None:
    taken_rows = {row for at, row in positions.values() if at == layer}
    for _, row, _, key in sorted(wishes, key=lambda one: one[:3]):
        while row in taken_rows:
            row += 1
        taken_rows.add(row)
        positions[key] = (layer, row)


def _main_line(every: dict[int, LineageEntry], current: int) -> list[int]:
    line: list[int] = []
    at: int | None = current
    while at is not None and at in every and at not in line:
        line.append(at)
        at = every[at].model.parent_id
    return line


def _corner(position: tuple[int, int]) -> tuple[int, int]:
    return MARGIN + position[0] * ACROSS, MARGIN + position[1] * DOWN


def _arrow(
    link: Link, layers: dict[int, int], positions: dict[Key, tuple[int, int]], every: dict[int, LineageEntry]
) -> Arrow:
    """Return a curve from the right of one box to the left of another, along its lane through the layers between."""
    middle = BOX_HEIGHT // 2
    x, y = _corner(positions[link.start])
    path = f"M{x + BOX_WIDTH} {y + middle}"
    at = (x + BOX_WIDTH, y + middle)
    lanes: list[Key] = [(link.start, link.end, n) for n in range(layers[link.start] + 1, layers[link.end])]
    for key in [*lanes, link.end]:
        x, y = _corner(positions[key])
        half = (x - at[0]) // 2
        path += f" C{at[0] + half} {at[1]} {at[0] + half} {y + middle} {x} {y + middle}"
        at = (x, y + middle)
        if key != link.end:
            path += f" H{x + BOX_WIDTH}"
            at = (x + BOX_WIDTH, y + middle)
    start, end = every[link.start].model.name, every[link.end].model.name
    return Arrow(
        path,
        link.is_reward,
        f"{start} is the reward model of {end}" if link.is_reward else f"{start} is the parent of {end}",
    )


def _lines(entry: LineageEntry, annotation_counts: Counter[int]) -> tuple[str, ...]:
    """Return two short lines: the dataset, and the votes in it."""
    shorts = [_short(dataset.name, LINE_LETTERS) for dataset in entry.datasets[:1]]
    total = sum(annotation_counts[dataset.pk] for dataset in entry.datasets)
    if total:
        shorts.append(f"{total:,} annotation{'' if total == 1 else 's'}")
    return tuple(shorts)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
