"""A run page that lives while a real recipe runs, the leaderboard with its way back to the votes, and what orders of
experiments and rounds take."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.site.browser.judging import enter
from tests.support.sites.widths import assert_fits

pytestmark = pytest.mark.slow


def test_a_run_page_goes_from_queued_to_succeeded_by_itself(site, sign_in):
    page = sign_in("rita")
    page.goto(site.page("runs/new/sample/"))
    page.locator("#id_name").fill("Answers to judge")
    page.locator("[name=parent]").select_option(str(site.made["models"][0]))
    page.locator("[name=dataset]").select_option(str(site.made["dataset"]))
    page.locator("[name='config.max_new_tokens']").fill("24")
    page.get_by_role("button", name="Queue the run").click()
    expect(page).to_have_url(re.compile(r"/runs/\d+/$"))

    loads: list[str] = []
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    expect(page.locator("#run-status[data-state=succeeded]")).to_be_visible(timeout=90_000)
    assert not loads, "the page was loaded again instead of being told"
    expect(page.locator("#run-facts")).to_contain_text("48 completions")


def test_a_mistaken_option_is_named_beside_its_field(site, sign_in):
    page = sign_in("rita")
    page.goto(site.page("runs/new/sample/"))
    page.locator("#id_name").fill("Too long")
    page.locator("[name='config.max_new_tokens']").fill("0")
    page.get_by_role("button", name="Queue the run").click()
    field = page.locator("[name='config.max_new_tokens']")
    expect(field).to_be_focused()  # and with it its mistake is read out
    expect(field).to_have_accessible_description(re.compile("Must be between 1 and 4096, not 0"))
    expect(page.locator(".field.wrong", has=field).get_by_text("Must be between 1 and 4096, not 0")).to_be_visible()


def test_the_leaderboard_ranks_with_intervals_and_leads_to_the_votes(site, visitor):
    visitor.goto(site.page("leaderboard/"))
    rows = visitor.locator("table.board tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("Heron")
    expect(rows.nth(1)).to_contain_text("Kestrel")
    expect(rows.nth(0).locator(".rating")).to_contain_text(re.compile(r"\d+ ± \d+"))
    visitor.get_by_role("link", name="Simulated annotators").first.click()
    expect(visitor.locator(".empty")).to_contain_text("No simulated annotator has voted")


def test_the_leaderboard_reads_on_a_phone(site, visitor):
    visitor.set_viewport_size({"width": 390, "height": 844})
    visitor.goto(site.page("leaderboard/"))
    expect(visitor.locator("table.board")).to_be_visible()
    assert_fits(visitor)


def test_on_a_phone_the_menu_says_where_one_is_and_opens(site, sign_in):
    page = sign_in("rita")
    page.set_viewport_size({"width": 390, "height": 844})
    for section, words in (("data/datasets/", "Data · Datasets"), ("arena/", "Annotate · Arena")):
        page.goto(site.page(section))
        summary = page.locator(".bar .menu > summary")
        expect(summary).to_have_text(words)
        expect(summary).to_be_in_viewport(ratio=1)
        expect(page.locator(".bar .groups")).to_be_hidden()
        summary.press("Enter")
        expect(page.locator(".menu [aria-current=page]")).to_be_visible()
        assert_fits(page)
    page.locator(".menu").get_by_role("link", name="Registry").click()
    expect(page).to_have_url(re.compile("/models/$"))


def test_on_a_phone_each_person_has_all_buttons_in_view(site, sign_in, axe):
    page = sign_in("rita")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(site.page("people/"))
    members = page.get_by_role("region", name="Members")
    members.get_by_text("Remove").first.click()
    for button in members.get_by_role("button", name=re.compile("Save|Remove")).all():
        box = button.bounding_box()
        assert box["x"] + box["width"] <= 390
    assert members.evaluate("one => one.scrollWidth <= one.clientWidth"), "nothing scrolls sideways"
    axe(page)


def test_the_bar_shows_the_groups_where_there_is_room(site, sign_in):
    page = sign_in("rita")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(site.page("data/"))
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.locator(".bar .groups [aria-current]")).to_be_in_viewport(ratio=1)
    expect(page.locator(".group-line [aria-current]")).to_be_in_viewport(ratio=1)
    expect(page.locator(".bar .menu")).to_be_hidden()
    for width in (1090, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert_fits(page)


def test_what_an_order_takes_follows_its_form_on_a_phone(site, phone, axe):
    enter(phone, site, "rita")
    phone.goto(site.page("experiments/new/"))
    takes, seeds = phone.locator("#foreseen"), phone.get_by_label("Seeds")
    expect(takes).to_contain_text("4 arms with 3 seeds: 12 models.")
    seeds.fill("5")
    phone.get_by_label("PPO").first.tap()
    expect(takes).to_contain_text("3 arms with 5 seeds: 15 models.")
    phone.get_by_label("Options of DPO").fill("beta=zero")
    seeds.tap()
    expect(takes).to_contain_text("DPO: beta: must be a number")
    phone.get_by_label("stop at a moment").tap()
    phone.get_by_label("Options of DPO").fill("")
    phone.get_by_label("Moment, in UTC").fill("2126-01-01T10:00")
    seeds.tap()
    expect(takes).to_contain_text("The verdict reads what people vote until its moment.")
    expect(seeds).to_have_value("5")
    assert_fits(phone)
    axe(phone)
    phone.goto(site.page("rounds/new/"))
    expect(takes).to_contain_text("600 comparisons and 1,200 votes in all 3 rounds")
    phone.get_by_label("Rounds at most").fill("2")
    phone.get_by_label("Simulated annotators").tap()
    expect(takes).to_contain_text("Each round asks simulated annotators")
    expect(takes).to_contain_text("800 votes in all 2 rounds")
    assert_fits(phone)
    axe(phone)
