"""Takes the pictures of this documentation from a site that `script/demo` serves, in a real Chromium.

    .venv/bin/python docs/take_pictures.py --url http://127.0.0.1:8000 --project demo --user demo --password …

Chromium is found as script/test finds it: $CHROMIUM, or a browser of the system, or Playwright's own.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).parent / "pictures"
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SCREENS = {"": (1280, 800, "light"), "-dark": (1280, 800, "dark"), "-phone": (390, 844, "light")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--project", default="demo")
    parser.add_argument("--user", default="demo")
    parser.add_argument("--password", required=True)
    parser.add_argument("--only", nargs="*", default=[], help="names of pages, for some of the pictures")
    parser.add_argument("--screens", nargs="*", default=list(SCREENS), help='"" (light), "-dark", "-phone"')
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=ARGUMENTS)
        for suffix in arguments.screens:
            page = _signed_in(browser, arguments, *SCREENS[suffix])
            for name, path in _pages(page, arguments).items():
                if not arguments.only or name in arguments.only:
                    page.goto(arguments.url + path)
                    page.wait_for_timeout(1500)  # charts draw themselves after the page has come
                    page.screenshot(path=FOLDER / f"{name}{suffix}.png", full_page=name not in ("judge", "arena"))
        browser.close()


def _chromium() -> str | None:
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _signed_in(browser: Browser, arguments: argparse.Namespace, width: int, height: int, scheme: str) -> Page:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{arguments.url}/sign-in/")
    page.fill("[name=username]", arguments.user)
    page.fill("[name=password]", arguments.password)
    page.click("main button[type=submit]")
    return page


def _pages(page: Page, arguments: argparse.Namespace) -> dict[str, str]:
    """What is shown, by name. The newest PPO run is found through the list of runs."""
    root = f"/p/{arguments.project}"
    page.goto(f"{arguments.url}{root}/runs/?kind=ppo")
    run = page.locator("main table a[href^='/runs/'], main a[href^='/runs/']").first
    names = ("leaderboard", "judge", "arena", "runs", "models", "data", "evaluations", "decisions")
    pages = {name: f"{root}/{name}/" for name in names}
    pages |= {name: f"{root}/leaderboard/{name}/" for name in ("pairs", "over-time", "counted-otherwise")}
    return pages | ({"ppo-run": str(run.get_attribute("href"))} if run.count() else {})


if __name__ == "__main__":
    main()
