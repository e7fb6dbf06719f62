"""Write metrics as Prometheus reads them: of this process, or of all processes that share a folder.

Several processes at one port (`uvicorn --workers 4`) share a folder (`shared_folder`), and whichever is asked answers
for all of them. Without one a process answers for itself: Prometheus asks each at its own port and adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from annotate.core.metrics.readings import Reading
from annotate.core.metrics.shared_folder import VARIABLE

CONTENT_TYPE = CONTENT_TYPE_LATEST
_UP = Reading("assay_database_up", "1 when the gauges below could be read from the database.")


class _Readings(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for reading in self._readings:
            family = GaugeMetricFamily(reading.name, reading.meaning, labels=reading.labels)
            for labels, value in reading.values.items():
                family.add_metric(labels, value)
            yield family


def text_of(readings: Sequence[Reading] | None) -> bytes:
    """Return all metrics as text; `readings` None: the database did not tell them."""
    up = Reading(_UP.name, _UP.meaning, (), {(): float(readings is not None)})
    of_database = CollectorRegistry()
    of_database.register(_Readings([up, *(readings or ())]))
    return generate_latest(_registry()) + generate_latest(of_database)


def _registry() -> CollectorRegistry:
    folder = os.environ.get(VARIABLE)
    if not folder:
        return REGISTRY
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            mark_process_dead(int(pid), folder)  # what was open there is open no more
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)
    return registry
