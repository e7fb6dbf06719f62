"""Send figures to MLflow, where MLFLOW_TRACKING_URI names a server and the package mlflow-skinny, or mlflow, is
installed."""

from __future__ import annotations

import os
from typing import Any

from training.models import Metric, Run
from training.runs.trackers.tensorboard_files import numbers, short_options

_MOST = 1000  # metrics in one request
_LONGEST = 500  # characters of a parameter


def is_configured() -> bool:
    return bool(os.environ.get("MLFLOW_TRACKING_URI"))


class MLflow:
    """Follow each run by a run of MLflow, in an experiment of the project's name, found again by a tag."""

    name = "mlflow"

    def __init__(self) -> None:
        self._client: Any = None
        self._places: dict[int, tuple[str, str]] = {}  # by our run: the experiment's id, and the run's

    def log(self, run: Run, rows: list[Metric]) -> str:
        """Send rows; return the address of the page, "" where the server is a file."""
        from mlflow.entities import Metric as Figure

        client = self._connected()
        experiment, theirs = self._place(run)
        figures = [
            Figure(name, value, int(row.time.timestamp() * 1000), row.step)
            for row in rows
            for name, value in numbers(row).items()
        ]
        for start in range(0, len(figures), _MOST):
            client.log_batch(theirs, metrics=figures[start : start + _MOST])
        server = os.environ["MLFLOW_TRACKING_URI"].rstrip("/")
        return f"{server}/#/experiments/{experiment}/runs/{theirs}" if server.startswith("http") else ""

    def _connected(self) -> Any:
        if self._client is None:
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # by itself two minutes, and several times
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
        return self._client

    def _place(self, run: Run) -> tuple[str, str]:
        if run.pk not in self._places:
            client, name = self._connected(), f"assay/{run.project.slug}"
            experiment = client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else client.create_experiment(name)
            tag = f"{run.created_at:%Y%m%d%H%M%S}-{run.pk}"
            standing = client.search_runs([number], f"tags.`assay.run` = '{tag}'", max_results=1)
            if standing:
                theirs = standing[0].info.run_id
            else:
                tags = {"assay.run": tag, "assay.kind": run.kind}
                theirs = client.create_run(number, run_name=run.name, tags=tags).info.run_id
                for option, value in short_options(run).items():
                    client.log_param(theirs, option, str(value)[:_LONGEST])
            self._places[run.pk] = number, theirs
        return self._places[run.pk]

    def finish(self, run: Run) -> None:
        """Close its run, and say how ours ended."""
        state = {Run.State.SUCCEEDED: "FINISHED", Run.State.CANCELLED: "KILLED"}.get(Run.State(run.state), "FAILED")
        self._connected().set_terminated(self._place(run)[1], status=state)
        self.let_go(run)

    def let_go(self, run: Run) -> None:
        """Look its run up again next time."""
        self._places.pop(run.pk, None)

    def close(self) -> None:
        """Forget all places."""
        self._places.clear()
