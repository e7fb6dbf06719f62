"""Show the map to one reader on one page: what is in the bar, the pages beside this one, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from django.urls import NoReverseMatch, resolve, reverse

from annotate.core.permissions import Person, held_rights
from annotate.core.rights import declared_by, is_met
from annotate.core.site_map.map_entries import GROUPS, SHORT_BAR, Entry, Group
from annotate.models import Project

_PROJECT = "a-project"
_WAY_BACK = "annotate"  # where a page that belongs to a person leads back to


@dataclass(frozen=True)
class Link:
    """Hold a link; `current` is the value of aria-current: `page`, `true` for what the page is below of, or empty."""

    words: str
    address: str
    current: str = ""


MenuGroup = tuple[str, tuple[Link, ...]]  # a group of the menu: its words and its pages


@dataclass(frozen=True)
class Navigation:
    """Hold what a page shows of the map. `menu` is all of it, group by group, for narrow windows."""

    main: tuple[Link, ...]
    pages: tuple[Link, ...]
    trail: tuple[Link, ...]
    menu: tuple[MenuGroup, ...]
    group: str = ""
    words: str = ""
    guide: str = ""


def navigation(project: Project, user: Person, path: str, page: str = "") -> Navigation:
    """Return what this person is shown on the page at `path`, whose address has the name `page`."""
    return _Reader(project, user, path, page).navigation()


def place_of(path: str, slug: str, page: str = "") -> tuple[Group, Entry] | None:
    """Return where a page of the project is in the map: by its name, else by the longest beginning of its address."""
    inside = path.replace(f"/p/{slug}/", f"/p/{_PROJECT}/", 1) if path.startswith(f"/p/{slug}/") else path
    best: tuple[int, Group, Entry] | None = None
    for group, entry in each_entry():
        if page and page in entry.below:
            return group, entry
        length = max((len(b) for b in _beginnings(entry) if _begins(inside, b)), default=0)
        if length and (best is None or length > best[0]):
            best = length, group, entry
    return best[1:] if best else None


def each_entry() -> Iterator[tuple[Group, Entry]]:
    return ((group, entry) for group in GROUPS for entry in group.entries)


@cache
def right_of(page: str) -> str:
    """Return the right that the page's view declares for looking at it."""
    declared = declared_by(resolve(_pattern(page)).func) or {}
    return declared["get"]


def address_of(page: str, slug: str) -> str:
    """Return the address of a page of the map in a project. A page that belongs to a person gets its way back."""
    if is_personal(page):
        return f"{_pattern(page)}?back={address_of(_WAY_BACK, slug)}"
    return _pattern(page).replace(f"/{_PROJECT}/", f"/{slug}/", 1)


def is_personal(page: str) -> bool:
    """Return whether the page is the same in every project, such as one's own keys."""
    return f"/{_PROJECT}/" not in _pattern(page)


@cache
def _pattern(page: str) -> str:
    for parts in ([_PROJECT], []):
        try:
            return reverse(page, args=parts)
        except NoReverseMatch:
            continue
    return ""


@cache
def _beginnings(entry: Entry) -> tuple[str, ...]:
    home, own = _pattern("project"), _pattern(entry.page)
    others = (*entry.also, *entry.detours)
    return (own, *(each if each.startswith("/") else home + each for each in others)) if own else ()


def _begins(path: str, beginning: str) -> bool:
    """Return whether the page is there or below; below a project's own page is nothing of the map."""
    return path == beginning if beginning == _pattern("project") else path.startswith(beginning)


class _Reader:
    """Hold one reader on one page of a project."""

    def __init__(self, project: Project, user: Person, path: str, page: str) -> None:
        self.project, self.path = project, path
        self.rights = held_rights(user, project)
        place = place_of(path, project.slug, page)
        self.group: Group | None = place[0] if place else None
        self.entry: Entry | None = place[1] if place else None

    def navigation(self) -> Navigation:
        pages = tuple(self._link(each) for each in self.group.entries if self._may(each)) if self.group else ()
        if "review" in self.rights:
            menu = tuple(self._whole_menu())
            main = tuple(self._group_links(menu))
        else:
            main = self._short_bar()
            menu = self._short_menu(main, pages)
        return Navigation(
            main=main,
            pages=pages,
            trail=self._trail(pages),
            menu=menu,
            group=self.group.words if self.group else "",
            words=self.entry.words if self.entry else "",
            guide=self.entry.guide if self.entry else "",
        )

    def _may(self, entry: Entry) -> bool:
        """Return whether the reader may open the page, and the project uses it."""
        is_on = not entry.switch or bool(getattr(self.project, entry.switch))
        is_there = bool(_pattern(entry.page))
        return is_on and is_there and is_met(right_of(entry.page), self.rights) and self._may_go_back(entry)

    def _may_go_back(self, entry: Entry) -> bool:
        """Return whether the reader may open the page that a page of their own leads back to."""
        return not is_personal(entry.page) or is_met(right_of(_WAY_BACK), self.rights)

    def _is_shown(self, entry: Entry) -> bool:
        return self._may(entry) and (not entry.audience or entry.audience in self.rights)

    def _link(self, entry: Entry, words: str = "") -> Link:
        address = address_of(entry.page, self.project.slug)
        current = "" if entry is not self.entry else "page" if self.path == address.partition("?")[0] else "true"
        return Link(words or entry.words, address, current)

    def _group_links(self, menu: tuple[MenuGroup, ...]) -> Iterator[Link]:
        """Yield each group as a link to its first page; that of the group that the page is in is current."""
        for words, links in menu:
            is_current = self.group is not None and words == self.group.words
            yield Link(words, links[0].address, (links[0].current or "true") if is_current else "")

    def _short_bar(self) -> tuple[Link, ...]:
        """Return the bar of who reviews nothing; of a page that is not in it, its group's first link is current."""
        found = {entry.page: (group, entry) for group, entry in each_entry()}
        shown = [(words, *found[page]) for words, page in SHORT_BAR if self._may(found[page][1])]
        links = [self._link(entry, words) for words, _, entry in shown]
        if not any(link.current for link in links):
            groups = [group for _, group, _ in shown]
            if self.group in groups:
                i = groups.index(self.group)
                links[i] = Link(links[i].words, links[i].address, "true")
        return tuple(links)

    def _short_menu(self, main: tuple[Link, ...], pages: tuple[Link, ...]) -> tuple[MenuGroup, ...]:
        in_bar = {link.address for link in main}
        others = tuple(link for link in pages if link.address not in in_bar)
        overview = address_of("project", self.project.slug)
        is_needed = "read" in self.rights and all(link.address != overview for link in others)
        start = (Link("Overview", overview),) if is_needed else ()
        parts = [("", (*start, *main)), (self.group.words if self.group else "", others)]
        return tuple(part for part in parts if part[1])

    def _whole_menu(self) -> Iterator[MenuGroup]:
        for group in GROUPS:
            if links := tuple(self._link(each) for each in group.entries if self._is_shown(each)):
                yield group.words, links

    def _trail(self, pages: tuple[Link, ...]) -> tuple[Link, ...]:
        """Return the way back, from the group down; nothing on a page that the second line shows."""
        if not (self.group and self.entry) or not pages or not self._may(self.entry):
            return ()
        own = self._link(self.entry)
        if own.current == "page" or self._is_detour(self.entry):
            return ()
        first = Link(self.group.words, pages[0].address)
        return (first, own) if first.address != own.address else (own,)

    def _is_detour(self, entry: Entry) -> bool:
        home = address_of("project", self.project.slug)
        return any(self.path.startswith(home + each) for each in entry.detours)
