"""The tests' fork server: the product's own for recipes, and for whole programs (tests/support/programs.py)."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path

from tests.support.processes import ROOT
from tests.support.programs import MODULE
from training.core import parent_watchdog
from training.runs.launchers import fork_server
from training.runs.launchers.fork_server import ForkServer
from training.runs.launchers.forked_process import Request

# Of web and background worker, as far as they load without settings; and of servers and tools that tests start.
_LIBRARIES = (
    *("django.core.handlers.asgi", "django.core.management", "django.db.models", "django.db.migrations.executor"),
    *("django.forms", "django.template.loader", "django.test", "django.views.generic", "django.contrib.auth.hashers"),
    *("channels.layers", "channels_redis.core", "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto"),
    *("uvicorn.lifespan.on", "whitenoise", "scipy.stats", "scipy.special", "scipy.sparse.linalg", "psycopg"),
    *("psycopg_pool", "redis", "httpx", "jsonschema", "markdown_it", "boto3", "botocore.session", "pyarrow"),
    *("drf_spectacular", "dj_database_url", "prometheus_client", "honcho.printer", "cryptography.fernet", "PIL.Image"),
    *("moto.server", "moto.s3.responses", "schemathesis.cli", "hypothesis", "accelerate.commands.launch"),
    *("django.db.backends.sqlite3.base", "django.contrib.admin.utils", "rest_framework.serializers", "fido2.server"),
    *("httpcore", "cryptography.hazmat.primitives.serialization.ssh", "allauth.utils", "PIL.ImageDraw"),
    *("common.charts.rating_charts", "common.artefacts.artefact_store", "common.languages.language_names"),
)
# Read as libraries load, and not set again by `forked_program`.
_READ_EARLY = (
    *("CUDA", "HF_", "TRANSFORMERS_", "TORCH", "PYTORCH", "MKL_", "KMP_", "MALLOC_", "LD_", "ATEN_", "ONEDNN_"),
    *("PYTHONUTF8", "PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONDEVMODE", "ACCELERATE_", "DATASETS_"),
)


class ProgramServer(ForkServer):
    def refusal(self, request: Request) -> str:
        if request.module_and_arguments[0] != MODULE:
            return super().refusal(request)
        asked, own = request.environment, self.environment
        foreign = {path for path in asked.get("PYTHONPATH", "").split(os.pathsep) if path} - {str(ROOT)}
        different = [
            name
            for name in {*asked, *own}
            if name.startswith(_READ_EARLY) and not _is_read_later(name) and asked.get(name) != own.get(name)
        ]
        return (
            f"Other code or environment: {', '.join(sorted([*foreign, *different]))}." if foreign or different else ""
        )


def _is_read_later(name: str) -> bool:
    # A library of a test's own process sets those of hf_xet, which reads them when it downloads. What recipes alone are
    # told (the server loaded as one of them) is about a hub, and no test has one; Apple's processors are another thing.
    names = ("HF_XET_", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "PYTORCH_ENABLE_MPS_FALLBACK")
    return fork_server.is_read_later(name) or name.startswith(names)


def main(arguments: list[str]) -> Request:
    """Load the libraries and serve, as `fork_server.main` does. Returns in each child alone."""
    environment = dict(os.environ)
    parent = environment.get(parent_watchdog.ENVIRONMENT_NAME)
    for name in _LIBRARIES:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    fork_server.preload()
    if not Path(arguments[0]).parent.exists():
        sys.exit()  # the tests are over already
    listener = fork_server.listen(Path(arguments[0]))
    return ProgramServer(listener, environment, int(parent) if parent else None).serve()


if __name__ == "__main__":
    fork_server.run_to_its_end(main(sys.argv[1:]).module_and_arguments[0])
