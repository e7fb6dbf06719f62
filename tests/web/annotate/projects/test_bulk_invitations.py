"""Many invitations at once: lists with mistakes, mails in the background, batches, links to hand over."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from smtplib import SMTPRecipientsRefused

import pytest
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.mail.backends.locmem import EmailBackend
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import AuditEntry, Invitation, Membership
from annotate.projects import invitations
from annotate.projects.bulk_invitations import actions, address_lists, mailing
from tests.support.api_client import Program, errors, program
from tests.support.factories import make_project, make_user, sign_in

pytestmark = pytest.mark.django_db
DEFAULTS = address_lists.Defaults()


@pytest.fixture
def mailed(settings):
    settings.EMAIL_NOTICES_FROM = "assay@example.org"


@pytest.fixture
def project():
    return make_project(is_public=False)


@pytest.fixture
def manager(client, project):
    return sign_in(client, project, "manager")


def people(n: int) -> str:
    return "\n".join(f"person{i}@example.org" for i in range(n))


def page(project) -> str:
    return reverse("invitations", args=[project.slug])


def invite(client, project, text: str, **fields):
    return client.post(page(project), {"people": text, "role": "annotator", "batch": "spring", "send": "", **fields})


def send_all() -> None:
    while mailing.send_waiting():
        pass


def test_a_line_that_is_too_long_for_a_table_is_refused_by_its_number():
    with pytest.raises(Refused, match="Line 2"):
        address_lists.read(f"a@example.org\n{'x' * 200_000}", address_lists.Defaults())


def test_addresses_are_read_in_the_shapes_that_people_paste():
    lines = address_lists.read(
        "Ada <a@example.org>\n\nb@example.org, reviewer, de, one\nc@example.org;manager\nd@example.org\te@example.org",
        address_lists.Defaults(role="annotator", batch="two"),
    )
    assert [(line.number, line.email, line.role, line.language, line.batch) for line in lines] == [
        (1, "a@example.org", "annotator", "", "two"),
        (3, "b@example.org", "reviewer", "de", "one"),
        (4, "c@example.org", "manager", "", "two"),
        (5, "d@example.org", "annotator", "", "two"),
        (5, "e@example.org", "annotator", "", "two"),
    ]
    assert not any(line.problems for line in lines)


def test_a_table_with_headings_may_order_its_columns_otherwise():
    lines = address_lists.read("Batch,E-mail,Role\nspring,a@example.org,\n", DEFAULTS)
    assert [(line.number, line.email, line.role, line.batch) for line in lines] == [
        (2, "a@example.org", "annotator", "spring")
    ]


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ("ada", "email", "not an e-mail address"),
        ("a@example.org, owner", "role", "use one of annotator, reviewer, researcher, manager"),
        ("a@example.org, annotator, German!", "language", "such as de or pt-BR"),
        ("a@example.org, annotator, de, " + "x" * 61, "batch", "within 60"),
        ("a@example.org, annotator, de, x, y", "line", "'y'"),
        (", annotator", "email", "address is missing"),
        ("a@example.org\nA@example.org", "email", "already on line 1"),
    ],
)
def test_a_wrong_line_is_named_with_its_field_and_the_remedy(text, field, says):
    wrong = [line for line in address_lists.read(text, DEFAULTS) if line.problems]
    assert [problem.field for problem in wrong[0].problems] == [field] and says in wrong[0].problems[0].text
    assert wrong[0].number == len(text.splitlines())


def test_nothing_is_sent_before_all_is_right_or_left_out(client, project, manager, mailed):
    text = "good@example.org\nbad\nother@example.org, owner"
    preview = client.post(page(project), {"people": text, "role": "annotator", "check": ""})
    html = preview.content.decode()
    assert preview.status_code == 200 and "1 person can be invited, 2 lines have" in html
    refused = invite(client, project, text)
    assert refused.status_code == 400 and "&#x27;bad&#x27; is not an e-mail address" in refused.content.decode()
    assert not Invitation.objects.exists()
    assert invite(client, project, text, leave_out="on").status_code == 302
    assert list(Invitation.objects.values_list("email", "batch", "mail")) == [("good@example.org", "spring", "waiting")]
    assert not mail.outbox, "the request itself sends nothing"


def test_members_and_those_who_are_invited_are_named(client, project, manager, mailed):
    make_user(project, email="In@example.org")
    invite(client, project, "asked@example.org")
    html = client.post(page(project), {"people": "in@example.org\nAsked@example.org", "check": ""}).content.decode()
    assert "in@example.org is already a member" in html and "has a valid invitation already" in html
    assert invite(client, project, "asked@example.org").status_code == 400, "as does a form that is sent twice"
    assert Invitation.objects.count() == 1


def test_a_file_is_read_and_one_in_another_encoding_is_refused_in_words(client, project, manager):
    good = SimpleUploadedFile("p.csv", "\ufeffemail,language\nada@example.org,pt-BR\n".encode())
    assert invite(client, project, "", file=good).status_code == 302
    assert Invitation.objects.get().language == "pt-BR"
    bad = SimpleUploadedFile("p.csv", "Zoë <z@example.org>".encode("latin-1"))
    response = invite(client, project, "", file=bad)
    assert response.status_code == 400 and "CSV UTF-8" in response.content.decode()


def test_each_gets_one_mail_with_a_link_that_makes_a_member(client, project, manager, mailed):
    invite(client, project, people(25), language="de")
    assert mailing.send_waiting() and len(mail.outbox) == mailing.AT_ONCE, "a round sends a few: others wait for it"
    send_all()
    assert sorted(m.to[0] for m in mail.outbox) == sorted(people(25).split()) and len(mail.outbox) == 25
    assert set(Invitation.objects.values_list("mail", flat=True)) == {"sent"}
    token = mail.outbox[0].body.split("/invitations/")[1].split("/")[0]
    client.logout()
    assert client.get(reverse("invitation", args=[token])).status_code == 200
    assert Invitation.objects.get(email=mail.outbox[0].to[0]).opened_at
    invitations.accept(token=token, by=make_user(username="ada"))
    member = Membership.objects.get(user__username="ada")
    assert (member.role, member.batch, member.language) == ("annotator", "spring", "de")


class Dies(Exception):
    """As if the process were killed."""


def test_a_crash_in_the_middle_sends_nobody_a_second_mail(client, project, manager, mailed, monkeypatch):
    invite(client, project, people(6))
    sent: list[str] = []

    def send(self, messages):
        sent.extend(message.to[0] for message in messages)
        if len(sent) == 3:
            raise Dies
        return len(messages)

    monkeypatch.setattr(EmailBackend, "send_messages", send)
    with pytest.raises(Dies):
        mailing.send_waiting()
    send_all()
    assert sorted(sent) == people(6).split(), "each once"
    lost = Invitation.objects.get(mail="sending")
    Invitation.objects.filter(pk=lost.pk).update(mailed_at=timezone.now() - mailing.LEASE - timedelta(seconds=1))
    send_all()
    lost.refresh_from_db()
    assert lost.mail == "failed" and "may or may not have arrived" in lost.mail_problem and len(sent) == 6
    html = client.get(reverse("invitation-batch", args=[project.slug]), {"batch": "spring"}).content.decode()
    assert "may or may not have arrived" in html
    actions.send_again(project=project, by=manager, batch="spring")
    send_all()
    assert sent.count(lost.email) == 2 and len(sent) == 7, "only that one: the others were sent within the hour"


def test_a_mail_server_that_is_away_loses_nothing(client, project, manager, mailed, monkeypatch):
    invite(client, project, people(2))

    def away(self):
        raise ConnectionRefusedError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(EmailBackend, "open", away)
        with pytest.raises(ConnectionRefusedError):
            mailing.send_waiting()
    assert set(Invitation.objects.values_list("mail", flat=True)) == {"waiting"}
    html = client.get(reverse("invitation-batch", args=[project.slug]), {"batch": "spring"}).content.decode()
    assert "does not answer" in html and "0 of 2 e-mails sent" in html
    send_all()
    assert len(mail.outbox) == 2 and not Invitation.objects.exclude(mail_problem="").exists()


def test_what_the_mail_server_says_of_an_address_is_shown(client, project, manager, mailed, monkeypatch):
    invite(client, project, people(2))

    def send(self, messages):
        if messages[0].to == ["person0@example.org"]:
            raise SMTPRecipientsRefused({"person0@example.org": (550, b"no such user")})
        return 1

    monkeypatch.setattr(EmailBackend, "send_messages", send)
    send_all()
    assert list(Invitation.objects.order_by("id").values_list("mail", "mail_problem")) == [
        ("failed", "The mail server refused it: 550 no such user"),
        ("sent", ""),
    ]


def test_without_mail_the_links_are_downloaded_and_stay_the_same(client, project, manager):
    invite(client, project, "=a@example.org\nb@example.org")
    address = reverse("invitation-links", args=[project.slug])
    first, second = (client.get(address, {"batch": "spring"}).content.decode() for _ in range(2))
    rows = list(csv.DictReader(io.StringIO(first)))
    assert first == second and [row["email"] for row in rows] == ["'=a@example.org", "b@example.org"]
    token = rows[1]["link"].rstrip("/").rsplit("/", 1)[1]
    assert invitations.standing(token).email == "b@example.org"
    assert not Invitation.objects.filter(salt=token).exists() and token not in str(Invitation.objects.values())
    assert AuditEntry.objects.filter(action="invitations.links", project=project).count() == 2


def test_a_new_secret_of_the_installation_makes_new_links_that_work(client, project, manager, settings):
    invite(client, project, "a@example.org")
    settings.SECRET_KEY = "another"
    ((_, link),) = actions.links(project=project, by=manager, batch="spring")
    assert invitations.standing(link.rstrip("/").rsplit("/", 1)[1])


def test_a_batch_is_sent_again_to_those_who_have_not_accepted_with_the_same_link(client, project, manager, mailed):
    invite(client, project, people(3))
    send_all()
    first = {m.to[0]: m.body.split("\n")[2] for m in mail.outbox}
    again = reverse("invitations-again", args=[project.slug])
    assert client.post(again, {"batch": "spring"}).status_code == 409, "within the hour"
    Invitation.objects.update(queued_at=timezone.now() - timedelta(hours=2), expires_at=timezone.now())
    Invitation.objects.filter(email="person0@example.org").update(accepted_at=timezone.now())
    assert client.post(again, {"batch": "spring"}).status_code == 302
    mail.outbox.clear()
    send_all()
    assert {m.to[0]: m.body.split("\n")[2] for m in mail.outbox} == {k: first[k] for k in sorted(first)[1:]}


def test_what_ran_out_while_its_mail_waited_is_sent_again(client, project, manager, mailed):
    invite(client, project, people(2))
    Invitation.objects.update(queued_at=timezone.now() - timedelta(days=20), expires_at=timezone.now())
    send_all()
    assert mail.outbox == []
    assert client.post(reverse("invitations-again", args=[project.slug]), {"batch": "spring"}).status_code == 302
    assert client.post(reverse("invitations-again", args=[project.slug]), {"batch": "spring"}).status_code == 409
    send_all()
    assert len(mail.outbox) == 2


def test_a_batch_that_is_taken_back_is_not_mailed_any_more(client, project, manager, mailed):
    invite(client, project, people(3))
    invite(client, project, "other@example.org", batch="autumn")
    assert client.post(reverse("invitations-withdraw", args=[project.slug]), {"batch": "spring"}).status_code == 302
    send_all()
    assert [m.to[0] for m in mail.outbox] == ["other@example.org"]
    assert client.post(reverse("invitations-withdraw", args=[project.slug]), {"batch": "spring"}).status_code == 409
    assert client.post(reverse("invitations-withdraw", args=[project.slug]), {"batch": "none"}).status_code == 409


def test_one_person_invites_so_many_in_a_day(client, project, manager, monkeypatch):
    monkeypatch.setattr(actions, "MAILS_A_DAY", 3)
    assert invite(client, project, people(2)).status_code == 302
    refused = invite(client, project, "x@example.org\ny@example.org")
    assert refused.status_code == 429 and "can invite 3" in refused.content.decode()
    other = make_project()
    Membership.objects.create(project=other, user=manager, role="manager")
    assert invite(client, other, "x@example.org\ny@example.org").status_code == 429, "in all projects together"


def test_only_managers_invite_and_only_into_their_own_project(client, project, manager):
    other = make_project(is_public=False)
    invite(client, project, "a@example.org")
    assert client.get(page(other)).status_code == 404
    sign_in(client, project, "researcher")
    for name in ("invitations", "invitation-batch", "invitation-links"):
        assert client.get(reverse(name, args=[project.slug])).status_code == 403
    sign_in(client, other, "manager")
    batch = reverse("invitation-batch", args=[other.slug])
    assert client.get(batch, {"batch": "spring"}).status_code == 404, "a batch of another project"
    assert client.post(reverse("invitations-withdraw", args=[other.slug]), {"batch": "spring"}).status_code == 409


def test_one_line_of_the_audit_trail_says_who_invited_how_many(client, project, manager):
    invite(client, project, "a@example.org\nb@example.org, reviewer")
    entry = AuditEntry.objects.get(action="invitations.made")
    assert (entry.actor, entry.about) == (manager, "2 people, spring")
    assert entry.changes == {"roles": [None, {"annotator": 1, "reviewer": 1}]}


def test_a_program_invites_follows_and_takes_back(project, mailed):
    manager = program(project, "manager")
    at = f"projects/{project.slug}/invitations/"
    order = {"people": [{"email": "a@example.org"}, {"email": "b", "role": "owner"}], "batch": "spring"}
    wrong = errors(manager.post(f"{at}bulk/", order))
    assert wrong.keys() == {"people.1.email", "people.1.role"} and not Invitation.objects.exists()
    assert manager.post(f"{at}bulk/", order | {"dry_run": True}).json()["invited"] == 1
    assert not Invitation.objects.exists()
    made = manager.post(f"{at}bulk/", order | {"leave_out_wrong": True})
    assert made.status_code == 201 and made.json()["invited"] == 1 and len(made.json()["wrong"]) == 2
    assert [b["to_send"] for b in manager.get(f"{at}batches/").json()] == [1]
    assert manager.get(f"{at}links/", batch="spring").json()[0]["email"] == "a@example.org"
    errors(manager.post(f"{at}batches/", {"batch": "spring", "action": "send again"}), 409)
    after = manager.post(f"{at}batches/", {"batch": "spring", "action": "withdraw"}).json()
    assert [(b["open"], b["withdrawn"]) for b in after] == [(0, 1)]
    errors(program(project, "researcher").post(f"{at}bulk/", order), 403)
    errors(Program(make_user()).post(f"{at}bulk/", order), 404)
