"""kill -9 of each process in mid-work: what was acknowledged stands, what was begun ends, nothing happens twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from annotate.simulation import session
from annotate.simulation.annotator import Annotator, Habits
from tests.support.factories import PASSWORD
from tests.support.processes import kill_hard, until
from tests.support.sites.site import Site, filled_site

pytestmark = pytest.mark.slow
PER_PROMPT = 8


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site of its own: what others undo on the browser's site leaves two rows for one assignment. Its worker has a
    fork server of its own, too, which ends and comes back with it."""
    with filled_site(tmp_path_factory.mktemp("kills"), ASSAY_FORK_SERVER="1") as site:
        yield site


def queue_sampling(site: Site, name: str) -> int:
    """A real run that takes some seconds: the number of its row."""
    with site.api("rita") as api:
        answer = api.post(
            "runs/",
            json={
                "kind": "sample",
                "project": site.made["project"],
                "name": name,
                "parent": site.made["models"][0],
                "dataset": site.made["dataset"],
                "config": {"completions_per_prompt": PER_PROMPT, "max_new_tokens": 192, "batch_size": 8},
            },
        )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def state_of(site: Site, run: int) -> str:
    return site.query("select state from training_run where id = ?", run)[0][0]


RECIPE, MODEL_SERVER = "training.recipes.sample", "training.recipes.serve"


# The plain run kills workers and recipes in training/runs/test_worker.py, and a web process below.
@pytest.mark.thorough
@pytest.mark.parametrize("victim", [RECIPE, "run_worker", "uvicorn", MODEL_SERVER, "config.runner"])
def test_a_run_ends_well_and_once_whatever_is_killed(site: Site, victim: str):
    run = queue_sampling(site, f"without {victim}")
    until(lambda: site.process(RECIPE), 240, "the recipe starts")
    until(
        lambda: site.query("select step from training_run where id = ?", run)[0][0] > 0, 240, "the run makes progress"
    )
    recipe = site.process(RECIPE)
    assert recipe is not None and state_of(site, run) == "running"
    if victim == "config.runner":
        assert site.runner is not None
        below = psutil.Process(site.runner.pid).children(recursive=True)
        site.runner.kill()
        site.runner.wait()
        _, alive = psutil.wait_procs(below, timeout=15)
        assert not alive, "orphans keep a port or a core"
        site.start()
    else:
        process = site.process(victim)
        assert process is not None
        kill_hard(process.pid)
        until(lambda: (again := site.process(victim)) and again.pid != process.pid, 240, f"{victim} is there again")

    until(lambda: state_of(site, run) not in ("queued", "running"), 300, "the run ends")
    assert state_of(site, run) == "succeeded", site.query("select reason, remedy from training_run where id = ?", run)
    rows = "from annotate_completion c join training_run_completions r on r.completion_id = c.id where r.run_id = ?"
    assert site.query(f"select count(*) {rows}", run) == [(site.made["in_dataset"] * PER_PROMPT,)]
    assert site.query(f"select count(*) {rows} group by c.prompt_id having count(*) <> {PER_PROMPT}", run) == []
    ended = site.query("select count(*) from training_attempt where run_id = ? and state = 'succeeded'", run)
    assert ended == [(1,)]


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


@pytest.mark.thorough
def test_the_arena_says_so_while_its_model_server_is_gone_and_answers_again_after(site: Site):
    server = site.process(MODEL_SERVER)
    assert server is not None
    ask = {"project": site.made["project"], "text": "What is a lighthouse for?"}
    with site.api("anna") as api:
        kill_hard(server.pid)
        assert api.post("battles/", json=ask).status_code < 500
        until(lambda: api.post("battles/", json=ask).json().get("ready"), 120, "a battle on the restarted model server")
