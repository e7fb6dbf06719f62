"""The page of a run in a real browser: tabs, charts by mouse and keys, live rows, lengths; comparing from the list."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from tests.support.processes import ROOT
from tests.support.sites.fill_runs import STEPS
from tests.support.sites.site import Site
from tests.support.sites.widths import assert_fits

pytestmark = pytest.mark.slow
TABS = ("overview", "charts", "samples", "review", "config", "log")
# px that a tab of this PPO run may take: three screens of a laptop, four of a phone
LONGEST = {1280: 2400, 390: 3400}


def fill(site: Site, *arguments: object) -> dict:
    command = [sys.executable, "-m", "tests.support.sites.fill_runs", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=site.environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def runs(site: Site) -> list[int]:
    return fill(site)["runs"]


def open_tab(page: Page, site: Site, run: int, tab: str) -> None:
    page.goto(f"{site.url}/runs/{run}/" + ("" if tab == "overview" else f"?tab={tab}"))


def output(page: Page, title: str):
    return page.locator(".chart", has=page.get_by_text(title, exact=True)).locator("output")


@pytest.mark.thorough
def test_each_tab_is_short_and_sound_at_both_widths(site, sign_in, runs, axe):
    page = sign_in("rita")
    for tab in TABS:
        page.set_viewport_size({"width": 390, "height": 900})
        open_tab(page, site, runs[0], tab)
        expect(page.locator(".run-tabs [aria-current]")).to_be_in_viewport()
        if tab == "charts":
            expect(page.locator("#charts canvas").first).to_be_visible()
        is_short(page, tab, 390)
        axe(page)
        page.set_viewport_size({"width": 1280, "height": 900})
        expect(page.locator(".run-tabs [aria-current]")).to_be_in_viewport()
        is_short(page, tab, 1280)


def is_short(page: Page, tab: str, width: int) -> None:
    assert_fits(page, tab)
    assert page.evaluate("document.documentElement.scrollHeight") <= LONGEST[width], tab


def test_one_cursor_reads_all_charts_by_mouse_and_by_keys(site, sign_in, runs):
    page = sign_in("rita")
    open_tab(page, site, runs[0], "charts")
    latest = re.compile(rf"^step {STEPS - 1}: ")
    kl, entropy = output(page, "KL to the parent, nats per answer"), output(page, "Entropy, nats per token")
    expect(kl).to_have_text(latest)
    plot = page.locator(".chart", has=page.get_by_text("KL to the parent, nats per answer", exact=True)).locator(
        ".plot"
    )
    plot.locator(".u-over").hover(position={"x": 5, "y": 50})
    expect(kl).to_have_text("step 0: 0.1 nats per answer")
    expect(entropy).to_have_text(re.compile("^step 0: .* nats per token$"))
    page.mouse.move(0, 0)  # to focus scrolls, and a mouse that a chart slid away from under leaves it some time later
    expect(kl).to_have_text(latest)
    plot.focus()
    page.keyboard.press("Home")
    expect(entropy).to_have_text(re.compile("^step 0: "))
    page.keyboard.press("End")
    expect(entropy).to_have_text(latest)
    page.keyboard.press("ArrowLeft")
    expect(kl).to_have_text(re.compile(rf"^step {STEPS - 2}: "))
    page.keyboard.press("+")
    page.keyboard.press("Home")
    expect(kl).not_to_have_text(re.compile("^step 0: "))  # the first point within the zoom
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    expect(kl).to_have_text(re.compile("^step 0: "))


def test_smoothing_and_log_scale_are_said_and_stay_in_the_address(site, sign_in, runs):
    page = sign_in("rita")
    open_tab(page, site, runs[0], "charts")
    page.get_by_label("Smoothing").select_option("5")
    expect(page.locator(".chart .key").first).to_contain_text("mean over about 5 points")
    page.get_by_label("Log scale").check()
    expect(page.get_by_text("Linear: a share.").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"tab=charts&smooth=5&log=1"))
    page.reload()
    expect(page.locator(".chart .key").first).to_contain_text("mean over about 5 points")


def test_a_single_point_is_said_in_words_and_a_table_is_behind_each_chart(site, sign_in, runs):
    page = sign_in("rita")
    open_tab(page, site, runs[0], "charts")
    single = page.locator(".chart", has=page.get_by_text("Score on held-out prompts"))
    expect(single).to_contain_text("One point: 0.53 at step 0.")
    expect(single.locator("canvas")).to_have_count(0)
    chart = page.locator(".chart", has=page.get_by_text("KL to the parent, nats per answer", exact=True))
    chart.get_by_text("Table", exact=True).click()
    expect(chart.locator("tbody tr")).to_have_count(STEPS)


def test_a_new_row_joins_curve_and_table_without_a_reload(site, sign_in, runs):
    page = sign_in("rita")
    open_tab(page, site, runs[1], "charts")
    page.get_by_text("Table of these curves").click()
    expect(page.locator("#run-main-rows tbody tr")).to_have_count(STEPS)
    page.get_by_text("Table of these scores").click()
    page.locator("#run-kind .wide").focus()
    loads: list[str] = []
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    fill(site, runs[1], STEPS)
    expect(output(page, "Entropy, nats per token")).to_have_text(re.compile(rf"^step {STEPS}: "))
    expect(page.locator("#run-main-rows tbody tr")).to_have_count(STEPS + 1)
    expect(page.locator("#run-kind tbody tr")).to_have_count(STEPS + 1)
    expect(page.locator("#run-kind .wide")).to_be_visible()  # still unfolded, though it is another element now
    assert not loads
    open_tab(page, site, runs[1], "overview")
    fill(site, runs[1], STEPS + 1)
    expect(page.locator(".chart output")).to_have_text(re.compile(rf"^step {STEPS + 1}: "))


def test_old_fragments_lead_to_their_tab(site, sign_in, runs):
    page = sign_in("rita")
    page.goto(f"{site.url}/runs/{runs[0]}/#log")
    expect(page).to_have_url(re.compile(r"\?tab=log$"))
    expect(page.locator("#run-log")).to_contain_text(f"step {STEPS - 1}: score_mean")


def test_two_runs_are_compared_in_three_clicks_from_the_list(site, sign_in, runs, axe):
    page = sign_in("rita")
    page.goto(f"{site.url}/p/curves/runs/")
    for run in runs:
        page.get_by_label(f"Compare run {run}").check()
    page.get_by_role("button", name="Compare selected runs").click()
    expect(page.get_by_role("heading", name="2 runs compared")).to_be_visible()
    assert page.locator(".multiples svg").count() >= 6
    expect(page.get_by_role("heading", name="Latest samples")).to_be_visible()
    for width in LONGEST:
        page.set_viewport_size({"width": width, "height": 900})
        assert_fits(page)
    axe(page)


def test_cancelling_says_what_follows_and_stays_open_while_the_run_goes_on(site, sign_in, runs, axe):
    page = sign_in("rita")
    open_tab(page, site, runs[1], "overview")
    cancel, follows = page.locator(".sure summary", has_text="Cancel"), page.get_by_text("The run stops within seconds")
    expect(cancel).to_be_visible()
    expect(follows).to_be_hidden()
    cancel.press("Enter")
    expect(follows).to_be_visible()
    fill(site, runs[1], STEPS + 2)
    expect(page.locator(".chart output")).to_have_text(re.compile(rf"^step {STEPS + 2}: "))
    expect(follows).to_be_visible()
    axe(page)
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#run-status")).to_be_visible()
    expect(cancel).to_be_hidden()  # asked for once is enough
    assert site.query("SELECT cancel_requested_at FROM training_run WHERE id = ?", runs[1])[0][0]
