"""Describe a picture as marks in a plane, drawn once and shown twice: as SVG on a page, as PNG for a paper or a slide.

Colours are names of the tokens in assay.css: the SVG follows the reader's theme, the PNG has the light one on white.
"""

from __future__ import annotations

import html
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw, ImageFont

# assay.css and evaluation.css in the light theme: a PNG cannot ask its reader for one.
LIGHT = {
    "paper": "#ffffff", "ink": "#1d2125", "soft": "#5c6166", "rule": "#e3dfd6", "accent": "#0a6a5c", "a": "#2f56b0",
    "b": "#935412", "bad": "#a3272b", "good": "#2c6e31", "line-1": "#0072b2", "line-2": "#b85300", "line-3": "#00785a",
    "line-4": "#a8468a", "line-5": "#6e6a00", "line-6": "#2f8fb5", "line-7": "#b3202a", "line-8": "#4a4a4a",
}  # fmt: skip
LINE_COLOURS = 8
FONT_SIZE = 12
HOLLOW_WIDTH = 2.0  # of the rim of a dot that is not filled

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Draw a line through two points or more."""

    points: tuple[Point, ...]
    colour: str = "rule"
    width: float = 1.0
    is_dashed: bool = False
    opacity: float = 1.0
    title: str = ""  # shown by a browser where the pointer rests


@dataclass(frozen=True)
class Area:
    """A filled polygon: a band of uncertainty, a cell."""

    points: tuple[Point, ...]
    colour: str = "accent"
    opacity: float = 0.15


@dataclass(frozen=True)
class Dot:
    at: Point
    colour: str = "accent"
    radius: float = 4.0
    opacity: float = 1.0
    title: str = ""
    is_hollow: bool = False


@dataclass(frozen=True)
class Text:
    at: Point  # of the baseline
    text: str
    anchor: str = "start"  # start, middle or end
    colour: str = "soft"
    size: float = FONT_SIZE


class Svg(str):
    """Markup whose parts were escaped where they were made: Django's templates ask by `__html__` and escape no more."""

    def __html__(self) -> str:
        return self


Mark = Line | Area | Dot | Text


@dataclass(frozen=True)
class Scene:
    """Hold a picture's marks. `title` says the picture in words for who cannot see it, "" where words beside it do; the
    table has the numbers."""

    width: int
    height: int
    title: str
    marks: list[Mark] = field(default_factory=list)


def colour_of(index: int) -> str:
    """Return one of the lines' colours; past the eighth they repeat, and lines are to be dashed."""
    return f"line-{index % LINE_COLOURS + 1}"


def box(x: float, y: float, width: float, height: float) -> tuple[Point, ...]:
    return ((x, y), (x + width, y), (x + width, y + height), (x, y + height))


def svg(scene: Scene, style: str = "scene") -> Svg:
    """Return the picture as an <svg>; `style` is its class, by which a style sheet may give it a width."""
    is_named = _markup('role="img" aria-label="{}"', scene.title) if scene.title else Svg('aria-hidden="true"')
    return _markup(
        '<svg class="{}" width="{}" viewBox="0 0 {} {}" {}>{}</svg>',
        style,
        scene.width,
        scene.width,
        scene.height,
        is_named,
        Svg("".join(_as_svg(mark) for mark in scene.marks)),  # each part is escaped where it is made
    )


def _as_svg(mark: Mark) -> Svg:
    if isinstance(mark, Line):
        dash = Svg(' stroke-dasharray="6 4"') if mark.is_dashed else ""
        return _markup(
            '<polyline points="{}" fill="none" stroke="var(--{})" stroke-width="{}" stroke-linejoin="round"{}{}{}',
            _points(mark.points), mark.colour, mark.width, dash, _faded(mark), _end("polyline", mark),
        )  # fmt: skip
    if isinstance(mark, Area):
        return _markup(
            '<polygon points="{}" fill="var(--{})" fill-opacity="{}"/>', _points(mark.points), mark.colour, mark.opacity
        )
    if isinstance(mark, Dot):
        (x, y), r = mark.at, mark.radius
        return _markup(
            '<circle cx="{}" cy="{}" r="{}" {}{}{}',
            _short(x), _short(y), r, _fill(mark), _faded(mark), _end("circle", mark),
        )  # fmt: skip
    x, y = mark.at
    size = _markup(" font-size:{}px;", mark.size) if mark.size != FONT_SIZE else ""
    return _markup(
        '<text x="{}" y="{}" text-anchor="{}" style="fill:var(--{});{}">{}</text>',
        _short(x), _short(y), mark.anchor, mark.colour, size, mark.text,
    )  # fmt: skip


