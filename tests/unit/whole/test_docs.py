"""What README, guides and records of decisions name is there: files, modules, pages, commands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from django.core.management import get_commands

from annotate.core.site_map.map_entries import GROUPS

ROOT = Path(__file__).resolve().parents[3]
AT_THE_ROOT = [ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")]
PAGES = [*AT_THE_ROOT, *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [
    path
    for room in ("common", "annotate", "training", "evaluation", "config", "benchmarks")
    for path in (ROOT / room).rglob("*.py")
]
_BEGINS = r"(?<![\w./-])(?:common|annotate|training|evaluation|config|tests|benchmarks|docs|script|templates|static)"
FILE = re.compile(_BEGINS + r"/[\w/-]*(?:\.\w+)?")
MODULE = re.compile(r"(?<![\w./-])(?:annotate|training|evaluation|benchmarks)(?:\.(?!md\b)[a-z_0-9]+)+")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
COMMAND = re.compile(r"manage\.py ([a-z_]+)")
WAY = re.compile(r"\*([A-Z][\w ]*) → ([\w -]*\w)[^*]*\*")
# Ways through what the map does not list: an annotator's page, an account, another tool.
OTHER_WAYS = {("Keys", "Change the keys"), ("Your account", "Single sign-on"), ("Settings", "Labeling Interface")}


def names(pattern: re.Pattern[str], page: Path) -> set[str]:
    return {found.rstrip("/.") for found in pattern.findall(page.read_text(encoding="utf-8"))}


def is_module(name: str) -> bool:
    """A package, a module, or something in a module."""
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists() or path.parent.with_suffix(".py").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_what_is_there(page):
    assert [name for name in names(FILE, page) if not (ROOT / name).exists()] == []
    assert [name for name in names(MODULE, page) if not is_module(name)] == []
    assert [link for link in names(LINK, page) if not (page.parent / link).exists()] == []
    assert names(COMMAND, page) <= get_commands().keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_way_through_the_pages_is_in_the_map(page):
    """`*Data → Export*` names a group of the bar and an entry below it."""
    if "experiments" not in page.parts:  # those say what was there then
        ways = set(WAY.findall(page.read_text(encoding="utf-8"))) - OTHER_WAYS
        assert ways <= {(group.words, entry.words) for group in GROUPS for entry in group.entries}


def test_code_names_files_that_are_there():
    named = {name for path in CODE for name in names(FILE, path)}
    missing = [name for name in named if not any((ROOT / room / name).exists() for room in ("", "templates", "static"))]
    assert missing == []


@pytest.mark.parametrize("folder", ["adr", "guides", "experiments"])
def test_an_index_lists_every_page_of_its_folder(folder):
    pages = {path.name for path in (ROOT / "docs" / folder).glob("*.md")} - {"README.md"}
    assert pages - names(LINK, ROOT / "docs" / folder / "README.md") == set()


def test_the_guides_have_one_row_for_each_reader():
    index = (ROOT / "docs/guides/README.md").read_text(encoding="utf-8")
    readers = re.findall(r"^\| ([^|]+) \|", index, re.MULTILINE)
    assert len(readers) > 5 and len(readers) == len(set(readers))


def test_the_changelog_begins_with_what_is_unreleased_and_the_version_that_the_project_states():
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert versions[:2] == ["Unreleased", project["version"]]


def test_an_entry_of_a_version_has_at_most_two_lines():
    released = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n## 0")[2]
    entries = re.findall(r"^- .*(?:\n  .*)*", released, re.MULTILINE)
    assert entries and [entry for entry in entries if entry.count("\n") > 1] == []
