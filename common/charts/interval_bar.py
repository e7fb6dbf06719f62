"""A value with its interval in one row of a table: a bar and a dot over a thin floor."""

from __future__ import annotations

from common.charts.axes import Scale
from common.charts.scene import Dot, Line, Mark, Scene

HEIGHT = 14


def interval_bar(
    x: Scale, value: float, lower: float, upper: float, *,
    width: int, pad: float, title: str = "", reference: float | None = None, is_bold: bool = False,
) -> Scene:  # fmt: skip
    """Return the picture; `x` gives places from `pad` to `width` - `pad`. `reference` is what the value is set against.

    Without a title it is hidden from who cannot see it: the words beside it say the same.
    """
    middle = HEIGHT / 2
    marks: list[Mark] = [Line(((pad, middle), (width - pad, middle)))]
    if reference is not None:
        marks.append(Line(((x(reference), 1), (x(reference), HEIGHT - 1)), "soft", 1.5 if is_bold else 1.0))
    marks.append(Line(((x(lower), middle), (x(upper), middle)), "accent", 3.0 if is_bold else 2.0))
    marks.append(Dot((x(value), middle), radius=3.5 if is_bold else 3.0))
    return Scene(width, HEIGHT, title, marks)
