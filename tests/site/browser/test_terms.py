"""Definitions of terms, and acts that ask first: by mouse, by keys, by touch, and without scripts."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.site.browser.judging import enter

pytestmark = pytest.mark.slow
OVERLAP = "How many annotators are asked about the same item"


def note_and_word(page: Page):
    return page.locator("#term-overlap"), page.get_by_role("button", name="Overlap", exact=True)


def inside(page: Page, note) -> bool:
    box, width = note.bounding_box(), page.viewport_size["width"]
    return box["x"] >= 0 and box["x"] + box["width"] <= width and page.evaluate("scrollX") == 0


@pytest.mark.thorough
def test_a_definition_opens_under_the_mouse_and_closes_when_it_leaves(site, sign_in):
    page = sign_in("rita")
    page.goto(site.page("settings/"))
    note, word = note_and_word(page)
    expect(note).to_be_hidden()
    word.hover()
    expect(note).to_contain_text(OVERLAP)
    expect(note).to_be_visible()
    assert inside(page, note)
    word.click()
    expect(note).to_be_visible()  # pointed at and pressed: it stays
    note.hover()
    page.get_by_role("heading", name="Settings").hover()
    expect(note).to_be_hidden()


def test_a_definition_opens_with_the_focus_and_closes_by_escape(site, sign_in, axe):
    page = sign_in("rita")
    page.goto(site.page("settings/"))
    note, word = note_and_word(page)
    page.locator("main a", has_text="audit trail").focus()
    page.keyboard.press("Tab")
    expect(word).to_be_focused()
    expect(note).to_be_visible()
    axe(page)
    page.keyboard.press("Escape")
    expect(note).to_be_hidden()
    page.keyboard.press("Enter")
    expect(note).to_be_visible()
    page.keyboard.press("Tab")
    expect(note.get_by_role("link")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#overlap")).to_be_in_viewport()
    expect(page.locator(".guide-text")).to_contain_text(OVERLAP)


def test_a_definition_opens_by_touch_and_fits_a_phone(site, phone):
    enter(phone, site, "rita")
    phone.goto(site.page("settings/"))
    note, word = note_and_word(phone)
    word.tap()
    expect(note).to_be_visible()
    assert inside(phone, note)
    phone.get_by_role("heading", name="Settings").tap()
    expect(note).to_be_hidden()


def test_without_scripts_a_press_defines_a_term_and_an_act_asks_first(site, browser: Browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    page = context.new_page()
    enter(page, site, "rita")
    page.goto(site.page("settings/"))
    note, word = note_and_word(page)
    word.click()
    expect(note).to_be_visible()
    page.goto(site.page("people/"))
    follows = page.get_by_text("They can no longer open this project").first
    expect(follows).to_be_hidden()
    page.locator(".sure summary", has_text="Remove").first.click()
    expect(follows).to_be_visible()
    expect(page.get_by_role("button", name="Remove", exact=True).first).to_be_visible()
    context.close()
