"""Draw score, KL, and win rates expected and observed, over the steps of one run: small pictures with one axis of
steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.charts.axes import level_lines, number, scale, ticks
from common.charts.scene import Dot, Line, Mark, Scene, Svg, Text, svg
from evaluation.metrics.over_optimisation import Bin, Verdict
from evaluation.metrics.win_rates import WinRate

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 34
ARENA = 56  # to the right of the last step, for what the arena said
SIZE = 13
COLOURS = {"person": "b", "simulation": "a"}


@dataclass(frozen=True)
class Curve:
    """Hold what the run measured: (step, value), step by step or evenly thinned."""

    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Judges:
    """All that one kind of judge said: along the steps, and in the arena at the end."""

    judge: str
    group: str
    bins: list[Bin]
    verdict: Verdict
    sentences: list[str]
    arena: WinRate | None


@dataclass(frozen=True)
class Picture:
    name: str
    scene: Scene
    keys: list[tuple[str, str]]  # (colour, meaning)

    @property
    def svg(self) -> Svg:
        return svg(self.scene)


def pictures(curves: Sequence[Curve], sides: Sequence[Judges], reward: str) -> list[Picture]:
    steps = [x for curve in curves for x, _ in curve.points] + [b.step for side in sides for b in side.bins]
    if not steps:
        return []
    reach = (min(steps), max(steps))
    pictures_ = [_curve(curve, reach) for curve in curves if len(curve.points) > 1]
    if any(side.bins or side.arena for side in sides):
        pictures_.insert(0, _rates(sides, reach, reward))
    return pictures_


def _curve(curve: Curve, reach: tuple[float, float]) -> Picture:
    values = [value for _, value in curve.points]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.5
    x, y = scale(*reach, LEFT, WIDTH - RIGHT), scale(low - pad, high + pad, HEIGHT - BOTTOM, TOP)
    marks = _grid([(y(t), number(t)) for t in ticks(low - pad, high + pad)])
    marks += _steps(reach, x)
    marks.append(Line(tuple((x(step), y(value)) for step, value in curve.points), "accent", 2.0))
    title = f"{curve.name.capitalize()} by step: from {values[0]:.3g} to {values[-1]:.3g}"
    return Picture(curve.name, Scene(WIDTH, HEIGHT, title, marks), [("accent", curve.name)])


def _rates(sides: Sequence[Judges], reach: tuple[float, float], reward: str) -> Picture:
    """Return the picture of win rates: dots with intervals are what annotators said, bin by bin; the line is what the
    reward model expected of the same pairs. Right of the steps is the arena."""
    has_arena = any(side.arena for side in sides)
    right = WIDTH - RIGHT - (ARENA if has_arena else 0)
    x, y = scale(*reach, LEFT, right - 6), scale(0, 1, HEIGHT - BOTTOM, TOP)
    marks = _grid([(y(s / 4), f"{25 * s} %") for s in range(5)])
    marks.append(Line(((LEFT, y(0.5)), (WIDTH - RIGHT, y(0.5))), "soft", 1.0, True))
    marks += _steps(reach, x)
    if has_arena:
        marks.append(Line(((right + 4, TOP), (right + 4, HEIGHT - BOTTOM))))
        marks.append(Text((right + ARENA / 2 + 4, HEIGHT - 14), "arena", "middle", size=SIZE))
    keys = []
    for index, side in enumerate(sides):
        colour, apart = COLOURS[side.judge], 5 * index
        expected = tuple((x(b.step), y(b.expected)) for b in side.bins)
        if len(expected) > 1:
            marks.append(Line(expected, "accent", 2.0, bool(index)))
        marks += [Dot(at, "accent", 3) for at in expected]
        for one in side.bins:
            marks += _interval(x(one.step) + apart, one.people, colour, y)
        if side.arena:
            marks += _interval(right + ARENA / 2 + 4 + 2 * apart, side.arena, colour, y)
        keys.append((colour, f"{side.group} prefer its answer to the parent’s, with 95 % interval"))
    if any(side.bins for side in sides):
        keys.insert(0, ("accent", f"{reward}'s expectation for the same pairs"))
    title = f"Win rate against the parent by step, expected by {reward} and observed; the table has the figures"
    return Picture("win rate against the parent", Scene(WIDTH, HEIGHT, title, marks), keys)


def _interval(x: float, rate: WinRate, colour: str, y) -> list[Mark]:
    return [Line(((x, y(rate.lower)), (x, y(rate.upper))), colour, 2.0), Dot((x, y(rate.value)), colour, 4.5)]


def _grid(levels: Sequence[tuple[float, str]]) -> list[Mark]:
    return level_lines(levels, LEFT, WIDTH - RIGHT, gap=7, size=SIZE)


def _steps(reach: tuple[float, float], x) -> list[Mark]:
    marks: list[Mark] = [
        Text((x(tick), HEIGHT - 14), number(tick), "middle", size=SIZE) for tick in ticks(*reach) if tick == int(tick)
    ]
    return [*marks, Text((LEFT - 7, HEIGHT - 14), "step", "end", size=SIZE)]


def sheet(pictures_: Sequence[Picture]) -> Scene:
    """Return all of them under one another with their names and keys, for a file."""
    marks: list[Mark] = []
    top = 8
    for picture in pictures_:
        marks.append(Text((8, top + 14), picture.name, colour="ink", size=SIZE))
        top += 22
        for colour, meaning in picture.keys if len(picture.keys) > 1 else []:
            marks += [Line(((8, top + 9), (24, top + 9)), colour, 3.0), Text((30, top + 13), meaning)]
            top += 18
        marks += [_moved(mark, top) for mark in picture.scene.marks]
        top += HEIGHT + 8
    return Scene(WIDTH, top, "Score and votes of people by step", marks)


def _moved(mark: Mark, down: float) -> Mark:
    if isinstance(mark, Dot | Text):
        return replace(mark, at=(mark.at[0], mark.at[1] + down))
    return replace(mark, points=tuple((x, y + down) for x, y in mark.points))
