"""Each judging form by keys alone, by touch on a phone, and read by axe-core, in a real browser."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.site.browser.judging import gone, left, open_form, press, ready, sent, shown, stored
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.sites.widths import assert_fits

pytestmark = pytest.mark.slow

FORMS = ["rate", "aspects", "compare", "rank", "turns", "spans", "write"]
# kay judges by keys, toni by touch, and axe-core reads what axel sees


def bar_is_in_view(page: Page) -> None:
    """Its send button, or what stands in its place, is on the screen, not below it, and the page is not too wide."""
    assert_fits(page)
    box = page.locator(".verdict").bounding_box()
    height = page.viewport_size["height"]
    assert box["y"] + box["height"] <= height + 1 and box["height"] < height * 0.6


# --- by keys alone ---


def test_stars_and_thumbs_by_keys(site, forms, visitor):
    open_form(visitor, site, "rate", "kay")
    press(visitor, "y", "4")
    rows = sent(site, visitor, lambda: press(visitor, "Enter"))
    assert (rows["rating"][0]["thumbs"], rows["rating"][0]["stars"]) == (1, 4)


@pytest.mark.thorough
def test_one_scale_alone_is_sent_by_its_key(site, forms, visitor):
    open_form(visitor, site, "single", "kay")
    expect(visitor.locator(".send")).not_to_be_visible()
    rows = sent(site, visitor, lambda: press(visitor, "4"))
    assert rows["rating"][0]["stars"] == 4
    assert sent(site, visitor, lambda: visitor.locator(".stars label").nth(1).click())["rating"][0]["stars"] == 2


def test_keys_stand_in_the_order_of_the_scale_and_letters_mean_what_they_mean_in_the_arena(site, forms, visitor):
    open_form(visitor, site, "compare", "kay")
    keys = [label.locator("kbd").all_inner_texts() for label in visitor.locator(".choices label").all()]
    assert keys == [["1"], ["2", "A"], ["3"], ["4", "T"], ["5"], ["6", "B"], ["7"], ["0", "X"]]
    for key, said in {"a": ("model_a", 2), "b": ("model_b", 2), "t": ("tie", None), "x": ("both_bad", None)}.items():
        (row,) = sent(site, visitor, lambda key=key: press(visitor, key))["comparison"]
        assert (row["winner"], row["strength"]) == said


def test_a_key_pressed_twice_or_held_says_nothing_of_the_next_item(site, forms, visitor):
    first = open_form(visitor, site, "compare", "kay")
    ready(visitor)
    visitor.keyboard.down("2")
    left(visitor, first)
    second = shown(visitor)
    visitor.keyboard.down("2")  # held: it repeats
    visitor.keyboard.up("2")
    visitor.keyboard.press("2")
    ready(visitor)
    visitor.keyboard.down("7")
    visitor.keyboard.up("7")
    gone(visitor, second)
    assert [row["winner"] for row in stored(site, second)["comparison"]] == ["model_b"]


def test_aspects_by_keys_go_from_scale_to_scale(site, forms, visitor):
    open_form(visitor, site, "aspects", "kay")
    expect(visitor.locator(".scale[data-current]")).to_have_attribute("data-steps", "stars")
    press(visitor, "5", "4", "3", "2")
    press(visitor, "k", "k")  # back to Honest
    expect(visitor.locator(".scale[data-current]")).to_have_attribute("data-steps", "aspect-honest")
    press(visitor, "1")
    rows = sent(site, visitor, lambda: press(visitor, "Enter"))
    assert rows["rating"][0]["stars"] == 5
    assert json.loads(rows["rating"][0]["aspects"]) == {"helpful": 4, "honest": 1, "harmless": 2}


def test_a_scale_that_is_needed_is_asked_for_and_nothing_is_lost(site, forms, visitor):
    open_form(visitor, site, "aspects", "kay")
    press(visitor, "5", "j", "3", "Enter")
    expect(visitor.get_by_role("alert").filter(visible=True).first).to_contain_text("elpful")
    expect(visitor.locator("input[name=stars][value='5']")).to_be_checked()
    expect(visitor.locator("input[name=aspect-honest][value='3']")).to_be_checked()


def test_definitions_open_by_a_key_and_by_tab(site, forms, visitor):
    open_form(visitor, site, "aspects", "kay")
    press(visitor, "i")
    expect(visitor.locator(".definition[open]")).to_contain_text("judge what it says, not how it sounds")
    press(visitor, "i")
    visitor.locator("input[name=aspect-honest]").last.focus()
    press(visitor, "Tab", "Enter")
    expect(visitor.locator(".definition[open]")).to_be_visible()


@pytest.mark.parametrize("form", ["compare", "turns"])
def test_comparing_by_keys(site, forms, visitor, form):
    open_form(visitor, site, form, "kay")
    expect(visitor.locator("#prompt")).to_be_in_viewport()
    rows = sent(site, visitor, lambda: press(visitor, "2"))
    assert (rows["comparison"][0]["winner"], rows["comparison"][0]["strength"]) == ("model_a", 2)


def test_earlier_turns_fold_and_unfold_by_a_key(site, forms, visitor):
    open_form(visitor, site, "turns", "kay")
    expect(visitor.locator(".turn")).to_have_count(5)
    press(visitor, "q")
    expect(visitor.locator(".turn").first).not_to_be_visible()
    press(visitor, "q")
    expect(visitor.locator(".turn").first).to_be_attached()


def test_ranking_six_by_letters_and_places(site, forms, visitor):
    open_form(visitor, site, "rank", "kay")
    ids = [int(a.get_attribute("data-completion")) for a in visitor.locator(".answer").all()]
    press(visitor, "3", "1", "4", "1", "5", "6")  # A to F in turn; B and D are equal
    press(visitor, "f", "k", "=")  # F past E, then beside A, which stands above it
    expect(visitor.locator(".order")).to_have_text("B = D › A › C = F › E")
    rows = sent(site, visitor, lambda: press(visitor, "Enter"))
    a, b, c, d, e, f = ids
    assert json.loads(rows["ranking"][0]["order"]) == [[b, d], [a], [c, f], [e]]
    assert len(rows["comparison"]) == 15 and all(row["ranking_id"] for row in rows["comparison"])


def test_marking_words_by_keys_counts_characters_as_written(site, forms, visitor):
    open_form(visitor, site, "scripts", "kay")
    text = visitor.locator(".answer .raw").evaluate("one => one.textContent")
    press(visitor, "a")
    expect(visitor.locator(".answer .raw")).to_be_focused()
    before = [*"Stale bread can be *revived*: sprinkle it with water and bake it for 5 minutes at 180 °C 🍞. "]
    words = visitor.evaluate(
        """text => [...new Intl.Segmenter(undefined, {granularity: "word"}).segment(text)]
        .filter(s => s.isWordLike || s.segment == '🍞').map(s => s.segment)""",
        text,
    )
    at = next(i for i, word in enumerate(words) if word.startswith("新"))
    press(visitor, *["ArrowRight"] * (at + 1), "Shift+ArrowRight", "1")
    expect(visitor.locator(".marks li")).to_contain_text("Untrue")
    press(visitor, "3")  # nothing is selected any more: it is three stars
    rows = sent(site, visitor, lambda: press(visitor, "Enter"))
    (span,) = rows["span"]
    assert span["start"] == len(before) and span["label"] == "untrue"
    assert span["text"] == text[span["start"] : span["end"]] == "".join(words[at : at + 2])
    assert rows["rating"][0]["stars"] == 3


def test_a_mark_is_taken_away_by_keys(site, forms, visitor):
    open_form(visitor, site, "spans", "kay")
    press(visitor, "a", "ArrowRight", "Shift+ArrowRight", "2")
    visitor.get_by_role("button", name="Remove the mark").focus()
    press(visitor, "Enter")
    expect(visitor.locator(".marks li")).to_have_count(0)
    press(visitor, "2")
    assert sent(site, visitor, lambda: press(visitor, "Enter"))["span"] == []


def test_writing_by_keys(site, forms, visitor):
    open_form(visitor, site, "write", "kay")
    press(visitor, "w")
    visitor.keyboard.type("Keep it in paper, and eat it soon. 12345 ynswg?")
    rows = sent(site, visitor, lambda: press(visitor, "Control+Enter"))
    assert rows["demonstration"][0]["text"] == "Keep it in paper, and eat it soon. 12345 ynswg?"


def test_an_edit_starts_from_an_answer_as_it_was_written(site, forms, visitor):
    open_form(visitor, site, "compare", "kay")
    raw = visitor.locator("#answer-a .raw").evaluate("one => one.textContent")
    press(visitor, "w")
    visitor.locator(".own-answer input[value=a]").focus()
    press(visitor, "Space")
    expect(visitor.locator("textarea[name=text]")).to_have_value(raw)
    visitor.keyboard.type(" And more.")
    rows = sent(site, visitor, lambda: press(visitor, "Escape", "1"))
    assert rows["demonstration"][0]["text"].strip() == f"{raw} And more.".strip()
    assert rows["demonstration"][0]["edited_from_id"] and rows["comparison"][0]["winner"] == "model_a"


def test_flagging_by_keys_keeps_the_item_and_what_was_entered(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "kay")
    press(visitor, "3", "r", "2")
    expect(visitor.get_by_text("The reviewers will see it")).to_be_visible()
    expect(visitor.locator(f"#task[data-assignment='{assignment}']")).to_be_visible()
    expect(visitor.locator("input[name=stars][value='3']")).to_be_checked()
    assert site.query("select count(*) from annotate_flag where assignment_id = ?", assignment) == [(1,)]
    expect(visitor.locator("#task")).not_to_contain_class("sending")  # which greys the bar


def test_what_is_wrong_can_be_seen_while_it_is_typed_into_the_flag(site, forms, visitor):
    open_form(visitor, site, "rate", "kay")
    press(visitor, "r")
    more = visitor.locator("#flag-form textarea[name=comment]")
    more.fill("The second line is cut off")
    assert more.evaluate("e => [getComputedStyle(e).opacity, getComputedStyle(e).position]") == ["1", "static"]
    assert more.bounding_box()["width"] > 150


def test_a_flag_without_a_reason_is_told_what_is_missing(site, forms, visitor):
    assignment = open_form(visitor, site, "rate", "kay")
    press(visitor, "4", "r")
    visitor.locator("#flag-form").get_by_role("button", name="Flag").click()
    expect(visitor.get_by_text("Enter in a few words what is wrong")).to_be_visible()
    expect(visitor.locator(f"#task[data-assignment='{assignment}']")).to_be_visible()
    expect(visitor.locator("input[name=stars][value='4']")).to_be_checked()


def test_the_list_of_keys_opens_with_a_question_mark_and_lists_what_this_form_has(site, forms, visitor, axe):
    open_form(visitor, site, "rank", "kay")
    press(visitor, "?")
    dialog = visitor.get_by_role("dialog")
    expect(dialog).to_contain_text("Same place as the answer above")
    expect(dialog).not_to_contain_text("Thumbs up", use_inner_text=True)
    axe(visitor)
    press(visitor, "Escape", "1")
    expect(visitor.locator(".place.a select")).to_have_value("1")


def test_the_list_of_keys_leaves_out_what_one_answer_has_no_use_for(site, forms, visitor):
    open_form(visitor, site, "rate", "kay")
    press(visitor, "?")
    dialog = visitor.get_by_role("dialog")
    expect(dialog).to_contain_text("Thumbs up", use_inner_text=True)
    for other in ("Go to answer", "Place 1", "Definitions of the scales", "Earlier turns"):
        expect(dialog).not_to_contain_text(other, use_inner_text=True)


# --- by touch, on a phone ---


def test_rating_by_touch(site, forms, phone):
    open_form(phone, site, "rate", "toni")
    bar_is_in_view(phone)
    phone.locator("label", has_text="Thumbs down").tap()
    phone.locator(".stars label").nth(1).tap()
    rows = sent(site, phone, lambda: phone.locator("button.send").tap())
    assert (rows["rating"][0]["thumbs"], rows["rating"][0]["stars"]) == (0, 2)


@pytest.mark.thorough
def test_aspects_by_touch_and_one_taken_back(site, forms, phone):
    open_form(phone, site, "aspects", "toni")
    bar_is_in_view(phone)
    for name, n in (("stars", 4), ("aspect-helpful", 5), ("aspect-honest", 2), ("aspect-plain", 3)):
        phone.locator(f"label:has(input[name={name}][value='{n}'])").tap()
    phone.locator("label:has(input[name=aspect-honest][value='2'])").tap()
    phone.locator(".fold").tap()
    expect(phone.locator(".stars")).not_to_be_visible()
    rows = sent(site, phone, lambda: phone.locator("button.send").tap())
    assert json.loads(rows["rating"][0]["aspects"]) == {"helpful": 5, "plain": 3}


@pytest.mark.parametrize("form", ["compare", "turns"])
def test_comparing_by_touch(site, forms, phone, form):
    open_form(phone, site, form, "toni")
    bar_is_in_view(phone)
    rows = sent(site, phone, lambda: phone.locator("label", has_text="Both are bad").tap())
    assert rows["comparison"][0]["winner"] == "both_bad"


def test_ranking_by_touch(site, forms, phone):
    open_form(phone, site, "rank", "toni")
    bar_is_in_view(phone)
    ids = [int(a.get_attribute("data-completion")) for a in phone.locator(".answer").all()]
    for letter in "abcdef":
        phone.locator(f".place.{letter} [data-move=better]").tap()
    # Each came in above the last one placed: A, then B before A, …
    phone.locator(".place.a select").select_option("6")
    phone.locator(".place.c [data-move=equal]").tap()
    order = phone.locator(".order").inner_text()
    rows = sent(site, phone, lambda: phone.locator("button.send").tap())
    letters = dict(zip(ids, "ABCDEF", strict=True))
    stored = json.loads(rows["ranking"][0]["order"])
    assert " › ".join(" = ".join(sorted(letters[pk] for pk in group)) for group in stored) == order
    assert sum(len(group) for group in stored) == 6 and any(len(group) == 2 for group in stored)


def test_marking_by_touch(site, forms, phone):
    open_form(phone, site, "scripts", "toni")
    # A long press selects a word; Chromium without a screen knows no such gesture, so the word is selected for it.
    phone.locator(".raw").evaluate(
        """text => { const at = text.textContent.indexOf("water"), node = text.firstChild;
        getSelection().setBaseAndExtent(node, at, node, at + 5); }"""
    )
    bar_is_in_view(phone)
    phone.get_by_role("button", name="Unclear").tap()
    phone.locator(".stars label").nth(2).tap()
    rows = sent(site, phone, lambda: phone.locator("button.send").tap())
    assert [(span["label"], span["text"]) for span in rows["span"]] == [("unclear", "water")]


def test_writing_by_touch(site, forms, phone):
    open_form(phone, site, "write", "toni")
    phone.locator("textarea[name=text]").tap()
    phone.keyboard.type("In a linen bag.")
    rows = sent(site, phone, lambda: phone.locator("button.send").tap())
    assert rows["demonstration"][0]["text"] == "In a linen bag."


def test_skipping_and_flagging_by_touch(site, forms, phone):
    open_form(phone, site, "rate", "toni")
    phone.set_viewport_size({"width": 390, "height": 620})
    phone.locator(".flag-item > summary").tap()
    expect(phone.get_by_text("Tell the reviewers that something is wrong")).to_be_in_viewport(ratio=1)
    phone.set_viewport_size({"width": 390, "height": 844})
    phone.locator("#flag-form").get_by_role("button", name="Off topic").tap()
    expect(phone.get_by_text("The reviewers will see it")).to_be_visible()
    phone.locator(".skip-item > summary").tap()
    sent(site, phone, lambda: phone.get_by_role("button", name="I cannot judge this").tap())


@pytest.mark.parametrize("form", plain_run_tries("compare", of=FORMS))
def test_targets_are_large_enough_for_a_thumb_and_axe_finds_nothing_wrong(site, forms, phone, axe, form):
    open_form(phone, site, form, "toni")
    for control in phone.locator(".verdict :is(label, button, summary, select):visible").all():
        if not control.evaluate("one => one.closest('.definition')"):
            box = control.bounding_box()
            assert box["height"] >= 44 and box["width"] >= 44, control.evaluate("one => one.outerHTML")
    axe(phone)


# --- read by axe-core ---


@pytest.mark.parametrize("form", plain_run_tries("rate", "compare", of=[form for form in FORMS if form != "write"]))
def test_axe_finds_nothing_wrong_with_all_that_opens(site, forms, visitor, axe, form):
    """Shut, it is read on a phone above."""
    open_form(visitor, site, form, "axel")
    press(visitor, "p", "m", "Escape", "w", "Escape", "s")
    axe(visitor)


@pytest.mark.thorough
def test_axe_finds_nothing_wrong_with_ones_own_keys(site, forms, visitor, axe):
    open_form(visitor, site, "rate", "axel")
    visitor.goto(f"{site.url}/shortcuts/")
    axe(visitor)


@pytest.mark.thorough
def test_each_paragraph_runs_as_its_own_script_does(site, forms, visitor):
    open_form(visitor, site, "rate", "uma")
    starts = visitor.locator(".answer .laid-out").evaluate(
        """laidOut => { laidOut.innerHTML = "<p>שלום!</p><p>Hello!</p><pre><code>let א = 1</code></pre>";
        const box = laidOut.getBoundingClientRect(), range = document.createRange();
        return [...laidOut.children].map((part) => { range.selectNodeContents(part.firstChild);
          const words = range.getBoundingClientRect();
          return words.left - box.left < box.right - words.right ? "left" : "right"; }); }"""
    )
    assert starts == ["right", "left", "left"]


@pytest.mark.thorough
def test_a_table_of_many_columns_scrolls_before_its_words_break(site, forms, visitor):
    open_form(visitor, site, "rate", "uma")
    lines = visitor.locator(".answer .laid-out").evaluate(
        """laidOut => { const row = `<tr>${"<td>considerable</td>".repeat(12)}</tr>`;
        laidOut.innerHTML = `<div class="wide"><table>${row}</table></div>`;
        const range = document.createRange();
        range.selectNodeContents(laidOut.querySelector("td"));
        return new Set([...range.getClientRects()].map((line) => line.top)).size; }"""
    )
    assert lines == 1
    assert_fits(visitor)
