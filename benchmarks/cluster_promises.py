"""What must be true after a loop was turned on several hosts, whatever was killed meanwhile: a part of
`cluster_faults` and `service_faults`."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.hosts_site import HostsSite

_ROWS = """
    import json
    from collections import Counter
    from training.models import Run
    runs = Run.objects.filter(project__slug__in={projects})
    twice = []
    for run in runs:
        steps = list(run.metrics.order_by("sequence").values_list("sequence", "step"))
        numbers, taken = [n for n, _ in steps], [step for _, step in steps]
        if numbers != list(range(1, len(steps) + 1)) or taken != sorted(taken):
            twice.append(run.pk)
    orders = Counter(f"{{r.project.slug}} {{r.kind}} {{r.name}}" for r in runs)
    print(json.dumps({{
        "asked": runs.count(),
        "states": Counter(runs.values_list("state", flat=True)),
        "failed": [[r.pk, r.kind, r.state, r.reason] for r in runs.exclude(state="succeeded")],
        "ended_twice": [r.pk for r in runs if r.attempts.filter(state="succeeded").count() > 1],
        "attempts": sum(r.attempts.count() for r in runs),
        "lost": [[r.pk, r.kind, a.number, a.reason] for r in runs for a in r.attempts.exclude(state="succeeded")],
        "orders_twice": [key for key, count in orders.items() if count > 1],
        "not_in_order": twice,
    }}))
"""
_OF_PROJECT = (
    *("", "settings/", "guidelines/", "people/", "webhooks/", "arena/", "audit/", "judge/", "adjudicate/", "reviews/"),
    *("gold/", "votes/", "data/", "playground/", "evaluations/", "models/", "held/", "decisions/", "cost/"),
    *("leaderboard/", "runs/"),
)
_TABS = ("", "?tab=charts", "?tab=samples", "?tab=log")


@dataclass(frozen=True)
class Promise:
    words: str
    seen: str
    is_kept: bool


def promises_of(site: HostsSite, projects: list[str]) -> list[Promise]:
    rows = json.loads(site.ask(_ROWS.format(projects=projects)))
    return [
        *_of_runs(rows),
        *_of_ledger(site),
        _of_storage(site),
        _of_pages(site, projects),
    ]


def _of_runs(rows: dict[str, Any]) -> list[Promise]:
    finished = rows["states"].get("succeeded", 0)
    lost = "; ".join(
        f"run {run} ({kind}), attempt {number}: {' '.join(reason.split())}"
        for run, kind, number, reason in rows["lost"]
    )
    twice = rows["ended_twice"] + rows["orders_twice"]
    return [
        Promise(
            "runs finished = runs asked",
            f"{finished} of {rows['asked']}{''.join(f'; {one}' for one in rows['failed'])}",
            finished == rows["asked"] > 0,
        ),
        Promise("no run is ordered or ends twice", ", ".join(map(str, twice)) or "none", not twice),
        Promise("what was lost goes on", f"{rows['attempts']} attempts of {rows['asked']} runs. {lost}".strip(), True),
        Promise(
            "each step is in the database once, in order",
            ", ".join(map(str, rows["not_in_order"])) or "in all runs",
            not rows["not_in_order"],
        ),
    ]


def _of_ledger(site: HostsSite) -> list[Promise]:
    """Look at who wrote when: lines lie in the ledger in the order in which they were written, by all processes."""
    tokens: dict[str, list[str]] = defaultdict(list)
    again: dict[str, dict[tuple[str, int], set[str]]] = defaultdict(lambda: defaultdict(set))
    lines = [json.loads(line) for line in site.ledger.read_text().splitlines()] if site.ledger.exists() else []
    for row in lines:
        order = tokens[row["run"]]
        if not order or order[-1] != row["token"]:
            order.append(row["token"])
        if row["what"] != "start":
            again[row["run"]][(row["what"], row["step"])].add(row["token"])
    mixed = [run for run, order in tokens.items() if len(order) != len(set(order))]
    repeated = sum(len(tokens) > 1 for steps in again.values() for tokens in steps.values())
    attempts = sum(len(order) for order in tokens.values())
    return [
        Promise(
            "no two attempts of a run write at once",
            ", ".join(mixed)
            or f"{len(lines)} lines of {attempts} attempts of {len(tokens)} runs: each attempt's in one piece",
            bool(lines) and not mixed,
        ),
        Promise("steps since the last checkpoint are taken again, and only those count", f"{repeated} steps", True),
    ]


def _of_storage(site: HostsSite) -> Promise:
    words = "everything that rows name is whole in the storage"
    try:
        lines = site.manage("store_artefacts", "--verify").splitlines()
    except subprocess.CalledProcessError as error:
        return Promise(words, f"not verified: {error}", False)
    return Promise(words, f"{len(lines)} artefacts, every hash compared", bool(lines))


def _of_pages(site: HostsSite, projects: list[str]) -> Promise:
    """Open the main pages, and those of each run, as a manager, on both web hosts."""
    addresses = ["", *(f"p/{project}/{page}" for project in projects for page in _OF_PROJECT)]
    addresses += [f"runs/{run}/{tab}" for (run,) in site.query("select id from training_run") for tab in _TABS]
    session = site.ask(_SESSION).strip().splitlines()[-1]
    bad: list[str] = []
    for url in site.urls:
        with httpx.Client(base_url=url, cookies={"sessionid": session}, timeout=60, trust_env=False) as client:
            for address in addresses:
                answer = client.get(f"/{address}", follow_redirects=True)
                if answer.status_code >= 400 or "/login" in str(answer.url):
                    bad.append(f"/{address}: {answer.status_code}")
    seen = ", ".join(bad) or f"{len(addresses)} pages, on each of {len(site.urls)} web hosts"
    return Promise("no page shows an error after recovery", seen, not bad)


_SESSION = """
    from django.contrib.auth import SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore
    from django.conf import settings
    from annotate.models import User
    user = User.objects.get(username="demo")
    session = SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    print(session.session_key)
"""
