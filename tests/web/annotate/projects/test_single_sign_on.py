"""Single sign-on at a real OpenID Connect server: who gets an account, and whose account nobody gets."""

from __future__ import annotations

import html
import re

import pytest
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from annotate.models import AuditEntry, Membership, User
from annotate.projects import invitations
from config.oidc_settings import single_sign_on
from tests.support.factories import PASSWORD, make_project, make_user
from tests.support.oidc_server import OidcServer, oidc_server
from tests.support.processes import free_port
from tests.support.second_factor import code_now

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server():
    with oidc_server() as running:
        yield running


@pytest.fixture
def provider(server: OidcServer, settings) -> OidcServer:
    settings.SINGLE_SIGN_ON = server.settings(ASSAY_OIDC_LABEL="Example", ASSAY_OIDC_DOMAINS="example.org")
    return server


def button(client: Client, page: str = "") -> str:
    """Return the address that the page's button leads to."""
    links = re.findall(r'href="([^"]*/oidc/[^"]*)"[^>]*>([^<]*)', client.get(page or reverse("login")).content.decode())
    assert [words for _, words in links] in (["Sign in with Example"], ["Connect Example"])
    return html.unescape(links[0][0])


def sign_in(client: Client, provider: OidcServer, person: str, page: str = ""):
    return provider.sign_in(client, button(client, page), person)


def test_without_a_provider_there_is_no_button_and_no_way(client):
    assert "/oidc/" not in client.get(reverse("login")).content.decode()
    assert client.get(reverse("openid_connect_login", args=["made-up"])).status_code == 404


def test_an_allowed_domain_gets_an_account_at_the_first_sign_in_and_the_same_one_later(client, provider):
    assert sign_in(client, provider, "ada").url == reverse("home")
    ada = User.objects.get()
    assert (ada.username, ada.email, ada.has_usable_password()) == ("ada", "ada@example.org", False)
    assert client.get(reverse("account")).status_code == 200
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "account.made",
        "account.signed in",
    ]
    again = Client()
    sign_in(again, provider, "ada", page=f"{reverse('login')}?next={reverse('account')}")
    assert again.get(reverse("account")).context["user"] == ada and User.objects.count() == 1
    assert not SocialToken.objects.exists() and not SocialApp.objects.exists(), "nothing of the provider is kept"


def test_others_get_none_unless_they_are_invited_by_that_address(client, provider):
    assert "need an invitation" in sign_in(client, provider, "ben").content.decode()
    assert not User.objects.exists()
    project, other = make_project(is_public=False), make_project(is_public=False)
    manager = make_user(project, role="manager")
    invitations.invite(project=project, role="reviewer", by=manager, email="Ben@elsewhere.org")
    Membership.objects.create(project=other, user=manager, role="manager")
    invitations.invite(project=other, role="reviewer", by=manager, email="carl@elsewhere.org")
    assert sign_in(Client(), provider, "ben").status_code == 302
    assert Membership.objects.get(user__username="ben").project == project


def test_the_link_of_an_invitation_lets_in_by_single_sign_on(client, provider):
    project = make_project(is_public=False)
    _, token = invitations.invite(project=project, role="annotator", by=make_user(project, role="manager"))
    came = sign_in(client, provider, "ben", page=reverse("invitation", args=[token]))
    assert came.url == reverse("project", args=[project.slug])
    assert Membership.objects.get(user__username="ben").role == "annotator"


def test_an_account_with_that_address_is_never_taken_over(client, provider):
    owner = make_user(email="ADA@example.org")
    page = sign_in(client, provider, "ada")
    assert page.status_code == 409 and "is not connected by itself" in page.content.decode()
    assert client.get(reverse("account")).status_code == 302, "not signed in"
    assert not SocialAccount.objects.exists() and list(User.objects.all()) == [owner]


def test_an_address_that_the_provider_has_not_verified_is_nobody_s(client, provider):
    assert "need an invitation" in sign_in(client, provider, "eve").content.decode()
    make_project(open_sign_up=True)
    sign_in(client, provider, "eve")
    eve = User.objects.get()
    assert eve.email == "" and not eve.emailaddress_set.exists()


def test_whoever_is_signed_in_connects_their_account_after_the_password(client, provider):
    owner = make_user(email="ada@example.org")
    client.post(reverse("login"), {"login": owner.username, "password": PASSWORD})
    asks = sign_in(client, provider, "ada", page=reverse("socialaccount_connections"))
    assert asks.url == reverse("account_reauthenticate") and not SocialAccount.objects.exists()
    assert client.post(asks.url, {"password": PASSWORD}).url == reverse("socialaccount_connections")
    assert SocialAccount.objects.get().user == owner
    elsewhere = Client()
    sign_in(elsewhere, provider, "ada")
    assert elsewhere.get(reverse("account")).context["user"] == owner
    client.post(reverse("socialaccount_connections"), {"account": SocialAccount.objects.get().pk})
    assert not SocialAccount.objects.exists()


