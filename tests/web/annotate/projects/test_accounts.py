"""Accounts: signing in and up, invitations, a second factor, and the trail of who changed what."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from annotate.core.errors import Refused
from annotate.models import ApiToken, AuditEntry, Invitation, Membership, User
from annotate.projects import actions, invitations
from tests.support.api_client import Program, errors, program
from tests.support.factories import (
    PASSWORD,
    make_comparison,
    make_model,
    make_pair,
    make_project,
    make_token,
    make_user,
)
from tests.support.processes import ROOT
from tests.support.second_factor import SECRET, STEP, code_at, code_now

pytestmark = pytest.mark.django_db
NEW_PASSWORD = "quite another passphrase"


def sign_up(client, address: str = "", username: str = "new-here"):
    sent = {"username": username, "password1": PASSWORD, "password2": PASSWORD}
    return client.post(address or reverse("account_signup"), sent)


def sign_in(client, user: User, password: str = PASSWORD):
    return client.post(reverse("login"), {"login": user.username, "password": password})


def audited(project) -> list[tuple[str, dict]]:
    return list(project.audit.order_by("id").values_list("action", "changes"))


def test_guessing_passwords_is_slowed_down_on_the_page_and_for_programs_alike(client):
    user, other = make_user(), make_user()
    for _ in range(10):
        assert "Too many tries" not in sign_in(client, user, "a guess").content.decode()
        guess = {"username": user.username, "password": "a guess"}
        assert "password" in errors(APIClient().post("/api/v1/auth/token/", guess, format="json"))
    assert "Too many tries" in sign_in(client, user).content.decode()
    right = {"username": user.username, "password": PASSWORD}
    assert APIClient().post("/api/v1/auth/token/", right, format="json").status_code == 429
    assert sign_in(client, other).status_code == 302


def test_who_knows_the_password_is_not_slowed_down_and_covers_nobody_s_guesses(client):
    user, other = make_user(), make_user()
    right = {"username": user.username, "password": PASSWORD}
    for _ in range(12):
        assert APIClient().post("/api/v1/auth/token/", right, format="json").status_code == 200
        assert sign_in(client, user).status_code == 302
        client.logout()
        sign_in(client, other, "a guess")
    for _ in range(8):
        sign_in(client, user)
        client.logout()
        sign_in(client, other, "a guess")
    assert "Too many tries" in sign_in(client, other).content.decode()


def test_the_administration_signs_in_by_the_same_page(client):
    assert client.get("/admin/login/").url.startswith(reverse("login"))
    client.force_login(make_user())
    assert client.get("/admin/login/").status_code == 403


def test_accounts_are_by_invitation_unless_the_installation_or_a_project_is_open(client, settings):
    assert "need an invitation" in client.get(reverse("account_signup")).content.decode()
    assert sign_up(client).status_code == 200 and not User.objects.filter(username="new-here").exists()
    make_project(open_sign_up=True)
    assert "need an invitation" not in client.get(reverse("account_signup")).content.decode()
    sign_up(client)
    assert User.objects.filter(username="new-here").exists()


@pytest.mark.parametrize("name", ["login", "account_signup"])
def test_who_has_no_account_is_sent_to_nobody_and_nothing_that_is_not_there(client, name):
    page = client.get(reverse(name)).content.decode()
    assert "createsuperuser" in page and "manager" not in page and "needs no account" not in page
    make_user(make_project(is_public=False), role="manager")
    page = client.get(reverse(name)).content.decode()
    assert "createsuperuser" not in page and "manager" in page and "needs no account" not in page
    make_project(is_public=True)
    assert "needs no account" in client.get(reverse(name)).content.decode()


def test_sign_in_offers_an_account_only_where_one_can_be_made(client, settings):
    make_user()
    link = f'href="{reverse("account_signup")}"'
    page = client.get(reverse("login")).content.decode()
    assert link not in page and "need an invitation" in page
    settings.SIGN_UP_IS_OPEN = True
    assert link in client.get(reverse("login")).content.decode()


def test_the_link_of_an_invitation_is_shown_in_its_own_project_alone(client):
    project, other = make_project(), make_project()
    manager = make_user(project, role="manager")
    Membership.objects.create(project=other, user=manager, role="manager")
    client.force_login(manager)
    client.post(reverse("invite", args=[project.slug]), {"role": "reviewer", "email": ""})
    assert "link" not in client.get(reverse("people", args=[other.slug])).context
    assert "/invitations/" in client.get(reverse("people", args=[project.slug])).context["link"]


def test_an_invitation_makes_an_account_and_a_member_in_one_go(client):
    project = make_project(is_public=False)
    manager = make_user(project, role="manager")
    client.force_login(manager)
    made = client.post(reverse("invite", args=[project.slug]), {"role": "reviewer", "email": ""})
    assert made.status_code == 302, "else a reload makes another invitation"
    page = client.get(made.url)
    link = page.context["link"]
    assert link in page.content.decode()
    assert link not in client.get(reverse("people", args=[project.slug])).content.decode()
    assert Invitation.objects.count() == 1
    client.logout()
    path = "/" + link.split("/", 3)[3]
    html = client.get(path).content.decode()
    assert project.name in html and manager.username in html
    assert sign_up(client).url == reverse("project", args=[project.slug])
    assert Membership.objects.get(user__username="new-here").role == "reviewer"
    client.logout()
    used = client.get(path)
    assert used.status_code == 410 and f'<a href="{reverse("login")}">sign in</a>' in used.content.decode()


def test_an_invitation_works_once_and_for_a_while(client):
    project = make_project()
    manager = make_user(project, role="manager")
    _, token = invitations.invite(project=project, role="annotator", by=manager)
    invitations.accept(token=token, by=make_user())
    with pytest.raises(Refused) as refused:
        invitations.accept(token=token, by=make_user())
    assert refused.value.status == 410
    made, token = invitations.invite(project=project, role="annotator", by=manager)
    Invitation.objects.filter(pk=made.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert invitations.standing(token) is None
    made, token = invitations.invite(project=project, role="annotator", by=manager)
    invitations.revoke(invitation=made, by=manager)
    assert invitations.standing(token) is None and project.memberships.count() == 2


def test_an_invitation_that_is_taken_back_in_the_last_moment_lets_nobody_in():
    project = make_project()
    manager = make_user(project, role="manager")
    invitation, token = invitations.invite(project=project, role="manager", by=manager)
    seen = invitations.standing(token)
    invitations.revoke(invitation=invitation, by=manager)
    with pytest.raises(Refused) as refused:
        invitations.accept_one(seen, by=make_user())
    assert refused.value.status == 410 and project.memberships.count() == 1


def test_an_invitation_takes_no_role_away(client):
    project = make_project()
    manager, reviewer = make_user(project, role="manager"), make_user(project, role="reviewer")
    _, token = invitations.invite(project=project, role="annotator", by=manager)
    assert invitations.accept(token=token, by=reviewer).role == "reviewer"


@pytest.mark.parametrize("sent", [{"role": "king"}, {"role": "annotator", "email": "nobody"}])
def test_a_wrong_invitation_is_refused(client, sent):
    project = make_project()
    client.force_login(make_user(project, role="manager"))
    assert client.post(reverse("invite", args=[project.slug]), sent).status_code == 400
    assert not Invitation.objects.exists()


def test_an_invitation_is_sent_where_there_is_a_mail_server(client, settings, mailoutbox):
    settings.EMAIL_NOTICES_FROM = "assay@example.org"
    project = make_project()
    client.force_login(make_user(project, role="manager"))
    client.post(reverse("invite", args=[project.slug]), {"role": "annotator", "email": "ada@example.org"})
    assert mailoutbox[0].to == ["ada@example.org"] and "/invitations/" in mailoutbox[0].body


def test_whoever_signs_up_joins_an_open_project_and_no_other(client):
    project, closed = make_project(open_sign_up=True), make_project()
    door = client.post(reverse("join", args=[project.slug])).url
    assert sign_up(client, door).url == reverse("project", args=[project.slug])
    user = User.objects.get(username="new-here")
    assert Membership.objects.get(user=user).role == "annotator"
    assert client.post(reverse("join", args=[closed.slug])).status_code == 403
    hidden = make_project(open_sign_up=True, is_public=False)
    assert client.post(reverse("join", args=[hidden.slug])).status_code == 404
    assert Membership.objects.filter(user=user).count() == 1


def test_a_second_factor_is_asked_for_on_the_page_and_for_a_token(client):
    user = make_user()
    TOTP.activate(user, SECRET)
    assert sign_in(client, user).url == reverse("mfa_authenticate")
    assert client.get(reverse("account")).url.startswith(reverse("login"))
    assert client.post(reverse("mfa_authenticate"), {"code": "000000"}).status_code == 200
    assert client.post(reverse("mfa_authenticate"), {"code": code_now()}).url == reverse("home")
    assert client.get(reverse("account")).status_code == 200

    other = make_user()
    TOTP.activate(other, SECRET)
    codes = RecoveryCodes.activate(other).get_unused_codes()
    sent = {"username": other.username, "password": PASSWORD}
    ask = APIClient().post
    assert "code" in errors(ask("/api/v1/auth/token/", sent, format="json"))
    assert ask("/api/v1/auth/token/", {**sent, "code": code_now()}, format="json").json()["token"]
    assert ask("/api/v1/auth/token/", {**sent, "code": codes[0]}, format="json").status_code == 200
    assert "code" in errors(ask("/api/v1/auth/token/", {**sent, "code": codes[0]}, format="json"))


@pytest.mark.parametrize(("age", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_is_taken_one_step_early_or_late_and_once(client, monkeypatch, age, taken):
    now = 1_800_000_000.0
    monkeypatch.setattr("allauth.mfa.totp.internal.auth.time", SimpleNamespace(time=lambda: now))
    user = make_user()
    TOTP.activate(user, SECRET)
    sent = {"username": user.username, "password": PASSWORD, "code": code_at(now + age * STEP)}
    assert (APIClient().post("/api/v1/auth/token/", sent, format="json").status_code == 200) is taken
    sign_in(client, user)
    assert client.post(reverse("mfa_authenticate"), {"code": sent["code"]}).status_code == 200


def test_guessing_codes_is_slowed_down_on_the_page_and_for_programs_together(client):
    user = make_user()
    TOTP.activate(user, SECRET)
    sign_in(client, user)
    for _ in range(5):
        client.post(reverse("mfa_authenticate"), {"code": "000000"})
    sent = {"username": user.username, "password": PASSWORD, "code": "000000"}
    for n in range(5):
        APIClient().post("/api/v1/auth/token/", sent, format="json", REMOTE_ADDR=f"10.0.0.{n}")
    refused = APIClient().post("/api/v1/auth/token/", {**sent, "code": code_now()}, format="json")
    assert refused.status_code == 429 and "Wait" in refused.json()["errors"]["code"]
    page = client.post(reverse("mfa_authenticate"), {"code": code_now()})
    assert page.status_code == 200 and "Too many codes" in page.content.decode()


def test_a_wrong_password_does_not_tell_that_there_is_a_second_factor():
    user = make_user()
    TOTP.activate(user, SECRET)
    sent = {"username": user.username, "password": "a guess", "code": code_now()}
    assert set(errors(APIClient().post("/api/v1/auth/token/", sent, format="json"))) == {"password"}


def test_a_second_factor_is_set_up_by_the_page(client):
    user = make_user()
    sign_in(client, user)
    password_again = client.get(reverse("mfa_activate_totp")).url
    page = client.post(password_again, {"password": PASSWORD}, follow=True)
    secret = client.session["mfa.totp.secret"]
    assert secret in page.content.decode() and "data:image/svg" in page.content.decode()
    assert client.post(reverse("mfa_activate_totp"), {"code": code_now(secret)}).status_code == 302
    assert "Recovery" in client.get(reverse("mfa_index")).content.decode()


def test_a_renewed_token_ends_the_old_one(client):
    researcher = program(make_project(), "researcher")
    renewed = researcher.post("auth/token/renew/", {}).json()["token"]
    assert researcher.post("auth/token/renew/", {}).status_code == 401
    fresh = APIClient()
    fresh.credentials(HTTP_AUTHORIZATION=f"Token {renewed}")
    assert fresh.get("/api/v1/projects/").status_code == 200


def test_every_change_of_a_project_is_on_its_trail_with_before_and_after(client):
    project = make_project()
    manager, user = make_user(project, role="manager"), make_user()
    actions.change_settings(project=project, by=manager, overlap=3)
    actions.add_member(project=project, user=user, role="annotator", by=manager)
    actions.add_member(project=project, user=user, role="reviewer", by=manager)
    actions.add_member(project=project, user=user, role="reviewer", by=manager)  # no change, no entry
    actions.remove_member(project=project, user=user, by=manager)
    actions.revise_guidelines(project=project, text="Be brief.", by=manager)
    assert audited(project) == [
        ("project.settings", {"overlap": [1, 3]}),
        ("member.role", {"role": [None, "annotator"]}),
        ("member.role", {"role": ["annotator", "reviewer"]}),
        ("member.role", {"role": ["reviewer", None]}),
        ("project.guidelines", {}),
    ]
    client.force_login(manager)
    html = client.get(reverse("audit", args=[project.slug]) + "?action=member.role").content.decode()
    assert "annotator → reviewer" in html and "project.guidelines</td>" not in html


def test_a_refused_change_leaves_no_trace(client):
    project = make_project()
    manager = make_user(project, role="manager")
    with pytest.raises(Refused):
        actions.change_settings(project=project, by=manager, overlap=0)
    assert not AuditEntry.objects.exists()


def test_programs_invite_accept_and_read_the_trail():
    project = make_project(is_public=False)
    manager = program(project, "manager")
    made = manager.post(f"projects/{project.slug}/invitations/", {"role": "annotator"})
    assert made.status_code == 201
    token = made.json()["link"].rstrip("/").rsplit("/", 1)[1]
    guest = program(make_project(), "annotator")
    assert guest.post("invitations/accept/", {"token": token}).json() == {"project": project.slug, "role": "annotator"}
    assert errors(guest.post("invitations/accept/", {"token": token}), 410)
    assert "link" not in manager.get(f"projects/{project.slug}/invitations/").json()[0]
    trail = manager.get(f"projects/{project.slug}/audit/").json()["results"]
    assert [entry["action"] for entry in trail] == ["member.role", "invitation.made"]
    for path in ("invitations", "audit"):
        assert errors(guest.get(f"projects/{project.slug}/{path}/"), 403)
    second = manager.post(f"projects/{project.slug}/invitations/", {"role": "annotator"}).json()["id"]
    assert manager.post(f"projects/{project.slug}/invitations/{second}/revoke/", {}).json()["revoked_at"]
    assert errors(manager.post(f"projects/{project.slug}/invitations/{second}/revoke/", {}), 409)


def by_page(client, user: User) -> None:
    sent = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert client.post(reverse("account_change_password"), sent).status_code == 302


def by_administration(client, user: User) -> None:
    staff = Client()
    staff.force_login(make_user(is_staff=True, is_superuser=True))
    sent = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    assert staff.post(f"/admin/annotate/user/{user.pk}/password/", sent).status_code == 302


@pytest.mark.parametrize("change", [by_page, by_administration])
def test_a_new_password_ends_every_other_session_and_the_token(client, change):
    user = make_user()
    sign_in(client, user)
    elsewhere, holder = Client(), APIClient()
    sign_in(elsewhere, user)
    holder.credentials(HTTP_AUTHORIZATION=f"Token {make_token(user)}")
    assert holder.get("/api/v1/shortcuts/").status_code == elsewhere.get(reverse("account")).status_code == 200
    change(client, user)
    assert holder.get("/api/v1/shortcuts/").status_code == 401
    assert elsewhere.get(reverse("account")).url.startswith(reverse("login"))
    assert sign_in(elsewhere, user, NEW_PASSWORD).status_code == 302


def test_signing_in_with_a_right_password_leaves_the_token_alone(client, settings):
    """Though the password may be hashed anew on the way, in a stronger way than before."""
    user = make_user()
    make_token(user)
    hashed = "django.contrib.auth.hashers."
    settings.PASSWORD_HASHERS = [hashed + "PBKDF2SHA1PasswordHasher", hashed + "MD5PasswordHasher"]
    sign_in(client, user)
    assert User.objects.get(pk=user.pk).password.startswith("pbkdf2_sha1")
    assert ApiToken.objects.get(user=user).is_live


def test_trying_one_password_on_many_names_is_slowed_down(monkeypatch):
    monkeypatch.setattr("annotate.projects.accounts.adapter.TRIES_OF_ADDRESS", 3)
    tries = [
        APIClient().post("/api/v1/auth/token/", {"username": f"name-{n}", "password": "?"}, format="json")
        for n in range(4)
    ]
    assert [one.status_code for one in tries] == [400, 400, 400, 429] and tries[3]["Retry-After"]
    elsewhere = {"username": "name-9", "password": "?"}
    from_elsewhere = APIClient().post("/api/v1/auth/token/", elsewhere, format="json", REMOTE_ADDR="10.0.0.9")
    assert from_elsewhere.status_code == 400


def test_sign_ups_are_counted_by_who_is_in_front_of_the_proxies(client, settings):
    """Else everybody behind them would share one count, and a made-up header would begin a new one."""
    settings.SIGN_UP_IS_OPEN, settings.TRUSTED_PROXIES = True, ["127.0.0.1"]
    settings.ACCOUNT_RATE_LIMITS = {"signup": "1/m/ip"}

    def from_(forwarded: str) -> int:
        sent = {"username": f"n{forwarded.count(',')}{forwarded[-1]}", "password1": "short", "password2": "short"}
        return client.post(reverse("account_signup"), sent, HTTP_X_FORWARDED_FOR=forwarded).status_code

    assert from_("203.0.113.1") == 200 and from_("203.0.113.2") == 200
    assert from_("198.51.100.7, 203.0.113.1") == 429
    page = client.post(reverse("account_signup"), {}, HTTP_X_FORWARDED_FOR="203.0.113.1").content.decode()
    assert "Wait a minute" in page and "Assay" in page


def test_a_link_of_somebody_else_leads_nowhere_after_signing_in(client):
    user = make_user()
    for address in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"):
        answer = client.post(f"{reverse('login')}?next={address}", {"login": user.username, "password": PASSWORD})
        assert answer.url == reverse("home"), address
        client.logout()


def test_signing_in_changes_the_session(client):
    """Whoever has put a session of theirs into somebody's browser is not in with them."""
    project = make_project()
    client.get(reverse("arena", args=[project.slug]))
    session = client.session
    session["planted"] = True
    session.save()
    client.cookies["sessionid"] = planted = session.session_key
    sign_in(client, make_user())
    assert client.session.session_key != planted
    thief = Client()
    thief.cookies["sessionid"] = planted
    assert thief.get(reverse("account")).status_code == 302


