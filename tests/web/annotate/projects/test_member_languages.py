"""The languages of members: from invitations, on the People page, by the API, and what the member sees of them."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.urls import reverse

from annotate.models import AuditEntry, Invitation, Membership
from annotate.projects import invitations
from annotate.projects.bulk_invitations import address_lists
from tests.support.api_client import Program, errors, program
from tests.support.factories import make_project, make_user, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return make_project(is_public=False)


def language_of(user) -> str:
    return Membership.objects.get(user=user).language


def save(client, project, **fields):
    return client.post(reverse("members", args=[project.slug]), {"username": "ada", "role": "annotator", **fields})


@pytest.mark.parametrize(
    "written", ["a@example.org, , de pt_br", 'a@example.org,,"de, PT-BR"', "a@example.org;;de/pt-br"]
)
def test_a_line_of_a_list_may_have_several_languages(written):
    [line] = address_lists.read(written, address_lists.Defaults())
    assert (line.language, line.problems) == ("de, pt-BR", ())


def test_a_line_without_any_has_those_of_the_form():
    text = "Email,Languages\na@example.org,\nb@example.org,fr\nc@example.org,french"
    lines = address_lists.read(text, address_lists.Defaults(language="en de"))
    assert [line.language for line in lines] == ["en, de", "fr", "french"]
    assert [problem.field for problem in lines[2].problems] == ["language"]


def test_the_people_page_shows_and_changes_them(client, project):
    manager, ada = sign_in(client, project, "manager"), make_user(project, username="ada")
    assert save(client, project, language="PT_br de").status_code == 302
    assert language_of(ada) == "pt-BR, de"
    html = client.get(reverse("people", args=[project.slug])).content.decode()
    assert 'value="pt-BR, de"' in html and "Languages of ada" in html
    entry = AuditEntry.objects.get(action="member.languages")
    assert (entry.actor, entry.about, entry.changes) == (manager, "ada", {"language": ["", "pt-BR, de"]})
    save(client, project, language="pt-BR, de")
    assert AuditEntry.objects.filter(action="member.languages").count() == 1, "no change, no entry"
    save(client, project)
    assert language_of(ada) == "pt-BR, de", "a form that says nothing of them changes nothing"
    save(client, project, language="")
    assert language_of(ada) == ""


def test_a_wrong_language_changes_neither_it_nor_the_role(client, project):
    sign_in(client, project, "manager")
    ada = make_user(project, username="ada")
    refused = save(client, project, role="reviewer", language="german")
    assert refused.status_code == 400 and "such as de or pt-BR" in refused.content.decode()
    assert Membership.objects.get(user=ada).role == "annotator" and language_of(ada) == ""


def test_a_single_invitation_brings_them_and_says_so(client, project):
    sign_in(client, project, "manager")
    address = reverse("invite", args=[project.slug])
    assert client.post(address, {"role": "annotator", "language": "german"}).status_code == 400
    assert not Invitation.objects.exists()
    page = client.post(address, {"role": "annotator", "email": "a@example.org", "language": "de es"}, follow=True)
    assert "Annotator, de, es" in page.content.decode()
    token = page.context["link"].rstrip("/").rsplit("/", 1)[1]
    client.logout()
    assert "You get prompts in German and Spanish." in client.get(reverse("invitation", args=[token])).content.decode()
    ada = make_user(username="ada")
    invitations.accept(token=token, by=ada)
    assert language_of(ada) == "de, es"
    client.force_login(ada)
    html = client.get(reverse("account")).content.decode()
    assert "in de, es" in html and "A manager of the project can change your languages" in html


def test_who_reads_everything_sees_nothing_of_languages(client, project):
    sign_in(client, project, "annotator")
    assert "language" not in client.get(reverse("account")).content.decode()


def test_programs_invite_and_change_members_by_language(project):
    manager = Program(make_user(project, role="manager", email="m@example.org"))
    path = f"projects/{project.slug}/"
    made = manager.post(path + "invitations/", {"role": "annotator", "language": "de"}).json()
    assert made["language"] == "de"
    assert "language" in errors(manager.post(path + "invitations/", {"role": "annotator", "language": "german"}))
    people = [{"email": "a@example.org", "language": "fr, de"}, {"email": "b@example.org"}]
    assert manager.post(path + "invitations/bulk/", {"people": people, "language": "es"}).json()["invited"] == 2
    assert set(Invitation.objects.exclude(email="").values_list("language", flat=True)) == {"fr, de", "es"}
    ada = make_user(project, username="ada")
    told = manager.post(path + "members/", {"username": "ada", "role": "annotator", "language": "de,fr"}).json()
    assert {member["username"]: member["language"] for member in told}["ada"] == "de, fr"
    manager.post(path + "members/", {"username": "ada", "role": "reviewer"})
    assert language_of(ada) == "de, fr"
    assert "language" in errors(
        manager.post(path + "members/", {"username": "ada", "role": "reviewer", "language": "?"})
    )
    assert errors(program(project, "researcher").get(path + "members/"), 403)


def test_a_command_invites_by_language(project, capsys):
    make_user(project, role="manager", username="root", is_superuser=True)
    call_command("invite_annotator", project=project.slug, language="de,pt-BR")
    assert Invitation.objects.get().language == "de, pt-BR"
