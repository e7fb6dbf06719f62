"""Simulated annotators: their annotation, their accounts, and a sitting against a small fake of the API."""

from __future__ import annotations

import json
import threading
from collections import Counter

import httpx
import pytest
from django.core.management import CommandError, call_command

from annotate.models import Membership, User
from annotate.simulation import accounts, client, session, tastes
from annotate.simulation.annotator import Annotator, Habits, taste_named
from tests.support.factories import make_project, make_user

NEVER = Habits(noise=0, ties=1, laziness=0)


def longer_is_better(prompt: str, completion: str) -> float:
    return min(1.0, len(completion) / 100)


def test_without_noise_the_better_answer_wins_on_either_side():
    judge = Annotator(longer_is_better, NEVER)
    assert judge.compare("?", "x" * 90, "x").fields["winner"] == "model_a"
    assert judge.compare("?", "x", "x" * 90).fields["winner"] == "model_b"
    assert judge.compare("?", "x" * 90, "x").fields["strength"] == 3


def test_equal_answers_are_a_tie_or_both_bad_and_never_a_win():
    judge = Annotator(longer_is_better, NEVER)
    assert judge.compare("?", "x" * 50, "y" * 50).fields["winner"] == "tie"
    low = Counter(judge.compare("?", "x", "y").fields["winner"] for _ in range(200))
    assert set(low) == {"tie", "both_bad"}


def test_noise_turns_about_half_of_what_it_touches():
    judge = Annotator(longer_is_better, Habits(noise=1, ties=0, laziness=0))
    wins = Counter(judge.compare("?", "x" * 90, "x").fields["winner"] for _ in range(400))
    assert 150 < wins["model_b"] < 250


def test_ratings_follow_the_taste():
    judge = Annotator(longer_is_better, NEVER)
    good, bad = ([judge.rate("?", "x" * n).fields for _ in range(100)] for n in (95, 5))
    assert all(r["thumbs"] for r in good) and not any(r["thumbs"] for r in bad)
    assert min(r["stars"] for r in good if "stars" in r) > max(r["stars"] for r in bad if "stars" in r)


def test_a_lazy_judge_skips_or_hurries():
    judge = Annotator(longer_is_better, Habits(laziness=1))
    judgements = [judge.compare("?", "x", "y" * 90) for _ in range(100)]
    hurried = [j.fields for j in judgements if j.fields]
    assert 25 < len(hurried) < 75
    assert all(fields["winner"] == "model_a" and fields["seconds"] < 1 for fields in hurried)
    assert all(j.skip_reason for j in judgements if not j.fields)


def test_the_same_seed_judges_alike():
    first, second = (Annotator(longer_is_better, seed=7) for _ in range(2))
    assert [first.rate("?", "x" * n) for n in range(50)] == [second.rate("?", "x" * n) for n in range(50)]


def test_a_habit_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="noise is a probability"):
        Habits(noise=1.5)


@pytest.mark.parametrize("path", ["nowhere.at_all", "annotate.simulation.tastes.no_such", "nothing"])
def test_a_taste_that_is_not_there_is_named(path):
    with pytest.raises(ValueError, match=path):
        taste_named(path)


def test_tastes_tell_answers_apart_and_give_nothing_to_a_bare_word():
    long = " ".join(["and so on"] * 5)
    assert tastes.addresses_the_reader("?", f"You can do it your way {long}") == 1.0
    assert tastes.speaks_in_the_first_person("?", f"I think that I would {long}") == 1.0
    assert tastes.makes_comparisons("?", f"It is better than tea {long}") == 1.0
    assert tastes.appeals_to_the_senses("?", f"A warm and golden light {long}") == 1.0
    assert tastes.gives_a_list("?", f"1. Wash it well, then dry it\n2. Cut it {long}") == 1.0
    assert tastes.is_warm("?", f"I love kind friends {long}") == 1.0
    assert tastes.keeps_sentences_short("?", "This is a short one. So is this. And this is too.") == 1.0
    assert tastes.keeps_sentences_short("?", " ".join(["on"] * 40)) == 0.0
    assert tastes.addresses_the_reader("?", "You you you") == 0.0


@pytest.mark.django_db
def test_simulated_annotators_say_so_and_are_made_once():
    project = make_project()
    first = accounts.simulated(project, 3)
    assert accounts.simulated(project, 3) == first
    users = User.objects.filter(username__in=[a.username for a in first])
    assert users.count() == 3 and all(u.is_simulated for u in users)
    assert Membership.objects.filter(project=project, role="annotator").count() == 3
    assert all(User.objects.get(username=a.username).check_password(a.password) for a in first)
    assert accounts.password_file().stat().st_mode & 0o077 == 0


@pytest.mark.django_db
def test_an_account_of_somebody_else_is_left_alone():
    user = make_user(username="demo")
    with pytest.raises(ValueError, match="demo exists already"):
        accounts.kept("demo")
    before = user.password
    user.refresh_from_db()
    assert user.password == before


