"""What tests of the annotation page share: opening a form as somebody, pressing keys, and what is stored afterwards."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.factories import PASSWORD

COLUMNS = {
    "rating": "thumbs, stars, aspects, seconds, comment",
    "comparison": "winner, strength, ranking_id, seconds",
    "ranking": '"order", seconds',
    "span": "start, end, label, text",
    "demonstration": "text, edited_from_id",
}


def sign_in_on(page: Page, site, username: str) -> None:
    page.goto(f"{site.url}/sign-in/")
    page.locator("main input[autocomplete=username]").fill(username)
    page.locator("main input[type=password]").fill(PASSWORD)
    page.locator("main button[type=submit]").first.click()
    expect(page.locator(".who")).to_have_text(username)


def enter(page: Page, site, username: str) -> None:
    """Be signed in: through the page the first time, and by that session's cookie from then on."""
    if username in site.cookies:
        page.context.add_cookies(site.cookies[username])
    else:
        sign_in_on(page, site, username)
        site.cookies[username] = page.context.cookies()


def open_form(page: Page, site, form: str, username: str) -> int:
    """The assignment that is shown."""
    enter(page, site, username)
    page.goto(f"{site.url}/p/judge-{form}/judge/")
    expect(page.locator("#task[data-assignment]")).to_be_visible()
    return shown(page)


def shown(page: Page) -> int:
    return int(page.locator("#task").get_attribute("data-assignment") or 0)


def sent(site, page: Page, send: Callable[[], None]) -> dict[str, list[dict]]:
    """Send, wait for the next item, and give what is stored of the one sent: rows by table."""
    assignment = shown(page)
    send()
    gone(page, assignment)
    return stored(site, assignment)


def left(page: Page, assignment: int) -> None:
    """Wait until the page has gone on from an item: at once where the next one is there already."""
    expect(page.locator(f"#task[data-assignment='{assignment}']")).to_have_count(0)


def gone(page: Page, assignment: int) -> None:
    """Wait until the page has gone on from an item, and the server has all that was sent."""
    left(page, assignment)
    expect(page.locator("#outbox[data-unsent]")).to_have_count(0)


def stored(site, assignment: int) -> dict[str, list[dict]]:
    found = {}
    for table, names in COLUMNS.items():
        sql = f"select {names} from annotate_{table} where assignment_id = ? and status = 'counted' order by id"
        keys = [name.strip('" ') for name in names.split(",")]
        found[table] = [dict(zip(keys, row, strict=True)) for row in site.query(sql, assignment)]
    return found


def ready(page: Page) -> None:
    """Wait until the item that is shown takes keys: none does in its first moment (labelling.js)."""
    expect(page.locator("#task[data-assignment]:not([data-ready])")).to_have_count(0)


def press(page: Page, *keys: str) -> None:
    """Press keys one after the other, from the moment on at which the page takes them."""
    ready(page)
    for key in keys:
        page.keyboard.press(key)
