"""Add data in a browser: from a file of prompts to prompts in the project, and a mapping that survives an error.

Prints how many presses it took from the project's data to the prompts being added.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_a_file_of_prompts_is_added_by_three_presses(sign_in, site, axe, tmp_path: Path):
    page = sign_in("rita")
    page.goto(site.page("data/"))
    presses = 0
    page.get_by_role("link", name="Add data").first.click()
    presses += 1
    axe(page)
    file = tmp_path / "tides.csv"
    file.write_text("question,topic,owner\nWhat is a neap tide?,sea,ann\nWhat is a spring tide?,sea,ann\n")
    page.get_by_label("File: choose it").set_input_files(file)  # choosing it shows at once what it becomes
    presses += 1
    expect(page.get_by_role("heading", name="tides.csv")).to_be_visible()
    expect(page.locator("#becomes")).to_contain_text("Ignored columns: topic, owner")
    expect(page.locator(".preview > li")).to_have_count(2)
    axe(page)
    page.get_by_role("button", name="Add 2 prompts").click()
    presses += 1
    expect(page.get_by_text("Done on")).to_be_visible(timeout=60_000)
    page.goto(site.page("data/prompts/?search=neap"))
    expect(page.get_by_role("link", name="What is a neap tide?")).to_be_visible()
    axe(page)
    print(f"\npresses from Data to prompts: {presses}")


def test_a_changed_mapping_survives_an_error(sign_in, site, axe, tmp_path: Path):
    page = sign_in("rita")
    page.goto(site.page("data/add/"))
    file = tmp_path / "pairs.csv"
    file.write_text("frage,gut,schlecht\nWarum ist Ebbe?,Der Mond.,Nein.\n")
    page.get_by_label("File: choose it").set_input_files(file)
    question, good, bad = (page.get_by_label(f"What {name} is read as") for name in ("frage", "gut", "schlecht"))
    expect(page.get_by_role("button", name="Add ")).to_have_count(0)
    expect(question).to_be_visible()
    page.wait_for_load_state("load")  # until then nothing listens to what is chosen
    question.select_option("prompt")
    expect(page.locator(".preview > li")).to_have_count(1)
    good.select_option("chosen")
    expect(page.get_by_role("alert")).to_contain_text("both chosen and rejected")
    expect(question).to_have_value("prompt")
    expect(good).to_have_value("chosen")
    axe(page)
    bad.select_option("rejected")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".preview .answer.won")).to_contain_text("Der Mond.")
    page.get_by_text("Options").click()
    page.get_by_label("Source").fill("arena")  # a name that is taken
    page.get_by_role("button", name="Add 1 comparison").click()
    expect(page.get_by_role("alert")).to_contain_text("reserved for annotations made here")
    expect(bad).to_have_value("rejected")
    page.get_by_label("Source").fill("pairs")
    page.get_by_role("button", name="Add 1 comparison").click()
    expect(page.get_by_role("heading", name="pairs.csv")).to_be_visible()
    expect(page.get_by_text("comparisons", exact=False).first).to_be_visible(timeout=60_000)
