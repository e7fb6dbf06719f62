"""The guides of docs/guides on the site: for everybody, with links that lead somewhere."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from annotate.guides.guide_files import guide_names, guide_text
from tests.support.factories import make_project, sign_in

pytestmark = pytest.mark.django_db


def hrefs(html: str) -> list[str]:
    article = html.partition('class="guide-text"')[2].partition("</article>")[0]
    return re.findall(r'href="([^"]*)"', article)


@pytest.mark.slow
def test_the_index_leads_to_every_guide_and_each_is_shown_to_anybody(client):
    listed = hrefs(client.get(reverse("guides")).content.decode())
    assert {reverse("guide", args=[name]) for name in guide_names()} <= set(listed)
    for name in guide_names():
        html = client.get(reverse("guide", args=[name])).content.decode()
        title = guide_text(name).partition("\n")[0].lstrip("# ")
        assert "<h1" in html and title.split("`")[0] in html
        for link in hrefs(html):
            path, _, part = link.partition("#")
            page = client.get(path).content.decode() if path.startswith("/") else html
            assert link.startswith(("/guides/", "https://", "#")), (name, link)
            assert not part or link.startswith("https://") or f'id="{part}"' in page, (name, link)


def test_a_guide_keeps_the_bar_of_the_project_that_it_was_opened_from(client):
    project, private = make_project(), make_project(is_public=False)
    sign_in(client, project, "researcher")
    html = client.get(reverse("guide", args=["runs"]), {"project": project.slug}).content.decode()
    assert reverse("runs", args=[project.slug]) in html
    assert all(f"?project={project.slug}" in link for link in hrefs(html) if link.startswith("/guides/"))
    for slug in (private.slug, "nowhere", "a\x00"):
        assert client.get(reverse("guide", args=["runs"]), {"project": slug}).context["project"] is None


@pytest.mark.parametrize("name", guide_names())
def test_a_guide_shows_no_markup_and_no_words_in_place_of_a_picture(client, name):
    html = client.get(reverse("guide", args=[name])).content.decode()
    shown = re.sub(r"<(pre|code)\b.*?</\1>", "", html.partition('class="guide-text"')[2], flags=re.DOTALL)
    assert re.findall(r"&lt;/?[a-z]+&gt;", shown) == []
    assert "take_pictures" not in html and "../" not in shown


def test_keys_of_the_annotation_page_are_shown_as_keys(client):
    html = client.get(reverse("guide", args=["judging"])).content.decode()
    assert "<code>Y</code> thumb up" in html and "<code>Shift</code>" in html


@pytest.mark.parametrize("name", ["nowhere", "README", "readme"])
def test_what_is_no_guide_is_not_there(client, name):
    assert client.get(f"/guides/{name}/").status_code == 404


def test_pages_link_to_their_guide(client):
    project = make_project()
    html = client.get(reverse("leaderboard", args=[project.slug])).content.decode()
    assert reverse("guide", args=["ratings"]) in html
