"""API tokens: hashed, named, scoped, expiring, several per person; by page and by program."""

from __future__ import annotations

import importlib
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import ApiToken, AuditEntry, Project
from annotate.projects.accounts import actions as tokens
from tests.support.api_client import Program, errors
from tests.support.factories import PASSWORD, make_project, make_token, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def rita(project):
    return make_user(project, role="manager")


def holder(secret: str) -> Program:
    program = Program()
    program.http.credentials(HTTP_AUTHORIZATION=f"Token {secret}")
    return program


def signed_in(rita) -> str:
    given = {"username": rita.username, "password": PASSWORD}
    return Program().post("auth/token/", given).json()["token"]


def test_only_a_hash_is_kept(rita):
    secret = signed_in(rita)
    row = ApiToken.objects.get()
    assert secret not in str(ApiToken.objects.filter(pk=row.pk).values().get()) and secret.startswith(row.prefix)
    assert holder(secret).get("projects/").status_code == 200 and len(secret) > 40


def test_several_stand_beside_each_other_and_one_is_revoked_alone(rita):
    first, second = signed_in(rita), signed_in(rita)
    made = holder(first).post("auth/tokens/", {"name": "laptop", "scope": "read", "days": 3}).json()
    assert [t["name"] for t in holder(first).get("auth/tokens/").json()] == ["laptop", "sign-in", "sign-in"]
    assert "token" not in holder(first).get("auth/tokens/").json()[0]
    assert holder(first).delete(f"auth/tokens/{made['id']}/").status_code == 204
    assert errors(holder(made["token"]).get("projects/"), 401)["authorization"].startswith("This token is unknown or")
    assert holder(second).get("projects/").status_code == 200
    assert [e.action for e in AuditEntry.objects.filter(action__startswith="token.")] == [
        "token.revoked",
        *["token.made"] * 3,
    ]


def test_of_sign_ins_the_newest_twenty_work(rita):
    secrets = [tokens.sign_in(rita) for _ in range(21)]
    assert holder(secrets[0]).get("projects/").status_code == 401
    assert holder(secrets[1]).get("projects/").status_code == holder(secrets[-1]).get("projects/").status_code == 200


def test_one_that_has_run_out_is_refused_and_says_when(rita):
    made, secret = tokens.make(user=rita, name="old", scope="manage")
    assert (made.expires_at - made.created_at).days == 90
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert "expired on" in errors(holder(secret).get("projects/"), 401)["authorization"]


def test_when_it_was_used_last(rita):
    secret = signed_in(rita)
    assert ApiToken.objects.get().last_used_at is None
    holder(secret).get("projects/")
    used = ApiToken.objects.get().last_used_at
    holder(secret).get("projects/")  # within the hour: no second write
    assert used is not None and ApiToken.objects.get().last_used_at == used


def paths(project: Project) -> dict[str, tuple[str, str, dict]]:
    """{scope that is needed: method, address, body}"""
    slug = project.slug
    return {
        "read": ("get", f"leaderboard/?project={slug}", {}),
        "judge": ("post", f"projects/{slug}/assignments/", {}),
        "research": ("post", "datasets/preview/", {"project": slug, "kind": "sft"}),
        "manage": ("post", f"projects/{slug}/invitations/", {"role": "annotator"}),
    }


@pytest.mark.parametrize("is_superuser", [False, True])
@pytest.mark.parametrize("scope", ApiToken.Scope.values)
def test_a_scope_bounds_what_its_owner_may(project, scope, is_superuser):
    rita = make_user(project, role="manager", is_superuser=is_superuser, is_staff=is_superuser)
    program, order = holder(make_token(rita, scope)), ApiToken.Scope.values
    for needed, (method, path, body) in paths(project).items():
        response = program.get(path) if method == "get" else program.post(path, body)
        may = order.index(scope) >= order.index(needed)
        assert (response.status_code != 403) is may, (scope, needed, response.content)
        assert may or "scope" in str(errors(response, 403)["token"])
    new = program.post("projects/", {"slug": f"new-{scope}", "name": "New"})
    assert new.status_code == (201 if is_superuser and scope == "manage" else 403)
    rita.refresh_from_db()
    assert rita.is_superuser is is_superuser  # what a scope takes away is taken from the request alone


