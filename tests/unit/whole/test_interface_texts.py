"""The list of interface texts: each sort is found, and words that our pages do not use stay away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.interface.found_text import SORTS, FoundText, subject_of
from tests.support.interface.listing import interface_texts
from tests.support.interface.python_texts import python_texts
from tests.support.interface.script_texts import script_texts
from tests.support.interface.template_texts import template_texts

# What pages, errors and API do not say, and what they say in its place: the field's terms, and words that a reader
# whose second language is English reads once.
INSTEAD = {
    r"judgements?": "annotation",
    r"set aside": "quarantined",
    r"mirrored": "repeat, swapped positions",
    r"clerk|chores?|housekeeping": "background worker, periodic tasks, cleanup",
    r"tether(ed)?": "parent watchdog",
    r"duels?|standings": "pair, leaderboard rows",
    r"spoil(t|ing)": "corrupted",
    r"foresees?|foretells?": "predict",
    r"whoever": "the person who, everybody who",
    r"anew": "again",
    r"borne|bears?": "has",
    r"likeliest|commonest": "most likely, most frequent",
    r"set against": "compared with",
    r"(is|are|was|were) told": "gets a notice, sees, is sent",
    r"stands? (already|beside|twice)": "exists, appears, is there twice",
    r"is meant": "use …",
    r"(?<!there )is no (?!longer)": "is not a …",
    r"by lot": "at random",
    r"in other hands": "somebody else has it",
    r"parted by": "separated by",
    r"what came of|what became of": "result, report",
    r"take it up again|taken up again": "open again, bring back",
    r"thing that is done|nothing that is done": "not an action",
}
ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "templates"
ALLOWED = (
    "evaluation/recipes/classification.py",  # names of metrics, which stored figures have
    "evaluation/recipes/reward_accuracy.py",
    "annotate/models/projects.py",  # a help text of a column changes with its migration
    "annotate/models/queue.py",
    "evaluation/models/__init__.py",
    "evaluation/models/alerts.py",
)


@pytest.fixture(scope="module")
def texts() -> list[FoundText]:
    return interface_texts()


@pytest.mark.parametrize(
    ("path", "sort", "text"),
    [
        ("templates/404.html", "text", "Page not found"),
        ("templates/annotate/labelling/gold.html", "attribute", "compare:12:15 or rate:12"),
        ("templates/training/runs/compare.html", "text", "Options that differ"),
        ("annotate/labelling/forms/validation.py", "error", "The answer is empty; write one, or leave the field out."),
        ("annotate/labelling/forms/needed_fields.py", "catalogue", "Give each answer a place, or skip the item."),
        ("annotate/labelling/pages/annotating.py", "message", "Your flag is taken back."),
        ("annotate/models/feedback.py", "model", "Both are bad"),
        ("annotate/models/arena.py", "form", "The prompt was drawn from the project, not asked."),
        ("annotate/core/site_map/map_entries.py", "catalogue", "Start from my model"),
        ("training/configs/ppo.py", "catalogue", "longest completion, in tokens"),
        ("static/annotate/arena/proof.js", "script", "One moment: your browser is solving a small puzzle."),
    ],
)
def test_the_list_holds_each_sort(texts, path, sort, text):
    assert sort in SORTS
    assert [(each.sort, each.text) for each in texts if each.path == path].count((sort, text)) >= 1


def test_every_line_says_subject_place_and_sort(texts):
    assert texts == sorted(texts) and len(texts) > 3000
    line = str(next(each for each in texts if each.text == "Page not found"))
    assert line == "site\ttemplates/404.html:4\ttext\tPage not found"


def test_words_of_before_stay_away(texts):
    found = [
        f"{each.path}:{each.line} says {match[0]!r}, in place of {instead!r}: {each.text}"
        for each in texts
        if each.path not in ALLOWED
        for word, instead in INSTEAD.items()
        if (match := re.search(rf"(?<![\w/.])({word})(?![\w/.]\w)", each.text, re.IGNORECASE))
    ]
    assert not found, "\n".join(found)


def test_a_time_of_day_says_its_zone():
    """`T` is the zone's name: readers live in many. A column may say it once, above."""
    shown = [
        (str(path.relative_to(TEMPLATES)), found, "UTC</th>" in text)
        for path in TEMPLATES.rglob("*.html")
        for text in [path.read_text(encoding="utf-8")]
        for found in re.findall(r'\|date:"([^"]*H:i[^"]*)"', text)
    ]
    assert len(shown) > 30
    assert [(path, found) for path, found, is_above in shown if not (found.endswith(" T") or is_above)] == []


def test_a_share_reads_alike_everywhere(texts):
    """`percent` writes 67 %: no text has its sign at the number, and no code formats a share by itself."""
    found = [f"{each.path}:{each.line}: {each.text}" for each in texts if re.search(r"[\d}…]%(?!\w)", each.text)]
    apps = [path for app in ("common", "annotate", "training", "evaluation") for path in (ROOT / app).rglob("*.py")]
    found += [str(path) for path in apps if re.search(r":[^{}:\"]*%\}", path.read_text(encoding="utf-8"))]
    assert len(apps) > 500 and not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("templates/annotate/labelling/item/bar.html", "annotate/labelling"),
        ("annotate/labelling/forms/spans.py", "annotate/labelling"),
        ("static/annotate/arena/arena.js", "annotate/arena"),
        ("training/run_kinds.py", "training"),
        ("templates/404.html", "site"),
    ],
)
def test_files_of_one_subject_stand_together(path, subject):
    assert subject_of(path) == subject


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<p>One <b>two</b> {{ three }}.</p>\n<p>Four</p>", [(1, "text", "One two {…}."), (2, "text", "Four")]),
        ("<p>\n  {% if a %}Yes{% else %}No{% endif %} more</p>", [(2, "text", "Yes No more")]),
        ('<input placeholder="{{ n }} words" value="x">', [(1, "attribute", "{…} words")]),
        ("{# a note #}<p>{% comment %}gone{% endcomment %}Here</p><script>var no = 1</script>", [(1, "text", "Here")]),
        ('{{ n|pluralize:"person,people" }}', [(1, "text", "person,people")]),
        ('{% include "x.html" with label="Two words" only %}', [(1, "text", "Two words")]),
        ("<p>{{ only }} – 12</p>", []),
    ],
)
def test_a_template_is_read_as_people_see_it(source, expected):
    assert list(template_texts(source)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""A docstring of words."""\nx = 1', []),
        ("raise Refused(name=f'Use {n} letters here.')", [(1, "error", "Use {…} letters here.")]),
        ("messages.success(request, 'It is saved now.')", [(1, "message", "It is saved now.")]),
        ("field = Char(help_text='Markdown.')", [(1, "form", "Markdown.")]),
        ("class Kind(models.TextChoices):\n    TIE = 'tie', 'About the same'", [(2, "model", "About the same")]),
        ("KINDS = {'a': 'Two words more'}", [(1, "catalogue", "Two words more")]),
        ("log.warning('not for people to read')\nassert x, 'nor is this one'", []),
    ],
)
def test_python_is_read_where_texts_stand(source, expected):
    assert [each for each in python_texts(source) if " " in each[2] or each[1] == "form"] == expected


def test_a_script_is_read_without_its_comments():
    source = "// a comment here\nsay(`Not sent: ${n} left.`, \"one\", '.a .b');"
    assert list(script_texts(source)) == [(2, "script", "Not sent: {…} left.")]
