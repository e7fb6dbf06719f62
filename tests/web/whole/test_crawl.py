"""What a role may not do it does not see: everybody follows every link that they are shown, and presses each button."""

from __future__ import annotations

import re
from collections import Counter, deque
from urllib.parse import urljoin

import pytest
from django.db import transaction
from django.test import Client

from tests.support.everything import one_of_everything
from tests.support.factories import make_project
from tests.support.html_page import IDS, HtmlPage, own_path
from tests.support.sampling_of_cases import plain_run_tries
from tests.web.whole.test_permission_matrix import OUTSIDE, person

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.usefixtures("no_process_by_get")]
HOST = "http://testserver"


# Who is shown the most, and who the least; the others see a part of what a manager sees.
EVERYBODY = (*OUTSIDE, "annotator", "reviewer", "researcher", "manager")


def of_a_kind(who: str) -> int:
    """Return how many pages that differ in numbers alone are opened: two by the one whom the plain run tries."""
    return 2 if who == "annotator" else 1


@pytest.mark.parametrize("who", plain_run_tries("annotator", of=EVERYBODY))
def test_nobody_is_shown_a_link_or_a_button_that_refuses_them(who):
    made = one_of_everything(make_project(is_public=True, asks_attacks=True))
    user, client = person(who, made), Client(raise_request_exception=False)
    if user is not None:
        made["project"].memberships.filter(user=user).update(guideline_read=1)
        client.force_login(user)
    wrong: list[str] = []
    todo, seen = deque([("/", "")]), Counter[str]()
    while todo:
        path, where = todo.popleft()
        shape = _kind(path)
        if seen[shape] >= of_a_kind(who) or path.startswith(("/admin/", "/api/")):
            continue
        seen[shape] += 1
        response = client.get(path)
        status = response.status_code
        if status in (301, 302):
            todo.append((urljoin(path, response.url), where))
        if status in (401, 403) or status >= 500 or response.headers.get("Location", "").startswith("/sign-in/"):
            wrong.append(f"{where} leads to {path}: {status}")
        if status != 200 or response.streaming or not response["Content-Type"].startswith("text/html"):
            continue
        page = HtmlPage(response.content.decode())
        wrong += [f"{path} has a script in it: {page.scripts}"] if page.scripts else []
        assert "script" not in response["Content-Security-Policy"], "scripts are our own, as all else"
        todo += [(link, path) for link in _here(page.links, path)]
        for address in _here(page.sends, path):
            shape = "POST " + re.sub(IDS, "N", address)
            if not seen[shape] and address != "/sign-out/":
                seen[shape] += 1
                if refusal := _pressed(client, address):
                    wrong.append(f"{path} has a button for {address}: {refusal}")
    assert not wrong, "\n".join(wrong)
    assert len(seen) > 40


def _kind(path: str) -> str:
    """Return the same for pages that differ in numbers alone, and for guides: test_guides looks where these lead."""
    return re.sub(r"^/guides/.+", "/guides/N/", re.sub(IDS, "N", path))


def _here(links: list[str], path: str) -> list[str]:
    """Those that stay on the site, without their fragment."""
    return [own for link in links if (own := own_path(HOST, path, link))]


def _pressed(client: Client, address: str) -> int:
    """What refused it, or 0. Nothing of it stays."""
    savepoint = transaction.savepoint()
    response = client.post(address)
    transaction.savepoint_rollback(savepoint)
    is_refused = response.status_code in (401, 403, 405) or response.status_code >= 500
    return response.status_code if is_refused else 0