@pytest.mark.parametrize("scope", ["read", "judge", "research"])
def test_a_narrow_token_makes_and_revokes_none(rita, scope):
    program = holder(make_token(rita, scope))
    assert errors(program.post("auth/tokens/", {"name": "wider", "scope": "manage"}), 403)["token"]
    assert errors(program.delete(f"auth/tokens/{ApiToken.objects.get().pk}/"), 403)["token"]
    assert ApiToken.objects.count() == 1


def test_a_renewed_token_keeps_its_scope_and_lifetime(rita):
    _, secret = tokens.make(user=rita, name="ci", scope="judge", days=7)
    renewed = holder(secret).post("auth/token/renew/").json()["token"]
    fresh = ApiToken.objects.get(revoked_at=None)
    assert (fresh.name, fresh.scope, (fresh.expires_at - fresh.created_at).days) == ("ci", "judge", 7)
    assert holder(secret).get("projects/").status_code == 401 and holder(renewed).get("projects/").status_code == 200


def test_nobody_revokes_another_s(rita, project, client):
    make_token(rita)
    row, other = ApiToken.objects.get(), make_user(project, role="manager")
    assert errors(Program(other).delete(f"auth/tokens/{row.pk}/"), 404)
    client.force_login(other)
    assert client.post(reverse("revoke-token", args=[row.pk])).status_code == 404
    row.refresh_from_db()
    assert row.is_live


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"name": ""}, "name"), ({"name": "a\nb"}, "name"), ({"scope": "king"}, "scope"), ({"days": 0}, "days")],
)
def test_a_wrong_token_is_refused_with_its_remedy(rita, wrong, field):
    with pytest.raises(Refused) as refused:
        tokens.make(**{"user": rita, "name": "a", "scope": "read", "days": 3, **wrong})
    assert set(refused.value.errors) == {field}


def test_there_are_only_so_many(rita, monkeypatch):
    monkeypatch.setattr(tokens, "MOST", 1)
    tokens.make(user=rita, name="a", scope="read")
    with pytest.raises(Refused, match="revoke"):
        tokens.make(user=rita, name="b", scope="read")


def test_the_page_shows_a_secret_once(client, rita):
    client.force_login(rita)
    assert "no valid tokens" in client.get(reverse("tokens")).content.decode()
    page = client.post(reverse("tokens"), {"name": "laptop", "scope": "judge", "days": "30"}).content.decode()
    row = ApiToken.objects.get()
    assert f'value="{row.prefix}' in page and (row.scope, row.user) == ("judge", rita)
    again = client.get(reverse("tokens")).content.decode()
    assert f'value="{row.prefix}' not in again and "laptop" in again and row.prefix in again
    wrong = client.post(reverse("tokens"), {"name": "b", "scope": "judge", "days": "x"})
    assert wrong.status_code == 400 and "number of days" in wrong.content.decode()
    client.post(reverse("revoke-token", args=[row.pk]))
    row.refresh_from_db()
    assert (
        not row.is_live and "laptop" not in client.get(reverse("tokens")).content.decode().split("</table>")[0][-900:]
    )


def test_a_token_of_before_goes_on_working_and_no_longer_stands_in_plain_text(rita):
    old = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b"
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE authtoken_token (key varchar(40), user_id bigint)")
        cursor.execute("INSERT INTO authtoken_token VALUES (%s, %s)", [old, rita.pk])
    editor = SimpleNamespace(connection=connection)
    importlib.import_module("annotate.migrations.0018_api_tokens").hash_standing(apps, editor)
    assert holder(old).get("projects/").status_code == 200
    row = ApiToken.objects.get()
    assert (row.scope, row.prefix) == ("manage", old[:8]) and row.expires_at > timezone.now() + timedelta(days=89)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM authtoken_token")
        assert cursor.fetchone()[0] == 0
        cursor.execute("DROP TABLE authtoken_token")


def test_an_inactive_account_has_none_that_work(rita):
    secret = make_token(rita)
    rita.is_active = False
    rita.save()
    assert holder(secret).get("projects/").status_code == 401


def test_a_narrow_token_does_not_reach_another_project_either():
    mine, other = make_project(), make_project(is_public=False)
    program = holder(make_token(make_user(mine, role="manager"), "research"))
    assert errors(program.get(f"leaderboard/?project={other.slug}"), 404)
