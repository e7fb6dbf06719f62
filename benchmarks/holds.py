"""How long anybody holds SQLite's write lock while six people vote, on two cores that are busy with something else.

    python benchmarks/holds.py                  one minute
    python benchmarks/holds.py --seconds 20 --busy 2 --votes 20000

Web and background worker run beside the client and beside `--busy` processes that only count, as nice as recipes are.
The project has twelve models, three of them candidates under a rule, and a history of votes. Six people vote in the
arena without a pause; one of them asks questions of their own, freezes a dataset, changes the settings and excludes
somebody now and then. Printed: the longest hold of each place that held for more than `--from-ms`, and the longest that
it computed (the rest it waited: for the disk, or for a processor), how many answers were errors, what an empty commit
costs on this disk (with synchronous=FULL each waits for it), and the longest that a sync took meanwhile. Exit status 1
above `--most-ms`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.database import make_tables  # noqa: E402
from benchmarks.load_client import Connection, Tally, crowd  # noqa: E402
from tests.support.processes import free_port, until  # noqa: E402
from training.core.processor_share import be_nice  # noqa: E402

SLUG, PEOPLE, MODELS, PROMPTS = "holds", 6, 12, 300
SPIN = "while True: pass"
# The longest that this disk took over a sync of 4 KiB, printed each time it grows; idle, but for the writes of others.
SYNC = """
import os, time
file, longest = os.open("sync", os.O_CREAT | os.O_WRONLY), 0.0
while True:
    began = time.perf_counter()
    os.pwrite(file, bytes(4096), 0)
    os.fdatasync(file)
    took = time.perf_counter() - began
    if took > longest:
        longest = took
        print(round(1000 * took), flush=True)
    time.sleep(0.02)