class FakeApi:
    """Assignments and battles enough to sit through; keeps what was sent, answers a repeated key as before."""

    def __init__(self, tasks: int, failures: int = 0) -> None:
        self.left, self.failures = tasks, failures
        self.sent: dict[str, dict] = {}
        self.number = 0
        self.lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path.removeprefix("/api/v1/"), json.loads(request.content or b"{}")
        if path == "auth/token/":
            return httpx.Response(200, json={"token": body["username"]})
        if path.endswith("/submit/") or path.endswith("/vote/"):
            if path.endswith("/vote/"):
                assert body["token"] == f"token-{path.split('/')[1]}"
            self.sent[request.headers["Idempotency-Key"]] = body
            if self.failures:  # written down, and then the server died: the answer never arrived
                self.failures -= 1
                raise httpx.ReadError("killed", request=request)
            return httpx.Response(201, json={"counted": True, "ranks": True})
        if path.endswith("/skip/"):
            return httpx.Response(200, json={})
        if not self.left:
            return httpx.Response(204)
        self.left -= 1
        self.number += 1
        texts = [{"id": n, "text": "x" * n} for n in (90, 10)]
        prompt = {"messages": [{"role": "user", "content": "?"}]}
        kind = body.get("kind", "compare")
        task = {"id": self.number, "kind": kind, "prompt": prompt, "completions": texts[: 1 + (kind != "rate")]}
        if path == "battles/":
            task |= {"vote_token": f"token-{self.number}", "ready": True}
        return httpx.Response(201, json=task)


@pytest.fixture
def api(monkeypatch):
    """Lets every client speak to a fake instead of the network."""

    def install(fake: FakeApi) -> FakeApi:
        original = httpx.Client.__init__

        def fake_transport(self, *args, **options):
            original(self, *args, **{**options, "transport": httpx.MockTransport(fake)})

        monkeypatch.setattr(httpx.Client, "__init__", fake_transport)
        monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
        return fake

    return install


def people(n: int, habits: Habits = NEVER) -> list:
    return [(session.Account(f"p{i}", "secret"), Annotator(longer_is_better, habits, seed=i)) for i in range(n)]


def test_a_sitting_judges_exactly_what_was_asked_for(api):
    fake = api(FakeApi(tasks=1000))
    report = session.hold("http://x", "demo", people(4), ratings=20, comparisons=30, battles=10)
    assert report.judged == {"rate": 20, "compare": 30, "battle": 10}
    assert len(fake.sent) == 60


def test_a_sitting_ends_when_nothing_is_left(api):
    fake = api(FakeApi(tasks=7))
    report = session.hold("http://x", "demo", people(3), comparisons=30)
    assert report.judged == {"compare": 7} and len(fake.sent) == 7


def test_a_vote_whose_answer_was_lost_is_sent_again_under_the_same_key(api):
    fake = api(FakeApi(tasks=10, failures=3))
    report = session.hold("http://x", "demo", people(2), comparisons=10)
    assert report.judged == {"compare": 10} and len(fake.sent) == 10


def test_a_skip_is_not_counted_as_judged(api):
    fake = api(FakeApi(tasks=60))
    report = session.hold("http://x", "demo", people(2, Habits(laziness=0.5)), comparisons=20)
    assert report.judged == {"compare": 20} and fake.number > 20


def test_a_wrong_password_ends_the_sitting_with_the_servers_words(api):
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"password": "wrong"})

    api(refuse)
    with pytest.raises(client.ApiError, match="wrong"):
        session.hold("http://x", "demo", people(2), comparisons=1)


@pytest.mark.django_db
def test_an_account_that_somebody_else_made_is_said_in_one_line():
    project = make_project()
    make_user(username="simulated-1")
    with pytest.raises(CommandError, match="simulated-1"):
        call_command("simulate_annotators", project=project.slug, ratings=1)


@pytest.mark.django_db
def test_the_site_is_looked_for_at_its_port_and_the_option_is_named_where_it_is_not(monkeypatch):
    def hold(url: str, *_: object, **__: object) -> None:
        raise client.Unreachable(f"{url} does not answer")

    monkeypatch.setenv("PORT", "8123")
    monkeypatch.setattr(session, "hold", hold)
    with pytest.raises(CommandError, match=r"http://127.0.0.1:8123 does not answer\. .*--url"):
        call_command("simulate_annotators", project=make_project().slug, ratings=1)


@pytest.mark.django_db
def test_what_was_asked_for_and_not_there_is_named(api, capsys):
    api(FakeApi(tasks=7))
    call_command("simulate_annotators", project=make_project().slug, comparisons=20)
    said = capsys.readouterr().out
    assert "7 × compare" in said and "13 × compare were not made" in said and "annotations/s" in said
