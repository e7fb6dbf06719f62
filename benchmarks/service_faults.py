"""A site in service while its parts die: people vote and the demo's loop turns, and which promises hold.

    python -m benchmarks.service_faults                            ten minutes of kills, a minute of dropped packets
    python -m benchmarks.service_faults --minutes 1 --drop 0 --people 10 --stages 4

Postgres (with fsync), Redis, an S3 server, two web processes, two workers, a background worker and two model servers
are started (`service_site`); nothing but the servers is shared. A hundred people judge pairs and ten visitors vote in
an arena (`service_people`), while the demo's loop turns (`cluster_loop`). Every ten seconds one part is killed with
signal 9, the database among them, and started anew two seconds later; the storage is gone for five. For a minute
packets to and from Postgres are dropped: nobody is told that a connection is dead. That needs root and `nft`, for the
site then lives in a network namespace of its own.

What was acknowledged is looked up in the database afterwards, and a table says what was promised and what was seen; the
exit status is 1 where a promise was broken. Everything ends with the script, and its folder goes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from benchmarks.cluster_faults import report
from benchmarks.cluster_promises import Promise, promises_of
from benchmarks.hosts_site import BACKGROUND, MODELS, WEBS, WORKERS, recipes_at_work
from benchmarks.load import FILL, SLUG
from benchmarks.load_client import percentiles
from benchmarks.refusal import refuse
from benchmarks.service_people import Votes, crowd
from benchmarks.service_site import ServiceSite, service_site
from tests.support.processes import ROOT, until

PARTS = (*WEBS, *WORKERS, *MODELS, BACKGROUND, "recipe", "postgres", "redis", "storage")
LOOP = "loop"
_AGAIN_SECONDS, _STORAGE_SECONDS = 2.0, 5.0
_OWN_NETWORK = "ASSAY_BENCHMARK_OWN_NETWORK"
_ARENA = f"""
    from annotate.models import Contestant, LanguageModel, Project
    project = Project.objects.get(slug="{SLUG}")
    Project.objects.filter(pk=project.pk).update(is_public=True, max_new_tokens=16)
    for model, port in zip(LanguageModel.objects.filter(name__startswith="model-")[:2], {{ports}}):
        model.endpoint, model.served_name = f"http://127.0.0.1:{{{{port}}}}/v1", {{folder!r}}
        model.save()
        Contestant.objects.create(project=project, model=model)
"""
_COUNT = f"""
    import json
    from django.db.models import Count
    from annotate.models import Assignment, Comparison
    of_pairs = Comparison.objects.filter(project__slug="{SLUG}", battle=None)
    of_battles = Comparison.objects.filter(project__slug="{SLUG}").exclude(battle=None)
    twice = Comparison.objects.filter(assignment__isnull=False).values("assignment")
    submitted = Assignment.objects.filter(state="submitted").values("item").annotate(n=Count("id"))
    print(json.dumps({{
        "judged": list(of_pairs.values_list("id", flat=True)),
        "battles": list(of_battles.values_list("id", flat=True)),
        "twice": twice.annotate(n=Count("id")).filter(n__gt=1).count(),
        "above_overlap": submitted.filter(n__gt=3).count(),
    }}))
