"""Thousands of answers from somebody's API that throttles, drips and cuts off, with signal 9 in the middle.

Every answer is there once, the bill is right, and the key is in no row, no log and no file.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import psutil
import pytest
from django.conf import settings
from django.db import connection

from annotate.language_models.actions import register_model
from annotate.language_models.model_settings import ModelSettings
from annotate.models import Completion
from tests.support.annotate.keyed_api import KeyedApi, Trouble, keyed_api, throttle
from tests.support.factories import make_project, make_user
from tests.support.processes import until
from tests.support.training.runs import in_a_thread, make_dataset
from training.models import Run
from training.runs.launchers.recipe_process import works_in
from training.runs.ordering.actions import queue_run
from training.runs.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "sk-secret-of-a-laboratory"
AT_ONCE = 8


def trouble(number: int) -> Trouble | None:
    if number % 29 == 3:
        return throttle("0.05")
    if number % 101 == 5:
        return Trouble(cut=True)
    if number % 97 == 6:
        return Trouble(500)
    return Trouble(drip_seconds=0.05) if number % 61 == 8 else None


def recipe_of(run: Run) -> psutil.Process | None:
    for process in psutil.process_iter():
        if works_in(process, Path(run.path)):
            return process
    return None


def kill_when(run: Run, api: KeyedApi, answers: int) -> None:
    until(lambda: len(api.billed) >= answers, 120)
    recipe = recipe_of(run)
    assert recipe is not None
    assert KEY not in " ".join([*recipe.cmdline(), *recipe.environ().values()])
    recipe.kill()


def everything_kept(log: str) -> list[bytes]:
    """All rows of all tables, all files of the data folder, and what was logged."""
    rows = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            rows += cursor.fetchall()
    files = [path.read_bytes() for path in Path(settings.DATA_DIR).rglob("*") if path.is_file()]
    return [json.dumps(rows, default=str).encode(), log.encode(), *files]


@pytest.mark.thorough
@pytest.mark.parametrize("prompts", [200, 2000])
def test_every_answer_comes_once_and_is_billed_once(prompts, caplog):
    project = make_project()
    by = make_user(project, role="researcher")
    prices = ModelSettings(prompt_price=2, completion_price=10, concurrency=AT_ONCE)
    with keyed_api(key=KEY, every=trouble, reasoning="Hmm.", seconds=0.01) as api:
        model = register_model(
            name="theirs", endpoint=api.url, served_name="small", key=KEY, settings=prices, project=project, by=by
        )
        dataset = make_dataset(project, rows=prompts)
        run = queue_run(
            kind="sample", name="answers", project=project, parent=model, dataset=dataset, by=by,
            config={"completions_per_prompt": 1},
        )  # fmt: skip
        working = threading.Thread(target=in_a_thread(lambda: Worker(name="test", tick_seconds=0.05).work(once=True)))
        working.start()
        for share in (0.3, 0.6):
            kill_when(run, api, int(prompts * share))
        working.join(300)
        run.refresh_from_db()
        assert run.state == "succeeded", (run.reason, (run.path / "log.txt").read_text()[-2000:])
        billed, requests = len(api.billed), len(api.requests)
    completions = list(Completion.objects.filter(sampled_by=run).values_list("prompt_id", "text", "cost", "reasoning"))
    assert set(Counter(row[0] for row in completions).values()) == {1} and len(completions) == prompts
    assert all(text.startswith("Answer to ") and thought == "Hmm." for _, text, _, thought in completions)
    result = run.result
    assert [attempt.state for attempt in run.attempts.order_by("number")] == ["lost", "lost", "succeeded"]
    words = sum(len(messages[0]["content"].split()) for messages in dataset.prompts.values_list("messages", flat=True))
    assert (result["prompt_tokens"], result["completion_tokens"]) == (words, words + 2 * prompts)
    assert result["cost"] == pytest.approx((2 * words + 10 * (words + 2 * prompts)) / 1e6)
    assert float(sum(cost for _, _, cost, _ in completions)) == pytest.approx(result["cost"], rel=1e-4)
    assert requests <= result["requests"] <= requests + 2 * AT_ONCE  # of those under way some had not gone out
    assert result["throttled"] > prompts / 60
    # What was paid and never arrived whole was under way at a kill, or cut off: it is counted, and asked again.
    assert 0 <= billed - prompts <= result["may_be_billed"]
    assert all(KEY.encode() not in text for text in everything_kept(caplog.text))
