"""A signed-in program for tests of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework.test import APIClient

from annotate.models import Project, User
from tests.support.factories import make_token, make_user

ROOT = "/api/v1/"


class Program:
    """Speaks JSON to /api/v1/ with a token, or as a visitor."""

    def __init__(self, user: User | None = None) -> None:
        self.user, self.http = user, APIClient()
        if user is not None:
            self.http.credentials(HTTP_AUTHORIZATION=f"Token {make_token(user)}")

    def get(self, path: str, **query: Any):
        return self.http.get(ROOT + path, query)

    def post(self, path: str, body: Any = None, *, key: str = "", **headers: str):
        headers |= {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
        return self.http.post(ROOT + path, body if body is not None else {}, format="json", **headers)

    def put(self, path: str, body: Any, *, key: str = ""):
        headers = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
        return self.http.put(ROOT + path, body, format="json", **headers)

    def patch(self, path: str, body: Any):
        return self.http.patch(ROOT + path, body, format="json")

    def delete(self, path: str, *, key: str = ""):
        headers = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
        return self.http.delete(ROOT + path, **headers)


def program(project: Project | None = None, role: str = "annotator", **fields: Any) -> Program:
    """Signed in as a new member."""
    return Program(make_user(project, role=role, **fields))


def errors(response, status: int = 400) -> dict[str, str]:
    """The errors of a refusal, after checking that it is one."""
    body = response.json()
    assert response.status_code == status, (response.status_code, body)
    assert set(body) == {"errors"} and body["errors"], body
    assert all(isinstance(text, str) and text.strip() for text in body["errors"].values()), body
    return body["errors"]


def sent_twice(send: Callable[[str], Any]) -> Any:
    """Send it twice with one key; return the answer, which both times is the same."""
    first, again = send("once"), send("once")
    assert first.status_code < 300 and again.status_code == first.status_code, again.content
    assert answer_of(again) == answer_of(first) and again.headers["Idempotency-Replayed"] == "true"
    return first


def answer_of(response: Any) -> Any:
    """Return what it answered; Postgres keeps the fields of an answer in an order of its own."""
    return response.json() if response.content else None
