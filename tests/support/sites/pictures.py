"""Take a picture of every page: 1280 and 390 px wide, light and dark. `script/pictures --data DATA --out FOLDER`

Serves a copy of a data folder with SQLite (nothing is written to DATA), without worker and model server, and follows
every link as a visitor, an annotator, a reviewer, a researcher and a manager, which is whoever has that role first,
else an account made in the copy, and as staff, where the site has a superuser. Of pages that differ in their numbers
alone, which is the same address but for ids and the query, the same headings and the same fields, the one with most to
read is taken.

FOLDER gets four pictures and the words of each page, index.html with all of them, and faults.txt: pages that scroll
sideways, scripts and files that fail and, with --axe, what axe-core finds. A page's own faults are in a file of it as
soon as it is taken. With --resume those taken without a fault are left out: a run that was cut off goes on, and what
was mended is taken again. Two folders, of two versions of the code and the same data, can be compared by `diff -r`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from docs.take_pictures import find_chromium
from tests.support.html_page import IDS, HtmlPage, own_path
from tests.support.processes import FOREIGN, ROOT, answers, free_port, until

MOST_OF_A_KIND = 12  # pages that one role opens of those whose addresses differ in ids and the query alone
WIDTHS = {1280: 800, 390: 844}
SCHEMES = ("light", "dark")
SETTLING_MS = 700  # charts draw themselves after the page has come, and again in other colours
SIGN_IN = """
import json
from django.test import Client
from annotate.models import Membership, Project, User
keys = {}
for role in ("annotator", "reviewer", "researcher", "manager"):
    members = Membership.objects.filter(role=role, user__is_active=True).order_by("pk")
    if (first := members.first()) is None:
        user, _ = User.objects.get_or_create(username=f"a-{role}")
        for project in Project.objects.all():
            first = Membership.objects.create(project=project, user=user, role=role)
    if first is not None:
        keys[role] = first.user
if staff := User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first():
    keys["staff"] = staff
for role, user in keys.items():
    client = Client()
    client.force_login(user)
    keys[role] = client.session.session_key
print(json.dumps(keys))
"""


@dataclass(frozen=True)
class Found:
    """A page, as one role sees it; `key` is the session's, empty for a visitor."""

    path: str
    role: str
    key: str
    words: tuple[str, ...]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a data folder, such as that of script/demo")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the pictures")
    parser.add_argument("--only", default="", help="pages whose address this regular expression finds")
    parser.add_argument("--axe", action="store_true", help="have axe-core look at each page too, in light and dark")
    parser.add_argument("--resume", action="store_true", help="leave out pages that FOLDER has without a fault")
    options = parser.parse_args(arguments)
    if not (options.data / "assay.sqlite3").exists():
        parser.error(f"--data: no assay.sqlite3 in {options.data}; name the data folder of a site on SQLite.")
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # the server must end, too
    with served(options.data) as (url, keys):
        pages = [page for page in every_page(url, keys) if re.search(options.only, page.path)]
        todo = [page for page in pages if not (options.resume and is_clean(page, options.out))]
        for fault in take(url, todo, options.out, use_axe=options.axe):
            print(fault, flush=True)
    faults = [fault for page in pages for fault in faults_file(page, options.out).read_text().splitlines()]
    (options.out / "faults.txt").write_text("".join(f"{line}\n" for line in faults))
    (options.out / "index.html").write_text(index(pages))
    print(f"{len(pages)} pages in {options.out}/index.html; {len(faults)} faults in {options.out}/faults.txt")
    return 1 if faults else 0