"""
_HOLD = re.compile(r"assay\.holds: (.+) held the write lock for (\d+) ms, (\d+) ms of them computing, from (.+) on")

FILL = f"""
import json, random, sys
import django
django.setup()
import common.splits as sides
import annotate.labelling.queue.entries as queue
from annotate.projects.accounts.actions import sign_in
from annotate.models import Comparison, Completion, Contestant, LanguageModel, Membership, Project, Prompt, Role, User
from evaluation.models import Candidacy, PromotionRule
from training.models import Run
draw, votes = random.Random(0), int(sys.argv[1])
words = "river stone lamp winter market bridge letter garden window music".split()
text = lambda n: " ".join(draw.choice(words) for _ in range(n))
project = Project.objects.create(slug="{SLUG}", name="Holds", proof_of_work=False, asks_comparisons=True)
models = [LanguageModel.objects.create(name=f"model-{{i}}", folder=f"models/{{i}}") for i in range({MODELS})]
for i, model in enumerate(models[1:], 1):
    model.parent = models[(i - 1) // 2]
    model.save()
Contestant.objects.bulk_create([Contestant(project=project, model=m) for m in models])
prompts = []
for i in range({PROMPTS}):
    messages = [{{"role": "user", "content": f"{{i}} " + text(30)}}]
    side = "train" if i % 3 == 0 else "eval"
    prompts.append(Prompt(project=project, messages=messages, text_hash=sides.text_hash(messages), side=side))
Prompt.objects.bulk_create(prompts)
answers = [Completion(prompt=p, model=m, text=text(120)) for p in prompts for m in models]
Completion.objects.bulk_create(answers, batch_size=500)
people = User.objects.bulk_create([User(username=f"person-{{i}}", password="!", is_staff=i == 0) for i in range(60)])
roles = [Role.MANAGER] + [Role.ANNOTATOR] * 59
Membership.objects.bulk_create([Membership(project=project, user=u, role=r) for u, r in zip(people, roles)])
tokens = [sign_in(u) for u in people[:{PEOPLE}]]
rows = []
for n in range(votes):
    p = draw.randrange({PROMPTS})
    a, b = draw.sample(range({MODELS}), 2)
    won = draw.random() < 1 / (1 + 2 ** ((b - a) / 3))
    rows.append(Comparison(project=project, prompt=prompts[p], completion_a=answers[p * {MODELS} + a],
        completion_b=answers[p * {MODELS} + b], winner="model_a" if won else "model_b",
        author=people[{PEOPLE} + n % 54], source="arena", judge="person"))
Comparison.objects.bulk_create(rows, batch_size=500)
for model in models[-3:]:
    run = Run.objects.create(kind="sft", name=model.name, project=project, parent=model.parent, output_model=model,
        state="succeeded", created_by=people[0])
    Candidacy.objects.create(project=project, model=model, run=run, champion=models[0])
PromotionRule.objects.create(project=project, created_by=people[0], fewest_votes=50)
queue.changed(project.pk, [p.pk for p in prompts])
print(json.dumps(tokens))
"""


def acts(turn: int) -> list[tuple[str, str, Any]]:
    """What the manager does beside voting, in the turn-th round."""
    return [
        ("PATCH", f"/api/v1/projects/{SLUG}/", {"daily_goal": turn % 50 + 1}),
        ("POST", "/api/v1/datasets/", {"project": SLUG, "kind": "preferences", "name": f"set {time.time():.0f}"}),
        ("POST", "/api/v1/prompts/", [_prompt(turn, i) for i in range(200)]),
        (
            "POST",
            f"/api/v1/projects/{SLUG}/exclusions/",
            {"person": PEOPLE + 1 + int(time.time()) % 54, "reason": "benchmark"},
        ),
        ("POST", f"/api/v1/projects/{SLUG}/assignments/", {"kind": "compare"}),
    ]


def _prompt(turn: int, number: int) -> dict[str, Any]:
    return {"project": SLUG, "messages": [{"role": "user", "content": f"What is {turn} times {number} and why?"}]}


async def person(connection: Connection, tally: Tally, until: float) -> None:
    """Vote in one battle after the other. The manager, who comes first, does one other act after every second vote."""
    is_manager, turn = not tally.receipts, 0
    tally.receipts.append(id(connection))
    while time.monotonic() < until:
        began = time.monotonic()
        given = {"project": SLUG, "drawn": True, "wait": 0}
        status, battle = await connection.ask("POST", "/api/v1/battles/", given)
        tally.handed.append(time.monotonic() - began)
        if status != 201:
            tally.errors[f"{status} for a battle"] += 1
            continue
        began = time.monotonic()
        ballot = {"winner": ("model_a", "model_b", "tie")[turn % 3], "token": battle["vote_token"], "seconds": 9.0}
        status, _ = await connection.ask("POST", f"/api/v1/battles/{battle['id']}/vote/", ballot)
        tally.judged.append(time.monotonic() - began)
        if status != 201:
            tally.errors[f"{status} for a vote"] += 1
        turn += 1
        if is_manager and turn % 2 == 0:
            method, path, body = acts(turn // 10)[turn // 2 % 5]
            status, said = await connection.ask(method, path, body)
            if status >= 400:
                tally.errors[f"{status} for {method} {path}: {str(said)[:100]}"] += 1


@contextmanager
def started(environment: dict[str, str], folder: Path, busy: int) -> Iterator[int]:
    port = free_port()
    web = ["-m", "uvicorn", "config.asgi:application", "--port", str(port), "--log-level", "warning"]
    commands = [web, ["manage.py", "run_background_worker"], *([["-c", SPIN]] * busy)]
    processes = []
    for number, command in enumerate(commands):
        with (folder / f"{number}.log").open("wb") as log:
            own: dict[str, Any] = {"cwd": ROOT, "env": environment, "stderr": log, "start_new_session": True}
            process = subprocess.Popen([sys.executable, *command], stdout=log, **own)
        if number >= 2:
            be_nice(process.pid)  # as nice as a recipe is
        processes.append(process)
    try:
        until(lambda: b"ready" in (folder / "1.log").read_bytes(), 120, "the background worker is ready")
        time.sleep(3)
        yield port
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)


def holds(folder: Path, begins: dict[str, int]) -> dict[str, dict[str, Any]]:
    """{place: the longest hold in ms, how often, and who held so long}, the longest first; of each log from its place
    in `begins` on."""
    fields: dict[str, dict[str, Any]] = {}
    for log in sorted(folder.glob("*.log")):
        for who, ms, computing, place in _HOLD.findall(log.read_bytes()[begins[log.name] :].decode(errors="replace")):
            one = fields.setdefault(place, {"longest_ms": 0, "computing_ms": 0, "times": 0, "by": who})
            one["times"] += 1
            one["computing_ms"] = max(one["computing_ms"], int(computing))
            if int(ms) > one["longest_ms"]:
                one |= {"longest_ms": int(ms), "by": who}
    return dict(sorted(fields.items(), key=lambda pair: -pair[1]["longest_ms"]))


def commit_ms(folder: Path) -> float:
    """The median of fifty commits of one row with synchronous=FULL, on this disk with nothing else going on."""
    import sqlite3

    database, taken = sqlite3.connect(folder / "commit.sqlite3", isolation_level=None), []
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (x)")
    for _ in range(50):
        began = time.perf_counter()
        database.execute("INSERT INTO t VALUES (1)")
        taken.append(1000 * (time.perf_counter() - began))
    return round(sorted(taken)[25], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10, help="seconds before, of one person")
    parser.add_argument("--busy", type=int, default=2, help="processes that keep a core busy")
    parser.add_argument("--votes", type=int, default=5000, help="that were cast before")
    parser.add_argument("--from-ms", type=float, default=30)
    parser.add_argument("--most-ms", type=float, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-holds-") as name:
        folder = Path(name)
        environment = {**os.environ, "ASSAY_DATA": name, "DJANGO_SETTINGS_MODULE": "config.settings", "DEBUG": "0"}
        environment |= {"SECRET_KEY": "holds", "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        environment |= {"ASSAY_SLOW_WRITE_MS": str(arguments.from_ms)}
        environment.pop("DATABASE_URL", None)
        options: dict[str, Any] = {"cwd": ROOT, "env": environment, "check": True}
        commit = commit_ms(folder)
        make_tables(environment)
        fill = [sys.executable, "-c", FILL, str(arguments.votes)]
        keys = json.loads(subprocess.run(fill, stdout=subprocess.PIPE, **options).stdout.splitlines()[-1])
        headers = [{"Authorization": f"Token {key}"} for key in keys]
        with started(environment, folder, arguments.busy) as port:
            crowd(
                "127.0.0.1", port, headers[:1], person, arguments.warm_up
            )  # imports and caches are not what is measured
            begins = {log.name: log.stat().st_size for log in folder.glob("*.log")}
            syncs = [sys.executable, "-c", SYNC]
            with subprocess.Popen(syncs, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True) as disk:
                tally, took = crowd("127.0.0.1", port, headers, person, arguments.seconds)
                disk.terminate()
                sync = int((disk.communicate()[0].split() or ["0"])[-1])
        found = holds(folder, begins)
        problems = sum(log.read_text(errors="replace").count("Traceback") for log in folder.glob("*.log"))
        if problems:
            print("".join((folder / f"{n}.log").read_text(errors="replace")[-3000:] for n in (0, 1)), file=sys.stderr)
    longest = max((one["longest_ms"] for one in found.values()), default=0)
    figures = tally.figures(took)
    figures["battle_ms"] = figures.pop("next_ms")
    print(json.dumps({"cores": os.cpu_count(), "busy": arguments.busy, "commit_ms": commit, **figures}))
    for place, one in found.items():
        print(json.dumps({"place": place, **one}))
    computing = max((one["computing_ms"] for one in found.values()), default=0)
    together = {"longest_ms": longest, "computing_ms": computing, "longest_sync_ms": sync, "tracebacks": problems}
    print(json.dumps(together))
    sys.exit(longest > arguments.most_ms or bool(problems))


if __name__ == "__main__":
    main()
