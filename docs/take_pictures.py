"""Takes the pictures of this documentation from a site that `script/demo` serves, in a real Chromium.

    .venv/bin/python docs/take_pictures.py --url http://127.0.0.1:8000 --project demo --user demo --password …

The judging forms are taken with --forms, from projects of their own that are made beforehand, for a site of which you
know the data folder; the password is that of the people made for tests:

    ASSAY_DATA=… .venv/bin/python -m tests.support.sites.fill_judging ada
    .venv/bin/python docs/take_pictures.py --forms --user ada --password "a long enough passphrase"

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
SCREENS = {"light": (1280, 800, "light"), "dark": (1280, 800, "dark"), "phone": (390, 844, "light")}
AS_IT_STANDS = ("judge", "arena")  # their controls are at the foot of the screen, wherever the page is
# What is pressed in each judging form before its picture is taken.
FORMS: dict[str, tuple[str, ...]] = {
    "rate": ("y", "4"),
    "aspects": ("5", "4", "3"),
    "compare": (),
    "rank": ("2", "3", "1", "3"),
    "turns": (),
    "spans": ("a", "ArrowRight", "Shift+ArrowRight", "2", "ArrowRight", "ArrowRight", "ArrowRight", "Shift+ArrowRight"),
    "write": (),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--project", default="demo")
    parser.add_argument("--user", default="demo")
    parser.add_argument("--password", required=True)
    parser.add_argument("--only", nargs="*", default=[], help="names of pages, for some of the pictures")
    parser.add_argument("--forms", action="store_true", help="each judging form instead")
    parser.add_argument("--screens", nargs="*", choices=list(SCREENS), default=list(SCREENS))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        for screen in arguments.screens:
            suffix = "" if screen == "light" else f"-{screen}"
            page = _signed_in(browser, arguments, *SCREENS[screen])
            pages = {f"judge-{form}": f"/p/judge-{form}/judge/" for form in FORMS}
            for name, path in (pages if arguments.forms else _pages(page, arguments)).items():
                if not arguments.only or name in arguments.only:
                    page.goto(arguments.url + path)
                    _enter(page, FORMS[name.removeprefix("judge-")] if arguments.forms else ())
                    page.wait_for_timeout(1500)  # charts draw themselves after the page has come
                    file = arguments.folder / f"{name}{suffix}.png"
                    page.screenshot(path=file, full_page=not name.startswith(AS_IT_STANDS))
        browser.close()


def find_chromium() -> str | None:
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _signed_in(browser: Browser, arguments: argparse.Namespace, width: int, height: int, scheme: str) -> Page:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{arguments.url}/sign-in/")
    page.fill("main input[autocomplete=username]", arguments.user)
    page.fill("main input[type=password]", arguments.password)
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()
    return page


def _enter(page: Page, keys: tuple[str, ...]) -> None:
    for key in keys:
        page.keyboard.press(key)


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