def test_every_act_that_takes_data_out_or_moves_a_rank_is_on_the_trail():
    """Models in and out of the arena, what is served and by which rule, data frozen and taken away."""
    project = make_project()
    manager = Program(make_user(project, role="manager"))
    model = make_model(is_shared=False, project=project)
    make_comparison(*make_pair(project))
    of_project = {"project": project.slug}
    frozen = manager.post("datasets/", of_project | {"kind": "preferences", "name": "votes"}).json()["id"]
    acts = [
        ("dataset.frozen", lambda: None),
        ("dataset.exported", lambda: manager.get(f"datasets/{frozen}/export/")),
        ("feedback.exported", lambda: manager.get(f"projects/{project.slug}/export/")),
        ("arena.entered", lambda: manager.post(f"models/{model.pk}/enter/", of_project)),
        ("promotion.rule", lambda: manager.post(f"projects/{project.slug}/promotion-rule/", {"margin": 3})),
        ("model.promoted", lambda: manager.post("promotions/", of_project | {"model": model.pk, "reason": "best"})),
        ("arena.left", lambda: manager.post(f"models/{model.pk}/leave/", of_project)),
        ("model.retired", lambda: manager.post(f"models/{model.pk}/retire/", {"reason": "old"})),
        ("model.brought back", lambda: manager.post(f"models/{model.pk}/bring-back/")),
    ]
    for expected, act in acts:
        response = act()
        assert response is None or response.status_code in (200, 201), (expected, response.content)
        entry = project.audit.first()
        assert (entry.action, entry.actor) == (expected, manager.user)
    assert project.audit.count() == len(acts)
    served = project.audit.get(action="model.promoted")
    assert served.changes == {"served by default": [None, model.name]} and served.reason == "best"
    assert "3 points" in project.audit.get(action="promotion.rule").changes["rule"][1]


