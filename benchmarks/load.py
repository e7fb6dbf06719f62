"""200 people voting through the API at once: judgements a second, how long each waits, and that none is lost.

    python benchmarks/load.py                       SQLite, then Postgres, two minutes each
    python benchmarks/load.py --seconds 20 --databases sqlite --people 50
    python benchmarks/load.py --peers label-studio=/path/to/its/python potato=/path/to/its/python

Web and database alone run beside the client, on this machine. Everybody asks for the next comparison and judges it
without a pause for thought: nobody reads so fast, so the figure is what the machine can bear. Afterwards each
acknowledged judgement is looked up in the database, and `manage.py verify` is run. Peers do the same work where they
can; see load_peers.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.database import make_tables  # noqa: E402
from benchmarks.load_client import Connection, Tally, crowd  # noqa: E402
from benchmarks.refusal import refuse  # noqa: E402
from tests.support.processes import free_port  # noqa: E402
from tests.support.servers import postgres  # noqa: E402

PROMPTS, ANSWERS, OVERLAP = 4000, 4, 3  # 24,000 pairs, 72,000 places: nobody runs out
SLUG = "load"

FILL = f"""
import json, random, sys
import django
django.setup()
from annotate.projects.accounts.actions import sign_in
import common.splits as sides
from annotate.models import Completion, LanguageModel, Membership, Project, Prompt, User
import annotate.labelling.queue.entries as queue
draw = random.Random(0)
words = [line.strip() for line in "river stone lamp winter market bridge letter garden window music".split()]
text = lambda n: " ".join(draw.choice(words) for _ in range(n))
project = Project.objects.create(slug="{SLUG}", name="Load", overlap={OVERLAP}, asks_ratings=False)
models = [LanguageModel.objects.create(name=f"model-{{i}}") for i in range({ANSWERS})]
prompts = []
for i in range(int(sys.argv[2])):
    messages = [{{"role": "user", "content": f"{{i}} " + text(30)}}]
    prompts.append(Prompt(project=project, messages=messages, text_hash=sides.text_hash(messages), side="train"))
Prompt.objects.bulk_create(prompts, batch_size=500)
Completion.objects.bulk_create(
    [Completion(prompt=p, model=m, text=text(120)) for p in prompts for m in models], batch_size=500)
people = User.objects.bulk_create([User(username=f"person-{{i}}", password="!") for i in range(int(sys.argv[1]))])
Membership.objects.bulk_create([Membership(project=project, user=u) for u in people])
tokens = [sign_in(u) for u in people]
queue.changed(project.pk, [p.pk for p in prompts])
while queue.take_in(project, []):
    pass
print(json.dumps(tokens))
"""
COUNT = f"""
import json, sys
import django
django.setup()
from annotate.models import Assignment, Comparison
ids = set(json.load(sys.stdin))
rows = set(Comparison.objects.filter(project__slug="{SLUG}").values_list("id", flat=True))
from django.db.models import Count
over = Assignment.objects.filter(state="submitted").values("item").annotate(n=Count("id")).filter(n__gt={OVERLAP})
print(json.dumps({{"missing": len(ids - rows), "unacknowledged": len(rows - ids), "above_overlap": over.count()}}))
"""


async def person(connection: Connection, tally: Tally, until: float, think: float = 0.0) -> None:
    """One after the other; the answer to a judgement brings the next item, as the page does it. `think` are the
    seconds for which they look at one, on average."""
    draw = random.Random(id(connection))
    task = None
    while time.monotonic() < until:
        if think:
            await asyncio.sleep(draw.uniform(0, 2 * think))
        began = time.monotonic()
        if task is None:
            status, task = await connection.ask("POST", f"/api/v1/projects/{SLUG}/assignments/", {"kind": "compare"})
            tally.handed.append(time.monotonic() - began)
            if status != 200:
                tally.errors[f"{status} for the next item"] += 1
                task = None
                continue
        winner = draw.choice(("model_a", "model_b", "tie", "both_bad"))
        key = f"Idempotency-Key: load-{task['id']}\r\n"
        began = time.monotonic()
        path = f"/api/v1/assignments/{task['id']}/submit/?next=1"
        status, said = await connection.ask("POST", path, {"winner": winner, "seconds": 5.0}, key)
        tally.judged.append(time.monotonic() - began)
        if status != 201:
            tally.errors[f"{status} for a judgement"] += 1
            tally.judged.pop()
            task = None
            continue
        tally.receipts.append(said["id"])
        task = said.get("next")


@contextmanager
def web(
    environment: dict[str, str], workers: int, errors: IO[bytes] | None = None, patience: float = 60.0
) -> Iterator[int]:
    """The port of a web server that answers; what it says goes to `errors`. Raises RuntimeError where it does not."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--log-level", "error"]
    command += ["--workers", str(workers), "--timeout-graceful-shutdown", "3", "--no-proxy-headers"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=errors, start_new_session=True)
    try:
        _wait_until_it_answers(server, f"http://127.0.0.1:{port}/api/v1/projects/", patience)
        yield port
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End it with all of its processes. On a busy machine that takes long, and what was measured stands already."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _wait_until_it_answers(server: subprocess.Popen[bytes], url: str, patience: float) -> None:
    deadline, problem = time.monotonic() + patience, "it was not asked"
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"The web server ended with status {server.returncode} before it answered at {url}.")
        try:
            urllib.request.urlopen(url, timeout=2).read()
            return
        except OSError as error:
            problem = str(error)
            time.sleep(0.2)
    raise RuntimeError(f"The web server did not answer within {patience:g} s at {url}: {problem}.")


