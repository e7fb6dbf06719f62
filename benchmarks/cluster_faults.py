"""The demo's loop on several hosts, in peace and while one part after the other is killed: which promises hold.

    python -m benchmarks.cluster_faults                                 both passes, every fault; an hour on two cores
    python -m benchmarks.cluster_faults --stages 5 --kills web+storage+recipe,worker+raylet+head --no-calm
    python -m benchmarks.cluster_faults --size demo                     with the demo's own model and sizes

Postgres, Redis, an S3 server, two web processes, two workers, a background worker and a Ray cluster of two raylets are
started (`cluster_site`), each with a data folder of its own, and the loop is turned on them (`cluster_loop`): answers,
simulated annotators, SFT, a reward model, PPO, an arena, a leaderboard. In the second pass each fault waits for a run
that works on a node and has taken a step, or has worked for ten seconds, and strikes: kill -9 of its recipe, of the
raylet, of the worker that follows it, of a web process, of Ray's head, and a storage that refuses everybody for a
minute. What was killed is started anew some seconds later, a raylet as a host that has nothing. `web+recipe` strikes
both at once. A run is struck once: after three attempts in a row that took no step it fails, as it should.

Each recipe appends its start and each step to a ledger, with a token that is random for each attempt
(`training.core.step_ledger`). A table says what was promised and what was seen; the exit status is 1 where a promise
was broken. Everything that was started ends with the script, and its folder goes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from psutil import NoSuchProcess, Process

from benchmarks.cluster_promises import Promise, promises_of
from benchmarks.cluster_site import ClusterSite, cluster_site
from benchmarks.hosts_site import WEBS, recipes_at_work
from tests.support.processes import ROOT, until

KILLS = ("recipe", "raylet", "worker", "web", "head", "storage")
_AGAIN_SECONDS = 5.0  # until what was killed is started anew
_STEPLESS_SECONDS = 10.0  # for which a run works before it is struck without having taken a step
_WORKS = """
    select run.id, attempt.number, attempt.worker, run.kind from training_attempt attempt
    join training_run run on run.id = attempt.run_id join annotate_project project on project.id = run.project_id
    where attempt.state = 'running' and run.state = 'running' and attempt.node <> '' and project.slug = %s
    order by run.id
