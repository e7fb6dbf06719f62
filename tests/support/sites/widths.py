"""How wide a page is laid out in a real browser."""

from __future__ import annotations

from playwright.sync_api import Page

PIXELS_TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def assert_fits(page: Page, message: str = "the page scrolls sideways") -> None:
    """Fail if the page scrolls sideways at its present width.

    Waits for its stylesheets first: the text of a page can be seen and its width read before they have arrived.
    """
    page.wait_for_load_state()
    too_wide = page.evaluate(PIXELS_TOO_WIDE)
    assert too_wide <= 0, f"{message}: {too_wide} pixels too wide"