def test_an_import_is_on_the_trail_and_a_dry_run_is_not():
    project = make_project()
    researcher = Program(make_user(project, role="researcher"))

    def send(**more: str) -> None:
        rows = SimpleUploadedFile("rows.jsonl", b'{"prompt": "?", "chosen": "a", "rejected": "b"}\n')
        sent = {"project": project.slug, "file": rows, **more}
        assert researcher.http.post("/api/v1/imports/", sent, format="multipart").status_code == 201

    send(dry_run="true")
    assert not project.audit.exists()
    send()
    assert audited(project) == [("import.started", {})]


def test_nobody_edits_the_trail_and_the_administration_does_not_go_round_it():
    project = make_project()
    entry = AuditEntry.objects.create(project=project, action="member.role", about="anna")
    staff = Client()
    staff.force_login(make_user(is_staff=True, is_superuser=True))
    page = staff.get("/admin/annotate/auditentry/")
    assert page.status_code == 200 and "anna" in page.content.decode()
    assert staff.post(f"/admin/annotate/auditentry/{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert staff.post(f"/admin/annotate/auditentry/{entry.pk}/change/", {"about": "ben"}).status_code == 403
    assert staff.get("/admin/annotate/auditentry/add/").status_code == 403
    assert staff.post(f"/admin/annotate/project/{project.pk}/change/", {"name": "Taken"}).status_code == 403
    assert AuditEntry.objects.get().about == "anna"


def test_a_forgotten_password_is_no_dead_end(client, settings, mailoutbox):
    """With a mail server a link comes; without one the page says whom to ask, and promises nothing."""
    user, reset = make_user(email="ada@example.org"), reverse("account_reset_password")
    assert reset not in client.get(reverse("login")).content.decode()
    assert "changepassword" in client.get(reset).content.decode()
    refused = client.post(reset, {"email": user.email})
    assert refused.status_code == 200 and "changepassword" in refused.content.decode() and not mailoutbox
    settings.EMAIL_NOTICES_FROM = "assay@example.org"
    assert reset in client.get(reverse("login")).content.decode()
    known, unknown = (client.post(reset, {"email": email}) for email in (user.email, "nobody@example.org"))
    assert known.status_code == unknown.status_code == 302 and known.url == unknown.url
    link = next(line for line in mailoutbox[0].body.split() if "/password/reset/key/" in line)
    form = client.get("/" + link.split("/", 3)[3], follow=True)
    sent = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert client.post(form.request["PATH_INFO"], sent).status_code == 302
    assert sign_in(client, user, NEW_PASSWORD).status_code == 302


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"SECRET_KEY": "x" * 20 + "abcdefghijklmnopqrstuvwxyz0123456789", "SITE_URL": "https://a.org"}, "no issues"),
        ({"SITE_URL": "https://a.org"}, "SECRET_KEY is not set"),
        pytest.param(
            {"SECRET_KEY": "x" * 20 + "abcdefghijklmnopqrstuvwxyz0123456789", "HTTPS": "0"},
            "SECURE_SSL_REDIRECT",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_what_stands_open_to_the_world_is_checked_before_it_does(tmp_path, given, told):
    settings = {"DEBUG": "0", "ASSAY_DATA": str(tmp_path), "PATH": os.environ["PATH"], **given}
    check = [sys.executable, "manage.py", "check", "--deploy"]
    done = subprocess.run(check, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert told in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"PORT": "8010"}, "http://127.0.0.1:8010"),
        ({"PORT": "8010", "SITE_URL": "https://a.org/"}, "https://a.org"),
    ],
)
def test_links_of_invitations_lead_to_the_port_that_is_served(tmp_path, environment, address):
    variables = {"ASSAY_DATA": str(tmp_path), "PATH": os.environ["PATH"], **environment}
    ask = [sys.executable, "-c", "from config import settings; print(settings.SITE_URL)"]
    assert subprocess.check_output(ask, cwd=ROOT, env=variables, text=True).strip() == address
