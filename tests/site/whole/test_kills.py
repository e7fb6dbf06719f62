"""kill -9 of each process in mid-work: what was acknowledged stands, what was begun ends, nothing happens twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from annotate.simulation import session
from annotate.simulation.annotator import Annotator, Habits
from tests.support import programs
from tests.support.factories import PASSWORD
from tests.support.processes import answers, kill_hard, until
from tests.support.sites.site import Site, filled_site

pytestmark = pytest.mark.slow
PER_PROMPT = 8


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site of its own: what others undo on the browser's site leaves two rows for one assignment."""
    with filled_site(tmp_path_factory.mktemp("kills")) as site:
        yield site


def queue_sampling(site: Site, name: str) -> int:
    """A real run of six portions of answers: the number of its row."""
    with site.api("rita") as api:
        answer = api.post(
            "runs/",
            json={
                "kind": "sample",
                "project": site.made["project"],
                "name": name,
                "parent": site.made["models"][0],
                "dataset": site.made["dataset"],
                "config": {"completions_per_prompt": PER_PROMPT, "max_new_tokens": 24, "batch_size": 4},
            },
        )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def state_of(site: Site, run: int) -> str:
    return site.query("select state from training_run where id = ?", run)[0][0]


RECIPE, MODEL_SERVER = "training.recipes.sample", "training.recipes.serve"


# The plain run kills workers and recipes in training/runs/test_worker.py, and a web process below.
@pytest.mark.thorough
def test_runs_end_well_and_once_whatever_is_killed(site: Site):
    """Each process is killed while a run is under way, and comes again."""
    first = queue_sampling(site, "processes are killed")
    for victims in ([RECIPE], ["run_worker"], ["uvicorn", MODEL_SERVER]):
        killed = [(victim, at_work(site, first, victim)) for victim in victims]
        for _, process in killed:
            kill_hard(process.pid)
        for victim, process in killed:
            comes_again(site, victim, process)
    the_arena_answers_again(site)

    second = queue_sampling(site, "all is killed")
    at_work(site, second, RECIPE)
    assert site.runner is not None
    below = [process for process in programs.processes_of(site.data) if process.pid != site.runner.pid]
    assert len(below) >= len(("web", "background", "worker", "models", RECIPE))
    site.runner.kill()
    site.runner.wait()
    _, alive = psutil.wait_procs(below, timeout=60)
    assert not alive, "orphans keep a port or a core"
    site.start()
    ended_well_and_once(site, first, losses=2)
    ended_well_and_once(site, second, losses=1)


def comes_again(site: Site, victim: str, killed: psutil.Process) -> None:
    until(lambda: (again := site.process(victim)) and again.pid != killed.pid, 240, f"{victim} is there again")


def ended_well_and_once(site: Site, run: int, *, losses: int) -> None:
    until(lambda: state_of(site, run) not in ("queued", "running"), 300, "the run ends")
    assert state_of(site, run) == "succeeded", site.query("select reason, remedy from training_run where id = ?", run)
    rows = "from annotate_completion c join training_run_completions r on r.completion_id = c.id where r.run_id = ?"
    assert site.query(f"select count(*) {rows}", run) == [(site.made["in_dataset"] * PER_PROMPT,)]
    assert site.query(f"select count(*) {rows} group by c.prompt_id having count(*) <> {PER_PROMPT}", run) == []
    attempts = [
        state for (state,) in site.query("select state from training_attempt where run_id = ? order by id", run)
    ]
    assert len(attempts) == losses + 1 and attempts.index("succeeded") == losses, attempts


def at_work(site: Site, run: int, victim: str) -> psutil.Process:
    """Return that process of the site, once the recipe has gone on from where it is now."""
    before = kept(site, run)
    until(lambda: site.process(RECIPE) and kept(site, run) > before, 600, "the recipe goes on")
    process = site.process(victim)
    assert process is not None and state_of(site, run) == "running"
    return process


def kept(site: Site, run: int) -> int:
    """Return how many answers the recipe has written: a portion more at once."""
    file = site.data / "runs" / f"{run:06d}" / "completions.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def the_arena_answers_again(site: Site) -> None:
    """Ask it while its model server starts: it says so, and answers in the end."""
    ask = {"project": site.made["project"], "text": "What is a lighthouse for?"}
    until(lambda: answers(site.url), 120, "the web process answers")
    with site.api("anna") as api:
        api.timeout = 180  # its answers are written before it says so
        assert api.post("battles/", json=ask).status_code < 500
        until(lambda: api.post("battles/", json=ask).json().get("ready"), 120, "a battle on the restarted model server")


def test_no_acknowledged_vote_is_lost_and_none_is_stored_twice_when_the_web_process_is_killed(site: Site):
    def taste(prompt: str, completion: str) -> float:
        return len(completion) % 7 / 6

    habits = Habits(laziness=0)
    people = [
        (session.Account(name, PASSWORD), Annotator(taste, habits, seed=n)) for n, name in enumerate(("anna", "ben"))
    ]
    before = [site.query(f"select count(*) from annotate_{table}")[0][0] for table in ("rating", "comparison")]
    ended = threading.Event()

    def kill_again_and_again() -> None:
        for _ in range(3):
            time.sleep(1.5)
            if not ended.is_set() and (web := site.process("uvicorn")):
                kill_hard(web.pid)

    killer = threading.Thread(target=kill_again_and_again)
    killer.start()
    report = session.hold(site.url, site.made["project"], people, ratings=60, comparisons=60)
    ended.set()
    killer.join()

    after = [site.query(f"select count(*) from annotate_{table}")[0][0] for table in ("rating", "comparison")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [report.judged["rate"], report.judged["compare"]]
    twice = "select assignment_id from annotate_{} where assignment_id is not null group by 1 having count(*) > 1"
    assert not any(site.query(twice.format(table)) for table in ("rating", "comparison"))
