"""A real site for a real Chromium: see tests/support/sites/site.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import missing
from tests.site.browser.judging import enter
from tests.support import programs
from tests.support.processes import ROOT
from tests.support.sites.site import Site, filled_site

AXE_RULES: dict[str, dict] = {
    "light": {"resultTypes": ["violations"]},
    "dark": {
        "resultTypes": ["violations"],
        "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
    },
}
PATIENCE_MS = 30_000  # two cores shared with three other processes of tests, and all that they start


@pytest.fixture(scope="module", autouse=True)
def _programs_are_forked() -> Iterator[None]:
    with programs.forked():
        yield


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with filled_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def forms(site: Site) -> None:
    """A project for each judging form, with people for the tests of each kind (tests/support/sites/fill_judging.py)."""
    people = ("kay", "toni", "axel", "dora", "uma", "rita:manager", "pia:manager")
    command = [sys.executable, "-m", "tests.support.sites.fill_judging", *people]
    subprocess.run(command, cwd=ROOT, env=site.environment, check=True)


@pytest.fixture(scope="session")
def owner(site: Site) -> str:
    """The name of an account that may do everything on the site."""
    site.create_superuser("mina")
    return "mina"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """CHROMIUM names the binary; else an installed one, else Playwright's own.

    Ended with its module: while Playwright's event loop is open, no other test in this process can run one.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            missing("Chromium", "script/test installs it; or name one: CHROMIUM=/path/to/chromium")
        quiet = ("background-networking", "component-update", "sync", "dev-shm-usage")
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", *(f"--disable-{what}" for what in quiet)]
        )
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    """A page of somebody without an account. A script or server that fails, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda r: errors.append(f"{r.status} from {r.url}") if r.status >= 500 else None)
    yield page
    context.close()
    assert not errors


@pytest.fixture
def sign_in(site: Site, visitor: Page) -> Callable[[str], Page]:
    def as_(username: str) -> Page:
        enter(visitor, site, username)
        return visitor

    return as_


@pytest.fixture
def axe() -> Callable[..., None]:
    """`axe(page)` fails with what axe-core finds wrong, as the page stands now, in light and in dark.

    `axe(page, within="#task")` reads only a part. Colours fade in by transitions elsewhere: judge what has settled.
    In dark only the rules about colours are asked: the elements are those that all rules have just read in light.
    """

    def read(page: Page, *, within: str | None = None) -> None:
        page.wait_for_load_state()  # with its stylesheets
        found = {}
        for scheme in AXE_RULES:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            results = Axe().run(page, context=within, options=AXE_RULES[scheme])
            found |= {scheme: results.generate_report()} if results.violations_count else {}
        page.emulate_media(color_scheme="light")
        assert not found, "\n\n".join(f"{scheme}: {report}" for scheme, report in found.items())

    return read


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """A page of somebody without an account, on a phone: 390 wide, touched, never hovered over."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2
    )
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors
