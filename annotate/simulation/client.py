"""The HTTP API as a simulated annotator uses it: plain httpx, patient with a server that is just being restarted."""

from __future__ import annotations

import time
from typing import Any, Self

import httpx

Json = dict[str, Any]


class ApiError(Exception):
    """The server said no. `status` is the HTTP status; the text is what it answered."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.errors = _errors(response)
        super().__init__(f"{response.request.method} {response.request.url.path}: {self.status} {response.text[:500]}")


def _errors(response: httpx.Response) -> dict[str, str]:
    """Return {field: what is wrong}, where the server said so."""
    try:
        errors = response.json()["errors"]
    except (ValueError, KeyError, TypeError):
        return {}
    return errors if isinstance(errors, dict) else {}


class Unreachable(Exception):
    """Raised when no server answered, for as long as the client's patience lasted."""


class Client:
    """Call the API as one person who is signed in.

    A repeated POST is safe where it carries an idempotency key: the server answers as it did the first time.
    """

    def __init__(
        self, url: str, *, token: str = "", patience: float = 120.0, timeout: float = 60.0, **httpx_options: Any
    ) -> None:
        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1/", timeout=timeout, **httpx_options)
        self._patience = patience
        if token:
            self._http.headers["Authorization"] = f"Token {token}"

    @classmethod
    def sign_in(cls, url: str, username: str, password: str, **options: Any) -> Self:
        client = cls(url, **options)
        answer = client.post("auth/token/", {"username": username, "password": password})
        assert answer is not None
        client._http.headers["Authorization"] = f"Token {answer['token']}"
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        return self._request("GET", path, params=parameters)

    def post(self, path: str, body: Json | list[Json] | None = None, *, key: str = "") -> Json | None:
        """Return the answer, or None for 204: nothing to do."""
        headers = {"Idempotency-Key": key} if key else {}
        return self._request("POST", path, json=body if body is not None else {}, headers=headers)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        deadline = time.monotonic() + self._patience
        pause = 0.25
        while True:
            try:
                response = self._http.request(method, path, **options)
                if response.status_code < 500:
                    break
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise Unreachable(f"{self._http.base_url} does not answer: {error}") from error
            else:
                if time.monotonic() > deadline:
                    raise ApiError(response)
            time.sleep(pause)
            pause = min(pause * 2, 4.0)
        if response.status_code == 204:
            return None
        if response.is_error:
            raise ApiError(response)
        return response.json()
