"""What a page of HTML holds: where it leads, what it sends, its words and its scripts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

IDS = r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+"  # in an address: pages of one kind differ in them


def own_path(site: str, path: str, link: str) -> str:
    """Return where the link on that page leads on this site, without its fragment; empty where it leads away."""
    parts = urlsplit(urljoin(site + path, link))
    if f"{parts.scheme}://{parts.netloc}" != site:
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


class HtmlPage(HTMLParser):
    """`links` (GET) and `sends` (POST) are addresses as they stand; `words`, `headings` (h2) and `fields` (their names)
    stand in main; `scripts` stand in the page and should not: our scripts are files."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sends: list[str] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.fields: list[str] = []
        self._form: tuple[str, str] | None = None
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        had = {name: value or "" for name, value in attrs}
        if tag in _NOTED:
            self._open.append(tag)
        if tag in ("input", "select", "textarea") and "main" in self._open:
            self.fields.append(had.get("name", ""))
        if tag == "form":
            self._form = (had.get("method", "get").lower(), had.get("action", ""))
        elif tag == "a" and "href" in had:
            self.links.append(had["href"])
        elif tag in ("button", "input") and self._form and had.get("type", "submit") == "submit":
            method, action = self._form
            (self.sends if method == "post" else self.links).append(had.get("formaction", action))
        self.links += [had["hx-get"]] if had.get("hx-get") else []
        self.sends += [had["hx-post"]] if had.get("hx-post") else []
        if (tag == "script" and "src" not in had and had.get("type") != "application/json") or "javascript:" in str(
            had
        ):
            self.scripts.append(tag)
        self.scripts += [name for name in had if re.fullmatch(r"on\w+", name)]

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[self._open.index(tag) :]
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if words and "main" in self._open and "script" not in self._open:
            self.words.append(words)
            self.headings += [words] if "h2" in self._open else []


_NOTED = ("main", "h2", "script", "style")