"""
_UNFINISHED = "select count(*) from training_run where finished_at is null"


@dataclass(frozen=True)
class Fault:
    """What was done, and to which run."""

    what: str
    run: int
    kind: str
    seconds: float  # since the pass began


class Faults:
    """Strike the parts of a site, one after the other, while a loop turns in `project`."""

    def __init__(self, site: ClusterSite, project: str, gone_seconds: float) -> None:
        self.site, self.project, self.gone_seconds = site, project, gone_seconds
        self.began = time.monotonic()
        self.done: list[Fault] = []
        self._struck: set[int] = set()
        self._seen: dict[int, float] = {}

    def strike(self, group: str, is_over: Callable[[], bool]) -> None:
        """Wait for a run that has taken a step or works for a while, and strike it by each fault of the group. A loop
        that is over meanwhile leaves them out."""
        while not is_over():
            working = [one for one in self._working() if one[0] not in self._struck and self._is_under_way(one[0])]
            if working and self._do(group.split("+"), *working[0]):
                return
            time.sleep(0.5)

    def _working(self) -> list[tuple]:
        return self.site.query(_WORKS, self.project)

    def _is_under_way(self, run: int) -> bool:
        since = self._seen.setdefault(run, time.monotonic())
        return time.monotonic() - since > _STEPLESS_SECONDS or run in self._with_steps()

    def _with_steps(self) -> set[int]:
        lines = self.site.ledger.read_text().splitlines() if self.site.ledger.exists() else []
        rows = [json.loads(line) for line in lines]
        return {int(row["run"].partition("-")[0]) for row in rows if row["what"] != "start"}

    def _do(self, names: list[str], run: int, attempt: int, worker: str, kind: str) -> bool:
        """Strike, and start anew what was killed; return whether there was what to strike."""
        recipes = [process for number, process in recipes_at_work(self.site.data) if number == run]
        if "recipe" in names and not recipes:
            return False
        for name in names:
            self._kill(name, recipes, worker.partition("@")[0])
            seconds = time.monotonic() - self.began
            self.done.append(Fault(name, run, kind, seconds))
            print(f"  {seconds:5.0f} s  fault: {name}, while attempt {attempt} of run {run} ({kind}) works", flush=True)
        self._struck.add(run)
        time.sleep(max(self.gone_seconds if "storage" in names else 0, _AGAIN_SECONDS))
        self._mend(names, worker.partition("@")[0])
        return True

    def _kill(self, name: str, recipes: list[Process], worker: str) -> None:
        site = self.site
        if name == "recipe":
            for process in recipes:
                with suppress(NoSuchProcess):
                    process.kill()
        elif name == "storage":
            site.storage.take_away()
        elif name == "raylet":
            site.cluster.kill_raylet()
        elif name == "head":
            site.cluster.kill_head()
        else:
            site.kill(WEBS[0] if name == "web" else worker)

    def _mend(self, names: list[str], worker: str) -> None:
        site = self.site
        if "storage" in names:
            site.storage.bring_back()
        if "web" in names:
            site.start(WEBS[0])
        if "worker" in names:
            site.start(worker)
        if "head" in names:
            site.cluster.end()
            site.cluster.start_head()
        if "head" in names or "raylet" in names:
            site.start_node()


def turn(site: ClusterSite, project: str, options: argparse.Namespace, kills: list[str]) -> Faults:
    """Turn the loop once in a project of that name, while the faults strike."""
    line = [sys.executable, "-m", "benchmarks.cluster_loop", project, *site.urls, "--size", options.size]
    line += ["--stages", str(options.stages), *(["--model", str(site.data / "tiny")] if options.size == "tiny" else [])]
    print(f"{project}:", flush=True)
    loop = subprocess.Popen(line, cwd=ROOT, env=site.environment(WEBS[0]), start_new_session=True)
    faults = Faults(site, project, options.gone_seconds)
    try:
        for group in kills:
            faults.strike(group, lambda: loop.poll() is not None)
        code: int | str = loop.wait(options.most_minutes * 60)
    except subprocess.TimeoutExpired:
        code = f"none within {options.most_minutes:g} minutes"
    finally:
        loop.kill()
        loop.wait()
    print(f"{project}: {(time.monotonic() - faults.began) / 60:.1f} minutes, exit status {code}", flush=True)
    return faults


def report(promises: list[Promise]) -> int:
    """Print the table; return the exit status."""
    print("\n| promise | seen | |\n|---|---|---|")
    for one in promises:
        print(f"| {one.words} | {one.seen} | {'kept' if one.is_kept else 'BROKEN'} |")
    return int(not all(one.is_kept for one in promises))


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    began = time.monotonic()
    with cluster_site() as site:
        print(f"All parts answer after {time.monotonic() - began:.0f} s.", flush=True)
        passes: dict[str, Faults] = {}
        if options.calm:
            passes["calm"] = turn(site, "calm", options, [])
        if options.kills:
            passes["faults"] = turn(site, "faults", options, options.kills)
        site.wait_until_served()
        is_at_rest = _comes_to_rest(site)
        faults = [fault for one in passes.values() for fault in one.done]
        asked = sum(len(group.split("+")) for group in options.kills)
        promises = promises_of(site, list(passes))
        promises.append(Promise("no run is left at work", "none" if is_at_rest else "after 300 s", is_at_rest))
        promises.append(
            Promise(
                "each fault struck a run at work",
                f"{len(faults)} of {asked}: {', '.join(f'{f.what} ({f.kind})' for f in faults)}",
                len(faults) == asked,
            )
        )
        status = report(promises)
        if status and options.keep:
            subprocess.run(["cp", "-r", str(site.data), str(options.keep)], check=True)
    print(
        f"\n{(time.monotonic() - began) / 60:.1f} minutes in all, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    return status


def _comes_to_rest(site: ClusterSite) -> bool:
    """Wait until no run is left at work; return whether that came."""
    with suppress(AssertionError):
        until(lambda: site.query(_UNFINISHED) == [(0,)], 300, "no run is left at work")
        return True
    return False


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "small", "demo"), default="tiny")
    parser.add_argument("--stages", type=int, default=15, help="of the demo's, from the first")
    parser.add_argument("--kills", default=",".join(KILLS), help="in this order, a+b at once; empty for none")
    parser.add_argument(
        "--calm", action=argparse.BooleanOptionalAction, default=True, help="a pass without faults first"
    )
    parser.add_argument("--gone-seconds", type=float, default=60.0, help="for which the storage is gone")
    parser.add_argument("--most-minutes", type=float, default=120.0, help="of one pass")
    parser.add_argument("--keep", type=Path, default=None, help="where the data goes when a promise was broken")
    options = parser.parse_args(arguments)
    options.kills = [name for name in options.kills.split(",") if name]
    if unknown := {name for group in options.kills for name in group.split("+")} - set(KILLS):
        parser.error(f"--kills: {', '.join(sorted(unknown))} is none of {', '.join(KILLS)}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