def test_a_second_factor_is_set_up_without_a_password_and_asked_for_after_the_provider(client, provider):
    sign_in(client, provider, "ada")
    assert client.get(reverse("mfa_activate_totp")).status_code == 200
    sent = {"code": code_now(client.session["mfa.totp.secret"])}
    assert client.post(reverse("mfa_activate_totp"), sent).status_code == 302
    elsewhere = Client()
    assert sign_in(elsewhere, provider, "ada").url == reverse("mfa_authenticate")
    assert elsewhere.get(reverse("account")).status_code == 302, "not signed in yet"


def test_a_while_after_signing_in_the_provider_is_asked_again_before_a_second_factor_is_set_up(client, provider):
    sign_in(client, provider, "ada")
    session = client.session
    session["account_authentication_methods"][-1]["at"] -= 301
    session.save()
    asks = client.get(reverse("mfa_activate_totp"))
    assert "/oidc/" in asks.url and asks.url.endswith("?next=%2Faccount%2F2fa%2Ftotp%2Factivate%2F")
    assert provider.sign_in(client, asks.url, "ada").url == reverse("mfa_activate_totp")
    assert client.get(reverse("mfa_activate_totp")).status_code == 200


def test_where_passwords_are_off_neither_page_nor_program_takes_one(client, provider, settings):
    settings.SINGLE_SIGN_ON = provider.settings(ASSAY_OIDC_LABEL="Example", ASSAY_OIDC_PASSWORDS="0")
    owner = make_user(email="ada@example.org")
    settings.EMAIL_NOTICES_FROM, settings.SIGN_UP_IS_OPEN = "assay@example.org", True
    page = client.get(reverse("login")).content.decode()
    assert 'type="password"' not in page and reverse("account_reset_password") not in page
    posted = client.post(reverse("login"), {"login": owner.username, "password": PASSWORD})
    assert posted.status_code == 200 and "Passwords do not sign in here" in posted.content.decode()
    sent = {"username": owner.username, "password": PASSWORD}
    assert APIClient().post("/api/v1/auth/token/", sent, format="json").status_code == 403
    client.post(reverse("account_signup"), {"username": "new", "password1": PASSWORD, "password2": PASSWORD})
    assert client.post(reverse("account_reset_password"), {"email": owner.email}).status_code == 200
    assert User.objects.count() == 1
    assert sign_in(client, provider, "ben").status_code == 302, "sign-up is open, and the provider knows them"


def test_an_inactive_account_stays_out_and_a_cancelled_or_forged_answer_signs_nobody_in(client, provider):
    sign_in(client, provider, "ada")
    User.objects.update(is_active=False)
    out = Client()
    assert sign_in(out, provider, "ada").url == reverse("account_inactive")
    assert out.get(reverse("account")).status_code == 302
    callback = reverse("openid_connect_callback", args=[provider.settings().provider_id])
    forged = out.get(callback, {"code": "made-up", "state": "made-up"})
    assert "You were not signed in" in forged.content.decode()
    state = out.get(button(out)).url.split("state=")[1].split("&")[0]
    cancelled = out.get(callback, {"error": "access_denied", "state": state}, follow=True)
    assert "You cancelled" in cancelled.content.decode()


def test_while_the_provider_is_down_a_page_says_so(client, settings):
    settings.SINGLE_SIGN_ON = OidcServer(f"http://localhost:{free_port()}", "/dev/null").settings(
        ASSAY_OIDC_LABEL="Example"
    )
    page = client.get(button(client))
    assert page.status_code == 503 and "does not answer" in page.content.decode()


def test_another_issuer_s_people_are_others(provider):
    elsewhere = single_sign_on({"ASSAY_OIDC_ISSUER": "https://id.example.org/t/v2.0/", "ASSAY_OIDC_CLIENT_ID": "a"})
    assert elsewhere.provider_id == "id-example-org-t-v2-0" != provider.settings().provider_id


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"ASSAY_OIDC_ISSUER": "http://id.example.org", "ASSAY_OIDC_CLIENT_ID": "a"}, "https://"),
        ({"ASSAY_OIDC_ISSUER": "https://id.example.org"}, "ASSAY_OIDC_CLIENT_ID"),
        (
            {
                "ASSAY_OIDC_ISSUER": "https://id.example.org",
                "ASSAY_OIDC_CLIENT_ID": "a",
                "ASSAY_OIDC_SECRET_FILE": "/nowhere",
            },
            "ASSAY_OIDC_SECRET_FILE=/nowhere cannot be read",
        ),
    ],
)
def test_a_wrong_variable_is_named_at_the_start(environment, says):
    with pytest.raises(ImproperlyConfigured, match=says):
        single_sign_on(environment)
