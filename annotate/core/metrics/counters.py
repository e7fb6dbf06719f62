"""Count what this process does, and how long it takes, for Prometheus.

A label holds a name of the code: of a view, a kind, a reason. What people write, and names of people, projects and
models, stand in none, so that there are only so many series and nobody learns more than figures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from annotate.core.errors import Refused

_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WAITS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_ANSWERS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 360.0)

REQUESTS = Counter(
    "assay_requests", "Requests answered, by page or operation and class of status.", ["view", "method", "status"]
)
REQUEST_SECONDS = Histogram(
    "assay_request_seconds",
    "From the whole request to the beginning of its answer, with the wait for a thread.",
    ["view", "method"],
    buckets=_QUICK,
)
WEBSOCKETS = Gauge("assay_websockets", "Live pages that are open.", multiprocess_mode="livesum")
WAITING_FOR_MODELS = Gauge(
    "assay_requests_waiting_for_models", "Requests that wait for a model's answer.", multiprocess_mode="livesum"
)
VOTES = Counter(
    "assay_votes", "Annotations and votes in battles that were sent: accepted, held, refused.", ["kind", "outcome"]
)
MODEL_SERVER_SECONDS = Histogram(
    "assay_model_server_seconds", "Of whole answers of models to people who wait.", ["server"], buckets=_ANSWERS
)
MODEL_SERVER_FIRST_SECONDS = Histogram(
    "assay_model_server_first_seconds", "Until the first piece of a streamed answer.", ["server"], buckets=_ANSWERS
)
MODEL_SERVER_ERRORS = Counter(
    "assay_model_server_errors", "Answers of models that did not come, by why not.", ["server", "reason"]
)
DATABASE_WAIT_SECONDS = Histogram(
    "assay_database_wait_seconds",
    "Waits for the database: of SQLite for its write lock, of Postgres for a connection and for locked rows.",
    ["wait"],
    buckets=_WAITS,
)
ANNOTATION, BATTLE = "annotation", "battle"  # kinds of votes


@contextmanager
def counted_refusals(kind: str) -> Iterator[None]:
    """Count a vote that is refused within it."""
    try:
        yield
    except Refused:
        VOTES.labels(kind, "refused").inc()
        raise


@contextmanager
def timed_wait(wait: str) -> Iterator[None]:
    """Measure a wait for the database that came to its end."""
    began = time.perf_counter()
    yield
    DATABASE_WAIT_SECONDS.labels(wait).observe(time.perf_counter() - began)
