"""From votes to a PPO run that is ordered, in few clicks: freezing them and the reward model are part of the order."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.processes import ROOT

pytestmark = pytest.mark.slow
MOST_CLICKS = 6
A_RUN_MS = 300_000  # on two cores that others use too
RUNS = """select r.id, r.kind, r.state from training_run r join annotate_project p on p.id = r.project_id
    where p.slug = 'voted' order by r.id"""


class Hand:
    """Count what somebody clicks."""

    def __init__(self) -> None:
        self.clicks: list[str] = []

    def click(self, target: Locator) -> None:
        self.clicks.append(" ".join(target.inner_text().split()))
        target.click()


@pytest.fixture(scope="module")
def voted(site) -> str:
    """The address of a project's data: votes enough, and nothing frozen."""
    command = [sys.executable, "-m", "tests.support.sites.fill_votes"]
    subprocess.run(command, cwd=ROOT, env=site.environment, check=True, stdout=subprocess.DEVNULL)
    return f"{site.url}/p/voted/data/"


@pytest.mark.thorough
def test_the_form_of_ppo_offers_both_steps_as_one_order(site, voted, sign_in, axe):
    page, hand = sign_in("rita"), Hand()
    page.goto(voted)
    hand.click(page.get_by_role("navigation").get_by_role("link", name="Train", exact=True).first)
    hand.click(page.get_by_role("link", name="New run").first)
    hand.click(page.locator("dl.stages").get_by_role("link", name="PPO", exact=True))
    axe(page, within="main")
    hand.click(page.get_by_role("button", name="Reward model, then PPO"))
    expect(page.get_by_role("radio", name=re.compile("Reward model, then PPO"))).to_be_checked()
    expect(page.get_by_label("Model to start from")).to_have_value(re.compile(r"\d+"))
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_enabled()
    print(f"{len(hand.clicks) + 1} clicks: {', '.join(hand.clicks)}, Train")
    assert len(hand.clicks) + 1 <= MOST_CLICKS and not site.query(RUNS)


@pytest.mark.thorough
def test_votes_become_a_ppo_run_after_few_clicks(site, voted, sign_in, axe):
    page, hand = sign_in("rita"), Hand()
    page.goto(voted)
    hand.click(page.get_by_role("button", name="Train on these annotations"))
    expect(page.get_by_role("radio", name=re.compile("Reward model, then PPO"))).to_be_checked()
    axe(page, within="main")
    hand.click(page.get_by_role("button", name="Train", exact=True))
    expect(page.get_by_text("Step 1 of 2: the reward model")).to_be_visible()
    print(f"{len(hand.clicks)} clicks: {', '.join(hand.clicks)}; nothing typed")
    assert len(hand.clicks) <= MOST_CLICKS
    frozen = (
        "select d.kind from annotate_dataset d join annotate_project p on p.id = d.project_id where p.slug = 'voted'"
    )
    assert site.query(frozen) == [("preferences",)]
    _is_ordered_without_another_click(site, page)


def _is_ordered_without_another_click(site, page: Page) -> None:
    """Wait for the reward model, by a real worker, and end the PPO run that follows it: other tests need the cores."""
    progress = page.get_by_role("progressbar", name=re.compile("Progress of Avocet-ppo"))
    expect(progress).to_be_visible(timeout=A_RUN_MS)
    (_, reward, reward_state), (ppo_id, ppo, _) = site.query(RUNS)
    assert (reward, reward_state, ppo) == ("reward", "succeeded", "ppo")
    with site.api("rita") as api:
        api.post(f"runs/{ppo_id}/cancel/").raise_for_status()