def _fill(mark: Dot) -> Svg:
    if mark.is_hollow:
        return _markup('fill="var(--paper)" stroke="var(--{})" stroke-width="{}"', mark.colour, HOLLOW_WIDTH)
    return _markup('fill="var(--{})"', mark.colour)


def _faded(mark: Line | Dot) -> Svg:
    return _markup(' opacity="{}"', mark.opacity) if mark.opacity < 1 else Svg("")


def _end(tag: str, mark: Line | Dot) -> Svg:
    return _markup("><title>{}</title></{}>", mark.title, tag) if mark.title else Svg("/>")


def _markup(form: str, *values: Any) -> Svg:
    """Return `form` with its values, each escaped unless it is markup already."""
    return Svg(form.format(*(value if isinstance(value, Svg) else html.escape(str(value)) for value in values)))


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_short(x)},{_short(y)}" for x, y in points)


def _short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def png(scene: Scene, scale: int = 2) -> bytes:
    """Return the same picture with `scale` pixels to a unit, drawn at twice that and made smaller: lines are smooth."""
    fine = 2 * scale
    image = Image.new("RGB", (scene.width * fine, scene.height * fine), LIGHT["paper"])
    for mark in scene.marks:
        if not isinstance(mark, Text):
            _draw(image, mark, fine)
    image = image.resize((scene.width * scale, scene.height * scale), Image.Resampling.LANCZOS)
    for mark in scene.marks:  # letters come after: made smaller they blur
        if isinstance(mark, Text):
            _write(image, mark, scale)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw(image: Image.Image, mark: Line | Area | Dot, scale: float) -> None:
    draw = ImageDraw.Draw(image, "RGBA")
    if isinstance(mark, Dot):
        (x, y), r = mark.at, mark.radius
        around = [(x - r) * scale, (y - r) * scale, (x + r) * scale, (y + r) * scale]
        if mark.is_hollow:
            draw.ellipse(around, LIGHT["paper"], _paint(mark), round(HOLLOW_WIDTH * scale))
        else:
            draw.ellipse(around, _paint(mark))
        return
    points = [(x * scale, y * scale) for x, y in mark.points]
    if isinstance(mark, Area):
        draw.polygon(points, fill=_paint(mark))
        return
    width = max(1, round(mark.width * scale))
    for start, end in itertools.pairwise(points):
        for piece in _dashes(start, end, 6 * scale, 4 * scale) if mark.is_dashed else [(start, end)]:
            draw.line(piece, fill=_paint(mark), width=width)


def _paint(mark: Line | Area | Dot) -> tuple[int, int, int, int]:
    red, green, blue = (int(LIGHT[mark.colour][i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, round(255 * mark.opacity)


def _dashes(start: Point, end: Point, on: float, gap: float) -> list[tuple[Point, Point]]:
    (x, y), (to_x, to_y) = start, end
    length = max(((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5, 1e-9)
    pieces, at = [], 0.0
    while at < length:
        till = min(at + on, length)
        pieces.append(tuple((x + (to_x - x) * part / length, y + (to_y - y) * part / length) for part in (at, till)))
        at = till + gap
    return pieces  # type: ignore[return-value]


def _write(image: Image.Image, mark: Text, scale: int) -> None:
    font = ImageFont.load_default(mark.size * scale)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
    at = (mark.at[0] * scale, mark.at[1] * scale)
    ImageDraw.Draw(image).text(at, mark.text, fill=LIGHT[mark.colour], font=font, anchor=anchor)