def measure(folder: Path, database_url: str, people: int, seconds: float, workers: int, prompts: int) -> dict[str, Any]:
    environment = {**os.environ, "ASSAY_DATA": str(folder), "DEBUG": "0", "SECRET_KEY": "load", "LOG_LEVEL": "ERROR"}
    environment |= {"DJANGO_SETTINGS_MODULE": "config.settings", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("DATABASE_URL", None)
    if database_url:
        environment["DATABASE_URL"] = database_url
    run = [sys.executable]
    options: dict[str, Any] = {"cwd": ROOT, "env": environment, "check": True}
    make_tables(environment)
    filled = subprocess.run([*run, "-c", FILL, str(people), str(prompts)], stdout=subprocess.PIPE, **options)
    headers = [{"Authorization": f"Token {key}"} for key in json.loads(filled.stdout.splitlines()[-1])]
    with web(environment, workers) as port:
        # imports and caches are not what is measured
        early, _ = crowd("127.0.0.1", port, headers[: min(20, people)], person, min(3, seconds))
        tally, took = crowd("127.0.0.1", port, headers, person, seconds)
    seen = json.dumps([*early.receipts, *tally.receipts]).encode()
    counted = subprocess.run([*run, "-c", COUNT], input=seen, stdout=subprocess.PIPE, **options)
    database = json.loads(counted.stdout.splitlines()[-1])
    return tally.figures(took) | {"workers": workers, "database": database, "verify": verify(environment)}


def verify(environment: dict[str, str]) -> str:
    """What `manage.py verify` says in the end: that all agrees, or each fault."""
    line = [sys.executable, "manage.py", "verify"]
    said = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    return "; ".join(said.stderr.splitlines()[-5:]) if said.returncode else said.stdout.strip().splitlines()[-1]


def require_peer(given: str) -> None:
    """Refuse NAME=PYTHON of a peer that is not known, or whose Python is not there."""
    from benchmarks.load_peers import PEERS

    name, _, python = given.partition("=")
    if name not in PEERS:
        refuse(f"--peers={given} names no peer: NAME=PYTHON, with one of {', '.join(PEERS)}.")
    if not Path(python).is_file():
        refuse(f"There is no Python at {python!r}: install {name} in an environment of its own and name its python.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="of four answers each")
    parser.add_argument("--workers", type=int, default=2, help="web processes")
    parser.add_argument("--databases", nargs="*", default=["sqlite", "postgres"])
    parser.add_argument("--peers", nargs="*", default=[], metavar="NAME=PYTHON")
    arguments = parser.parse_args()
    for peer in arguments.peers:
        require_peer(peer)
    how, size = (arguments.people, arguments.seconds), (arguments.workers, arguments.prompts)
    machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()}
    print(json.dumps({**machine, "people": how[0], "seconds": how[1]}), flush=True)
    for name in arguments.databases:
        with tempfile.TemporaryDirectory(prefix="assay-load-") as folder:
            data = Path(folder) / "data"
            data.mkdir()
            if name == "sqlite":
                figures = measure(data, "", *how, *size)
            else:
                with postgres(Path(folder) / "postgres", durable=True) as url:
                    figures = measure(data, url, *how, *size)
        print(json.dumps({"assay": name, **figures}), flush=True)
    for peer in arguments.peers:
        from benchmarks.load_peers import PEERS

        name, _, python = peer.partition("=")
        print(json.dumps({"peer": name, **PEERS[name](python, *how)}), flush=True)


if __name__ == "__main__":
    main()
