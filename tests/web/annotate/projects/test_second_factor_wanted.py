"""A project that wants a second factor of its members: who is refused, where, and how they come in again."""

from __future__ import annotations

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib.auth.models import AnonymousUser
from django.urls import reverse

from annotate.core.asgi.socket_access import DeclaredConsumer
from annotate.core.errors import Refused
from annotate.core.permissions import can, held_rights, projects_where
from annotate.models import Membership
from annotate.projects import actions
from tests.support.api_client import Program, errors
from tests.support.factories import make_project, make_user
from tests.support.second_factor import SECRET

pytestmark = pytest.mark.django_db
WORDS = "for members with a second factor"


class LivePage(DeclaredConsumer):
    right = "judge"


def closed(role: str = "annotator", **settings):
    project = make_project(is_public=False, needs_second_factor=True, **settings)
    return project, make_user(project, role=role)


def test_a_manager_switches_it_on_with_a_factor_of_their_own_and_it_is_on_the_trail(client):
    project = make_project(is_public=False)
    manager = Program(make_user(project, role="manager"))
    address = f"projects/{project.slug}/"
    refused = errors(manager.patch(address, {"needs_second_factor": True}))
    assert "your own account first" in refused["needs_second_factor"]
    TOTP.activate(manager.user, SECRET)
    assert manager.patch(address, {"needs_second_factor": True}).json()["needs_second_factor"] is True
    assert project.audit.get().changes == {"needs_second_factor": [False, True]}


def test_nobody_starts_a_project_that_shuts_them_out():
    staff = make_user(is_staff=True)
    with pytest.raises(Refused, match="your own account first"):
        actions.create_project(slug="p", name="P", by=staff, needs_second_factor=True)


@pytest.mark.parametrize("role", ["annotator", "manager"])
def test_a_member_without_one_is_led_to_set_it_up_and_comes_in_then(client, role):
    project, member = closed(role)
    client.force_login(member)
    page = client.get(reverse("project", args=[project.slug]))
    html = page.content.decode()
    assert page.status_code == 403 and WORDS in html and reverse("mfa_activate_totp") in html
    assert client.get(reverse("annotate", args=[project.slug])).status_code == 403
    assert client.get(reverse("home")).status_code == client.get(reverse("account")).status_code == 200
    TOTP.activate(member, SECRET)
    assert client.get(reverse("project", args=[project.slug])).status_code == 200


def test_a_program_is_refused_until_the_account_has_one_and_its_token_holds_then():
    project, member = closed()
    program = Program(member)
    assert WORDS in errors(program.get(f"projects/{project.slug}/"), 403)["second_factor"]
    assert WORDS in errors(program.post(f"projects/{project.slug}/assignments/", {}), 403)["second_factor"]
    assert not program.get("projects/").json()["results"]
    TOTP.activate(member, SECRET)
    assert program.get(f"projects/{project.slug}/").status_code == 200
    assert len(program.get("projects/").json()["results"]) == 1


def test_live_pages_lists_and_rights_say_the_same():
    project, member = closed("researcher")
    root = make_user(is_superuser=True, is_staff=True)
    for person in (member, root):
        for action in ("read", "judge", "review", "research", "manage"):
            assert not can(person, action, project) and not projects_where(person, action).exists()
        assert not {"read", "judge", "review", "research", "manage"} & held_rights(person, project)
        live_page = LivePage()
        live_page.scope = {"user": person}
        assert not live_page.may_enter(project)
        TOTP.activate(person, SECRET)
        del person.has_second_factor
        assert can(person, "judge", project) and live_page.may_enter(project)
        assert projects_where(person, "judge").get() == project and "research" in held_rights(person, project)


def test_others_learn_nothing_of_it_and_visitors_read_what_is_public(client):
    project, member = closed()
    stranger = make_user()
    client.force_login(stranger)
    assert client.get(reverse("project", args=[project.slug])).status_code == 404
    assert WORDS not in str(errors(Program(stranger).get(f"projects/{project.slug}/"), 404))
    project.is_public = True
    project.save()
    client.force_login(member)
    assert client.get(reverse("leaderboard", args=[project.slug])).status_code == 200
    assert client.get(reverse("annotate", args=[project.slug])).status_code == 403
    assert can(AnonymousUser(), "read", project) and not can(member, "judge", project)


def test_other_projects_and_simulated_annotators_are_as_before(django_assert_num_queries):
    project, member = closed()
    other = make_project(is_public=False)
    Membership.objects.create(project=other, user=member, role="annotator")
    assert can(member, "judge", other) and projects_where(member, "judge").get() == other
    simulated = make_user(project, role="annotator", is_simulated=True)
    assert can(simulated, "judge", project) and projects_where(simulated, "judge").get() == project
    with django_assert_num_queries(1):
        can(member, "judge", other)


def test_whoever_takes_the_factor_away_is_out_again(client):
    project, member = closed()
    TOTP.activate(member, SECRET)
    client.force_login(member)
    assert client.get(reverse("project", args=[project.slug])).status_code == 200
    member.authenticator_set.all().delete()
    assert client.get(reverse("project", args=[project.slug])).status_code == 403
