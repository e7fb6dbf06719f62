"""What one press cannot take back asks first, and says what will follow: its button stands in one partial."""

from __future__ import annotations

import re

from django.conf import settings
from django.template.loader import render_to_string

TEMPLATES = settings.BASE_DIR / "templates"
ASKS = "annotate/core/sure.html"
_BUTTON = re.compile(r"<button\b(?:[^>{]|\{\{.*?\}\}|\{%.*?%\})*>(.*?)</button>", re.DOTALL)
_DESTROYS = re.compile(
    r"Cancel|Delete|Discard|Exclude|Prune|Remove|Reset|Retire|Return|Revoke|Withdraw|Create a new secret"
    r"|Take (?:it )?(?:back|out)"
)
_ASKED = re.compile(rf'{{% include "{ASKS}" with act=(?:"([^"]*)"|\S+)(.*?) only %}}')
# Why a button stands outside it.
ELSEWHERE = {
    ("evaluation/sample/remove.html", "Remove"): "the whole page asks",
    ("annotate/data/import.html", "Cancel"): "Go on takes it up where it was",
    ("annotate/data/dataset_freeze.html", "Cancel"): "nothing was made yet, and it is ordered again by one press",
    ("annotate/data/prompt.html", "Retire"): "says what follows, wants a reason, and is brought back by one press",
    ("annotate/labelling/item/bar.html", "Cancel <kbd>Esc</kbd>"): "ends an edit that was not saved",
    ("annotate/labelling/item/kept.html", "Discard it"): "is about a draft whose item is over",
    ("annotate/labelling/history.html", "Take it back"): "a flag is put again by one press",
    ("annotate/labelling/labelling_flagged.html", "Take it back"): "a flag is put again by one press",
}


def templates() -> list[tuple[str, str]]:
    return [(path.relative_to(TEMPLATES).as_posix(), path.read_text()) for path in TEMPLATES.rglob("*.html")]


def test_a_button_that_destroys_stands_where_it_asks_first():
    outside = {
        (name, " ".join(words.split()))
        for name, text in templates()
        for words in _BUTTON.findall(text)
        if _DESTROYS.match(words.strip())
    }
    assert outside == set(ELSEWHERE)


def test_each_says_what_will_follow_and_what_its_button_does():
    asked = [(name, act, rest) for name, text in templates() for act, rest in _ASKED.findall(text)]
    acts = {act for _, act, _ in asked}
    assert acts >= {"Cancel", "Remove", "Remove this webhook", "Revoke", "Retire", "Prune now"}
    for name, act, rest in asked:
        follows = re.search(r' follows="([^"]+)"', rest)
        assert follows and follows[1].endswith("."), (name, act)
        assert ' yes="' in rest, (name, act)


def test_the_button_comes_after_what_will_follow_and_is_shut_away_until_asked():
    html = render_to_string(ASKS, {"act": "Revoke", "about": "ci", "follows": "It ends.", "yes": "Revoke it"})
    assert '<details class="sure"><summary>Revoke<span class="visually-hidden"> ci</span></summary>' in html
    assert html.index("It ends.") < html.index("<button") and "comment" not in html
    named = {"name": "do", "value": "retire"}
    with_why = render_to_string(ASKS, {"act": "Retire", "asks_why": True, "why": "old", **named})
    assert 'name="reason" required' in with_why and 'value="old"' in with_why and 'name="do" value="retire"' in with_why
