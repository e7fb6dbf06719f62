"""Pictures of ratings: what they show, that the page's and the PNG's are one, and that bad numbers do no harm."""

from __future__ import annotations

import io
import math
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.conf import settings
from PIL import Image

from common.charts.axes import number, ticks
from common.charts.interval_bar import interval_bar
from common.charts.rating_charts import Interval, Series, day_ticks, heat_map, interval_chart, line_chart
from common.charts.scene import LIGHT, Dot, Line, Scene, Text, png, svg


def _dots(scene: Scene) -> list[Dot]:
    return [mark for mark in scene.marks if isinstance(mark, Dot)]


def test_a_higher_rating_lies_further_right_and_its_interval_holds_it():
    scene = interval_chart([Interval("low", 950, 900, 1000), Interval("high", 1100, 1050, 1150)], "Ratings")
    low, high = _dots(scene)
    assert low.at[0] < high.at[0] and low.at[1] < high.at[1]
    bars = [m for m in scene.marks if isinstance(m, Line) and m.colour == "accent"]
    assert bars[0].points[0][0] < low.at[0] < bars[0].points[1][0]


def test_an_interval_without_an_end_reaches_the_edge():
    scene = interval_chart([Interval("open", 1000, -math.inf, math.inf), Interval("known", 1010, 1000, 1020)], "t")
    opened = next(m for m in scene.marks if isinstance(m, Line) and m.colour == "accent")
    assert opened.points[0][0] == 190 and opened.points[1][0] == 690


def test_the_heat_map_tells_who_won_by_colour_and_by_number():
    scene = heat_map(["a", "b"], [[None, 0.8], [0.2, None]], "Pairs")
    written = [m.text for m in scene.marks if isinstance(m, Text)]
    assert "80" in written and "20" in written and written.count("·") == 2
    assert {m.colour for m in scene.marks if hasattr(m, "opacity")} == {"accent", "b"}


def test_lines_end_with_their_names_apart_from_each_other():
    points = [(float(i), 1000.0, 990.0, 1010.0) for i in range(5)]
    scene = line_chart([Series("one", points), Series("two", points)], "t", "rating", [])
    places = [m.at[1] for m in scene.marks if isinstance(m, Text) and m.text in ("one", "two")]
    assert abs(places[0] - places[1]) >= 10


def test_labels_below_lines_do_not_touch_and_the_last_is_there():
    for count in (2, 12, 50):
        points = [(float(n), 0.0, -1.0, 1.0) for n in range(count + 1)]
        labels = [(point[0], f"round {point[0]:.0f}") for point in points]
        scene = line_chart([Series("rating", points)], "t", "points", labels)
        placed = [m for m in scene.marks if isinstance(m, Text) and m.text.startswith("round")]
        assert placed[-1].text == f"round {count}" and len(placed) >= 3
        assert all(b.at[0] - a.at[0] >= 6 * len(b.text) for a, b in pairwise(placed))


def test_a_chart_of_nothing_says_so():
    assert "Nothing to draw yet." in svg(line_chart([], "t", "rating", []))


def test_names_are_escaped():
    drawn = svg(interval_chart([Interval("<script>", 1, 0, 2)], 'say "this"'))
    assert "<script>" not in drawn and "&lt;script&gt;" in drawn and 'aria-label="say &quot;this&quot;"' in drawn


def test_the_png_shows_the_same_marks_in_the_light_colours():
    scene = Scene(40, 20, "t", [Dot((10, 10), "bad", 5), Line(((25, 10), (38, 10)), "good", 4)])
    image = Image.open(io.BytesIO(png(scene, scale=2)))
    assert image.size == (80, 40)
    assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((20, 20))) == LIGHT["bad"]
    assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((64, 20))) == LIGHT["good"]
    assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((0, 0))) == LIGHT["paper"]


def test_the_pngs_colours_are_those_of_the_page():
    light = (settings.BASE_DIR / "static" / "assay.css").read_text(encoding="utf-8").split("@media")[0]
    tokens = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    assert {name: tokens[name] for name in LIGHT if name != "paper"} == {k: v for k, v in LIGHT.items() if k != "paper"}


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (980, 1140), (0.001, 0.0042), (5, 5)])
def test_ticks_are_round_and_within(low, high):
    found = ticks(low, high)
    assert found and all(low - 1e-9 <= tick <= high + 1e-9 for tick in found) and len(found) <= 11


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.41, [0.2, 0.3, 0.4]), (0, 1e-13, 6)]
)
def test_about_so_many_ticks_lie_within(low, high, expected):
    found = ticks(low, high, about=5)
    assert len(found) == expected if isinstance(expected, int) else found == pytest.approx(expected)


def test_a_mark_may_be_pale_and_have_a_title():
    line = Line(((0, 0), (9, 9)), "a", opacity=0.3, title="<run>")
    drawn = svg(Scene(10, 10, "t", [line, Dot((5, 5), "a")]), "curves")
    assert drawn.startswith('<svg class="curves" width="10"')
    assert 'opacity="0.3"><title>&lt;run&gt;</title></polyline><circle' in drawn
    image = Image.open(io.BytesIO(png(Scene(20, 20, "t", [Line(((0, 10), (20, 10)), "a", 8, opacity=0.3)]), scale=1)))
    assert image.getpixel((10, 10))[0] == pytest.approx(255 - 0.3 * (255 - int(LIGHT["a"][1:3], 16)), abs=2)


def test_a_hollow_dot_has_a_rim_and_the_papers_colour_within():
    scene = Scene(40, 40, "", [Dot((20, 20), "bad", 10, is_hollow=True)])
    assert 'fill="var(--paper)" stroke="var(--bad)"' in svg(scene)
    image = Image.open(io.BytesIO(png(scene, scale=2)))
    assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((40, 40))) == LIGHT["paper"]
    assert image.getpixel((40, 21))[1] < 100, "the rim"


def test_a_picture_without_words_is_hidden_from_who_cannot_see_it():
    bar = interval_bar(lambda value: 100 * value, 0.5, 0.25, 0.75, width=100, pad=0, reference=0.1)
    assert svg(bar, "row").startswith('<svg class="row" width="100" viewBox="0 0 100 14" aria-hidden="true">')
    floor, beside, interval = (mark.points for mark in bar.marks if isinstance(mark, Line))
    assert (floor[1][0], beside[0][0], interval) == (100, 10, ((25, 7), (75, 7)))


def test_days_or_hours_label_the_axis():
    start = datetime(2026, 11, 2, tzinfo=UTC)
    assert day_ticks([start + timedelta(days=k) for k in range(6)])[0][1] == "2 Nov"
    assert day_ticks([start + timedelta(hours=k) for k in range(6)])[0][1] == "00:00"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1500.0, "1500"), (0.25, "0.25"), (-40, "−40"), (0.001, "0.001"), (0.00025, "2.5e−4"), (-1e-5, "−1e−5")],
)
def test_a_number_of_an_axis_fits_beside_it(value, text):
    assert number(value) == text
