"""Let several simulated annotators work at once until enough is annotated or nothing is left."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .annotator import Annotation, Annotator
from .client import ApiError, Client, Json

RATE, COMPARE, BATTLE = "rate", "compare", "battle"
MAX_REFUSALS_IN_A_ROW = 5


@dataclass(frozen=True)
class Account:
    username: str
    password: str


class Quota:
    """Count how much is still to be annotated, by kind; shared by the threads, so that together they do not annotate
    too much."""

    def __init__(self, **amounts: int) -> None:
        self._left = Counter({kind: n for kind, n in amounts.items() if n > 0})
        self.done: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, excluded: set[str]) -> str | None:
        """Reserve one annotation of the kind of which most is left; None when nothing is."""
        with self._lock:
            left = {kind: n for kind, n in self._left.items() if n > 0 and kind not in excluded}
            if not left:
                return None
            kind = max(left, key=lambda k: left[k])
            self._left[kind] -= 1
            return kind

    def give_back(self, kind: str) -> None:
        with self._lock:
            self._left[kind] += 1

    def finish(self, kind: str, *, counted: bool = True) -> None:
        with self._lock:
            self.done[kind] += 1
            self.counted[kind] += counted


@dataclass(frozen=True)
class Report:
    """Count what a session did. `judged` is by kind; `counted` leaves out battles whose vote did not count."""

    judged: dict[str, int]
    counted: dict[str, int]
    seconds: float

    @property
    def per_second(self) -> float:
        return sum(self.judged.values()) / self.seconds if self.seconds else 0.0

    def lacking(self, *, ratings: int = 0, comparisons: int = 0, battles: int = 0) -> dict[str, int]:
        """Return how many of those asked for were not done, by kind."""
        wanted = {RATE: ratings, COMPARE: comparisons, BATTLE: battles}
        left = {kind: n - self.judged.get(kind, 0) for kind, n in wanted.items()}
        return {kind: n for kind, n in left.items() if n > 0}


def hold(
    url: str,
    project: str,
    people: Sequence[tuple[Account, Annotator]],
    *,
    ratings: int = 0,
    comparisons: int = 0,
    battles: int = 0,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Report:
    """Let everybody work, each in a thread of their own. What one thread raises, this raises."""
    quota = Quota(rate=ratings, compare=comparisons, battle=battles)
    if not people or max(ratings, comparisons, battles) <= 0:
        return Report({}, {}, 0.0)
    started = time.monotonic()
    with ThreadPoolExecutor(len(people)) as pool:
        sittings = [pool.submit(_sit, url, project, account, annotator, quota) for account, annotator in people]
        while not all(sitting.done() for sitting in sittings):
            on_progress(sum(quota.done.values()))
            time.sleep(0.2)
    for sitting in sittings:
        sitting.result()
    on_progress(sum(quota.done.values()))
    return Report(dict(quota.done), dict(quota.counted), time.monotonic() - started)


def _sit(url: str, project: str, account: Account, annotator: Annotator, quota: Quota) -> None:
    nothing_left: set[str] = set()
    refusals = 0
    with Client.sign_in(url, account.username, account.password) as client:
        while (kind := quota.take(excluded=nothing_left)) is not None:
            try:
                outcome = (
                    _battle(client, project, annotator) if kind == BATTLE else _task(client, project, kind, annotator)
                )
            except ApiError as error:
                # Between being handed out and being judged, a thing may expire or be judged by others: take another.
                quota.give_back(kind)
                refusals += 1
                if error.status not in (404, 409, 410) or refusals > MAX_REFUSALS_IN_A_ROW:
                    raise
                continue
            refusals = 0
            if outcome is None:
                quota.give_back(kind)
                nothing_left.add(kind)
            elif outcome == "skipped":
                quota.give_back(kind)
            else:
                quota.finish(kind, counted=outcome == "counted")


def _task(client: Client, project: str, kind: str, annotator: Annotator) -> str | None:
    """Do one assignment; return "counted", "skipped", or None when there is none for this person."""
    task = _next_task(client, project, kind, annotator)
    if task is None:
        return None
    annotation = _annotate(annotator, task)
    path = f"assignments/{task['id']}"
    if annotation.skip_reason:
        client.post(f"{path}/skip/", {"reason": annotation.skip_reason})
        return "skipped"
    client.post(f"{path}/submit/", annotation.fields, key=f"simulation-assignment-{task['id']}")
    return "counted"


def _next_task(client: Client, project: str, kind: str, annotator: Annotator) -> Json | None:
    """Return what comes before the next task is done first: guidelines and messages are read, the tutorial is taken."""
    while True:
        try:
            return client.post(f"projects/{project}/assignments/", {"kind": kind})
        except ApiError as error:
            if "guidelines" in error.errors:
                client.post(f"projects/{project}/guidelines/read/")
            elif "warning" in error.errors:
                client.post(f"projects/{project}/message/")
            elif "tutorial" in error.errors:
                _take_tutorial(client, project, annotator)
            else:
                raise


def _take_tutorial(client: Client, project: str, annotator: Annotator) -> None:
    while (task := client.post(f"projects/{project}/tutorial/")) is not None:
        annotation = _annotate(annotator, task)
        fields = annotation.fields or ({"stars": 3} if task["kind"] == RATE else {"winner": "tie"})
        client.post(f"assignments/{task['id']}/submit/", fields)


def _battle(client: Client, project: str, annotator: Annotator) -> str | None:
    """Do one battle on a drawn prompt; return "counted" when it moves the ranking, else "held"; None when there is
    none."""
    battle = client.post("battles/", {"project": project, "drawn": True})
    if battle is None:
        return None
    texts = [completion["text"] for completion in battle["completions"]]
    annotation = annotator.compare(_prompt_text(battle), *texts, with_strength=False)
    if annotation.skip_reason:
        return "skipped"
    ballot = annotation.fields | {"token": battle["vote_token"]}
    receipt = client.post(f"battles/{battle['id']}/vote/", ballot, key=f"simulation-battle-{battle['id']}")
    assert receipt is not None
    return "counted" if receipt["ranks"] else "held"


def _annotate(annotator: Annotator, task: Json) -> Annotation:
    texts = [completion["text"] for completion in task["completions"]]
    if task["kind"] == RATE:
        return annotator.rate(_prompt_text(task), texts[0])
    return annotator.compare(_prompt_text(task), *texts)


def _prompt_text(task: Json) -> str:
    return task["prompt"]["messages"][-1]["content"]