@contextmanager
def served(data: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve a copy of the folder as production does: its address, and the session of each role."""
    with tempfile.TemporaryDirectory(prefix="assay-pictures-") as folder:
        copy(data, Path(folder))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        environment |= {"ASSAY_DATA": folder, "SITE_URL": url, "HOST": "127.0.0.1", "PORT": str(port), "DEBUG": "0"}
        environment |= {"SECRET_KEY": secrets.token_urlsafe(50), "HF_HUB_OFFLINE": "1"}
        _manage(environment, "migrate", "--verbosity", "0")
        _manage(environment, "collectstatic", "--noinput", "--verbosity", "0")
        keys = json.loads(_manage(environment, "shell", "--verbosity", "0", "--command", SIGN_IN).splitlines()[-1])
        command = ["uvicorn", "config.asgi:application", "--port", str(port), "--no-proxy-headers"]
        server = subprocess.Popen([sys.executable, "-m", *command, "--log-level", "warning"], cwd=ROOT, env=environment)
        try:
            until(lambda: answers(url), 120, "the site answers; what it said stands above")
            yield url, keys
        finally:
            server.terminate()
            server.wait(30)


def copy(data: Path, folder: Path) -> None:
    """Copy the database and all files but the static ones, which are collected anew.

    Nothing is linked: the page about the disk does not count files that have other names.
    """
    left_out = shutil.ignore_patterns("assay.sqlite3*", "static", "secret-key")
    shutil.copytree(data, folder, dirs_exist_ok=True, ignore=left_out)
    with (
        closing(sqlite3.connect(f"file:{data / 'assay.sqlite3'}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(folder / "assay.sqlite3")) as target,
    ):
        source.backup(target)


def _manage(environment: Mapping[str, str], *command: str) -> str:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def every_page(url: str, keys: Mapping[str, str]) -> list[Found]:
    """Return the pages to take, in the order of their addresses."""
    fullest: dict[tuple, Found] = {}
    for role, key in {"visitor": "", **keys}.items():
        for page, html in _crawl(url, role, key):
            kind = (_shape(page.path), *html.headings, *sorted({_shape(n) for n in html.fields}))
            if kind not in fullest or len(page.words) > len(fullest[kind].words):
                fullest[kind] = page
    return sorted(fullest.values(), key=lambda page: (page.path, page.role))


def _crawl(url: str, role: str, key: str) -> Iterator[tuple[Found, HtmlPage]]:
    """Follow every link that the role is shown, from the start page."""
    todo, seen, opened = deque(["/"]), set[str](), Counter[str]()
    with httpx.Client(base_url=url, cookies={"sessionid": key} if key else {}, timeout=60) as client:
        while todo:
            path = todo.popleft()
            shape = _shape(path)
            if path in seen or opened[shape] >= MOST_OF_A_KIND or path.startswith(("/admin/", "/api/")):
                continue
            seen.add(path)
            opened[shape] += 1
            with client.stream("GET", path) as answer:  # downloads end with their headers
                links = [answer.headers["Location"]] if answer.is_redirect else []
                if answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
                    html = HtmlPage(text := answer.read().decode())
                    links = html.links
                    if "<html" in text:  # else a part, which a page takes in
                        yield Found(path, role, key, tuple(html.words)), html
            todo += [link for link in (own_path(url, path, link) for link in links) if link]


def _shape(path: str) -> str:
    """Return the address with N for each id and project, and without its query."""
    return re.sub(rf"(?<=/p/)[^/?]+|{IDS}", "N", path.partition("?")[0])


def take(url: str, pages: list[Found], folder: Path, *, use_axe: bool) -> Iterator[str]:
    """Write pictures, words and faults of the pages, and yield each fault when it is seen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        for page in pages:
            name = file_name(page)
            (folder / f"{name}.txt").write_text("".join(f"{words}\n" for words in page.words))
            faults: list[str] = []
            for width in WIDTHS:
                for it in _take(browser, url, page, width, folder / name, use_axe):
                    faults.append(f"{page.path} ({page.role}, {width} px): {it}")
                    yield faults[-1]
            faults_file(page, folder).write_text("".join(f"{line}\n" for line in faults))
        browser.close()


def faults_file(page: Found, folder: Path) -> Path:
    """Return the file with the page's faults, a line each; it is there once the page is taken as a whole."""
    return folder / f"{file_name(page)}.faults"


def is_clean(page: Found, folder: Path) -> bool:
    """Return whether the page was taken as a whole, without a fault."""
    file = faults_file(page, folder)
    return file.exists() and not file.read_text()


def _take(browser: Browser, url: str, found: Found, width: int, file: Path, use_axe: bool) -> list[str]:
    context = browser.new_context(viewport={"width": width, "height": WIDTHS[width]}, reduced_motion="reduce")
    if found.key:
        context.add_cookies([{"name": "sessionid", "value": found.key, "url": url}])
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"a script fails: {error}"))
    page.on("response", lambda r: faults.append(f"{r.status} from {r.url}") if r.status >= 400 else None)
    try:
        page.goto(url + found.path)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(SETTLING_MS)
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            page.screenshot(path=f"{file}-{width}-{scheme}.png", full_page=True)
            faults += _wrong_by_axe(page, scheme) if use_axe else []
        wide = page.evaluate("document.documentElement.scrollWidth")
        faults += [f"scrolls sideways, {wide} px wide"] if wide > width else []
    except PlaywrightError as error:  # the others are taken all the same
        faults.append(f"no picture: {error.message.splitlines()[0]}")
    context.close()
    return faults


def _wrong_by_axe(page: Page, scheme: str) -> list[str]:
    violations = Axe().run(page).response["violations"]
    html = [" ".join(one["nodes"][0]["html"].split())[:150] for one in violations]
    return [f"axe in {scheme}: {one['help']}: {first}" for one, first in zip(violations, html, strict=True)]


def file_name(page: Found) -> str:
    """Return a name that is the same in every run over the same data: without the keys that the site draws."""
    path = re.sub(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f-]{27}", "x", page.path)
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', path).strip('-')[:120] or 'home'}.{page.role}"


def index(pages: list[Found]) -> str:
    """Return a page with all pictures, four in a row."""
    rows = []
    for page in pages:
        name = escape(file_name(page))
        files = [f"{name}-{width}-{scheme}.png" for width in WIDTHS for scheme in SCHEMES]
        shown = "".join(f'<a href="{file}"><img src="{file}" loading="lazy" alt=""></a>' for file in files)
        rows.append(f"<h2>{escape(page.path)} <small>{page.role}</small></h2><p>{shown}</p>")
    style = (
        "img { height: 24rem; max-width: 24%; object-fit: cover; object-position: top; border: 1px solid; margin: 2px }"
    )
    return f"<!doctype html><meta charset=utf-8><title>Every page</title><style>{style}</style>{''.join(rows)}\n"


if __name__ == "__main__":
    sys.exit(main())