"""


@dataclass
class Strikes:
    """Kill one part after the other, and drop packets for some time. `done` counts what was killed."""

    site: ServiceSite
    minutes: float
    every: float
    drop_seconds: float
    draw: random.Random
    done: Counter[str] = field(default_factory=Counter)
    dropped: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def strike(self) -> None:
        """Go on until the time is over; then everything is there again."""
        ends = self.began + self.minutes * 60
        dropping = threading.Thread(target=self._drop)
        dropping.start()
        deck: list[str] = []
        while (now := time.monotonic()) < ends:
            deck = deck or self.draw.sample(PARTS, len(PARTS))  # each as often as the others
            part = deck.pop()
            if self._kill(part):
                self.done[part] += 1
                print(f"  {now - self.began:5.0f} s  killed: {part}", flush=True)
                time.sleep(max(0.0, now + self.every - time.monotonic()))
        dropping.join()

    def _kill(self, part: str) -> bool:
        """Kill it, and start it anew; return whether it was there."""
        if part == "recipe":
            recipes = [process for _, process in recipes_at_work(self.site.data)]
            for process in recipes:
                process.kill()
            return bool(recipes)
        if part == "storage":
            self.site.storage.take_away()
            time.sleep(_STORAGE_SECONDS)
            self.site.storage.bring_back()
        elif part in ("postgres", "redis"):
            server = self.site.postgres if part == "postgres" else self.site.redis
            server.kill()
            time.sleep(_AGAIN_SECONDS)
            server.start()
        else:
            self.site.kill(part)
            time.sleep(_AGAIN_SECONDS)
            self.site.start(part)
        return True

    def _drop(self) -> None:
        """Drop what goes to and from Postgres, from the middle of the time on."""
        if not self.drop_seconds:
            return
        time.sleep(self.minutes * 60 / 2)
        port = self.site.postgres.port
        print(f"  {time.monotonic() - self.began:5.0f} s  packets of Postgres are dropped", flush=True)
        _nft("add table inet assay", "add chain inet assay in { type filter hook input priority 0; }")
        _nft(f"add rule inet assay in tcp dport {port} drop", f"add rule inet assay in tcp sport {port} drop")
        try:
            time.sleep(self.drop_seconds)
        finally:
            _nft("delete table inet assay")
        self.dropped = self.drop_seconds
        print(f"  {time.monotonic() - self.began:5.0f} s  they arrive again", flush=True)


def _nft(*rules: str) -> None:
    for rule in rules:
        subprocess.run(["nft", rule], check=True)


def fill(site: ServiceSite, people: int, prompts: int) -> list[str]:
    """Make the project in which people vote; return their keys."""
    site.kill(BACKGROUND)  # what is made here takes its prompts into the queue itself
    line = [sys.executable, "-c", FILL, str(people), str(prompts)]
    made = subprocess.run(line, cwd=ROOT, env=site.environment(WEBS[0]), check=True, stdout=subprocess.PIPE)
    ports = [site.ports[name] for name in MODELS]
    site.ask(_ARENA.format(ports=ports, folder=str(site.data / "tiny")))
    site.start(BACKGROUND)
    return json.loads(made.stdout.splitlines()[-1])


def start_loop(site: ServiceSite, stages: int) -> subprocess.Popen[bytes] | None:
    """Turn the loop in a process of its own; None where no stage is wanted."""
    if not stages:
        return None
    line = [sys.executable, "-m", "benchmarks.cluster_loop", LOOP, *site.urls, "--size", "tiny"]
    line += ["--stages", str(stages), "--model", str(site.data / "tiny")]
    return subprocess.Popen(line, cwd=ROOT, env=site.environment(WEBS[0]), start_new_session=True)


def stored_promises(site: ServiceSite, votes: Votes) -> list[Promise]:
    """Look up what was acknowledged."""
    stored = json.loads(site.ask(_COUNT).splitlines()[-1])
    return [
        _stored("judgements", votes.judged, stored["judged"]),
        _stored("votes of visitors", votes.battles, stored["battles"]),
        Promise(
            "no vote is stored twice, no item above its overlap",
            f"{stored['twice']} twice, {stored['above_overlap']} above",
            not stored["twice"] and not stored["above_overlap"],
        ),
        Promise("people were served meanwhile", f"{len(votes.judged):,} judgements", bool(votes.judged)),
        Promise("every vote had its answer in the end", f"{votes.unsent} had none", not votes.unsent),
    ]


def promises(site: ServiceSite, votes: Votes, strikes: Strikes, loop_status: int | str | None) -> list[Promise]:
    of_loop = [] if loop_status is None else _of_loop(site, loop_status)
    return [
        *stored_promises(site, votes),
        *of_loop,
        Promise(
            "every part was killed",
            ", ".join(f"{part} {strikes.done[part]}" for part in PARTS),
            all(strikes.done[part] for part in PARTS) or strikes.minutes < 10,
        ),
    ]


def _of_loop(site: ServiceSite, status: int | str) -> list[Promise]:
    end = Promise("the loop came to its end", f"exit status {status}", status == 0)
    return [end, *(promises_of(site, [LOOP]) if status == 0 else [])]


def _stored(what: str, acknowledged: list[int], stored: list[int]) -> Promise:
    missing = set(acknowledged) - set(stored)
    more = len(set(stored) - set(acknowledged))
    return Promise(
        f"{what}: acknowledged = stored",
        f"{len(missing)} missing of {len(acknowledged):,}; {more} stored whose sender was not told",
        not missing and not more,
    )


def measure(options: argparse.Namespace) -> int:
    began = time.monotonic()
    with service_site() as site:
        keys = fill(site, options.people, options.prompts)
        print(f"All parts answer after {time.monotonic() - began:.0f} s.", flush=True)
        loop = start_loop(site, options.stages)
        strikes = Strikes(site, options.minutes, options.every, options.drop, random.Random(options.seed))
        ports = [site.ports[name] for name in WEBS]
        seconds = options.minutes * 60 + options.after
        try:
            with ThreadPoolExecutor(1) as pool:
                work = pool.submit(crowd, ports, keys, options.visitors, seconds, options.think)
                strikes.strike()
                votes = work.result()
            loop_status: int | str | None = loop and loop.wait(options.most_minutes * 60)
        except subprocess.TimeoutExpired:
            loop_status = f"none within {options.most_minutes:g} minutes more"
        finally:
            if loop is not None:
                loop.kill()
                loop.wait()
        site.wait_until_served()
        until(lambda: site.query("select count(*) from training_run where finished_at is null") == [(0,)], 600)
        status = report(promises(site, votes, strikes, loop_status))
        if status and options.keep:
            subprocess.run(["cp", "-r", str(site.data), options.keep], check=True)
    print(f"\nwaits for a judgement, ms: {percentiles(votes.waits)}")
    print(f"refused, in words: {dict(votes.refused)}\nasked again after: {dict(votes.repeats)}")
    minutes, load = (time.monotonic() - began) / 60, os.getloadavg()[0]
    print(
        f"{minutes:.1f} minutes in all, {sum(strikes.done.values())} kills, packets dropped for {strikes.dropped:g} s, "
    )
    print(f"{os.cpu_count()} cores, load {load:.1f}")
    return status


def in_own_network(arguments: list[str]) -> int:
    """Do it in a network namespace of its own, where packets can be dropped without harm to others."""
    if os.geteuid() or not shutil.which("nft") or not shutil.which("unshare"):
        refuse("--drop needs root, nft and unshare (Debian: nftables, util-linux); --drop 0 does without.")
    line = [
        "unshare",
        "--net",
        "sh",
        "-c",
        'ip link set lo up && exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "benchmarks.service_faults",
    ]
    return subprocess.call([*line, *arguments], cwd=ROOT, env={**os.environ, _OWN_NETWORK: "1"})


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of kills")
    parser.add_argument("--every", type=float, default=10.0, help="seconds from one kill to the next")
    parser.add_argument("--after", type=float, default=30.0, help="seconds of votes after the last kill")
    parser.add_argument("--drop", type=float, default=60.0, help="seconds for which packets of Postgres are dropped")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--think", type=float, default=4.0, help="seconds for which somebody looks at an item")
    parser.add_argument("--prompts", type=int, default=2000, help="of four answers each")
    parser.add_argument("--stages", type=int, default=15, help="of the demo's loop; 0: none")
    parser.add_argument("--most-minutes", type=float, default=60.0, help="for the loop after the last kill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", default="", help="where the data goes when a promise was broken")
    options = parser.parse_args(arguments)
    if options.drop and _OWN_NETWORK not in os.environ:
        return in_own_network(arguments)
    return measure(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
