"""Each operation of the API's schema with generated requests, as each role: no 5xx, no answer beside the schema.

    python -m benchmarks.contract                                 each role, some ten thousand requests each
    python -m benchmarks.contract --roles manager --only /webhooks/ --examples 50

A web process is started on a data folder of its own that holds the sample project and one row of everything, and a
model server that answers at once. schemathesis (https://schemathesis.io) then sends what the schema allows, what it
forbids, and the bounds of each field, by a fixed seed, and compares status, headers and body of each answer with the
schema. `contract_hooks` lets most requests name rows that are there. Stored rows of one role are there for the next.

The exit status is 1 where an answer was a 5xx or not what the schema says; each such request is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.database import make_static, make_tables
from tests.support.annotate.openai_server import openai_server
from tests.support.processes import FOREIGN, ROOT, answers, free_port, until

ROLES = ("visitor", "stranger", "annotator", "reviewer", "researcher", "manager", "staff")
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "unsupported_method"),
)
PHASES = "examples,coverage,fuzzing"
RENEW = "/auth/token/renew/"  # it would take the token away with which all others are asked: asked last
SEED = 17


@dataclass(frozen=True)
class Site:
    """`tokens` is of each role, without visitors; `rows` is the file for `contract_hooks`."""

    url: str
    tokens: Mapping[str, str]
    rows: Path


@dataclass(frozen=True)
class Outcome:
    role: str
    operations: int
    requests: int
    failures: int
    seconds: float
    text: str  # what schemathesis printed


@contextmanager
def served_site(folder: Path) -> Iterator[Site]:
    """Yield a site that serves the sample project from this folder; it ends with the block."""
    inherited = {name: value for name, value in os.environ.items() if name not in (*FOREIGN, "ASSAY_DATA")}
    port = free_port()
    with openai_server() as models, (folder / "web.log").open("ab") as log:
        environment = inherited | {
            **{"ASSAY_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": str(ROOT)},
            **{"DEBUG": "0", "SECRET_KEY": "of a site that lives for minutes", "ALLOWED_HOSTS": "127.0.0.1"},
            **{"MODEL_SERVER_URL": models.url, "ASSAY_PRIVATE_ENDPOINTS": "127.0.0.1", "HF_HUB_OFFLINE": "1"},
        }
        make_tables(environment)
        make_static(environment)
        line = [sys.executable, "-m", "benchmarks.contract_rows", str(folder / "rows.json")]
        tokens = subprocess.run(line, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE).stdout
        line = ["-m", "uvicorn", "config.asgi:application", "--port", str(port), "--log-level", "warning"]
        web = subprocess.Popen([sys.executable, *line], cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(f"{url}/livez"), 300, f"the web process answers; see {folder}/web.log")
            yield Site(url, json.loads(tokens.splitlines()[-1]), folder / "rows.json")
        finally:
            web.terminate()
            web.wait()


def ask(site: Site, role: str, examples: int, only: str, seed: int) -> list[Outcome]:
    """Send everything as one role. A list: renewing the token is asked in a run of its own."""
    chosen = ["--include-path-regex", only] if only else []
    outcomes = [_run(site, role, examples, seed, [*chosen, "--exclude-path-regex", RENEW])]
    return outcomes if only else [*outcomes, _run(site, role, examples, seed, ["--include-path-regex", RENEW])]


def _run(site: Site, role: str, examples: int, seed: int, words: list[str]) -> Outcome:
    report = site.rows.parent / "report.json"
    report.unlink(missing_ok=True)
    token = site.tokens.get(role)
    line = [sys.executable, "-m", "schemathesis.cli", "run", f"{site.url}/api/schema/", *words]
    line += ["--header", f"Authorization: Token {token}"] if token else []
    line += ["--checks", ",".join(CHECKS), "--phases", PHASES, "--max-examples", str(examples), "--seed", str(seed)]
    line += ["--continue-on-failure", "--no-shrink", "--no-color", "--warnings", "off", "--request-timeout", "120"]
    line += ["--generation-database", "none", "--report", "json", "--report-json-path", str(report)]
    hooks = {"SCHEMATHESIS_HOOKS": "benchmarks.contract_hooks", "ASSAY_CONTRACT_ROWS": str(site.rows)}
    environment = os.environ | hooks | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        line, cwd=report.parent, env=environment, stdout=subprocess.PIPE, text=True
    )  # it leaves files
    if not report.exists():
        raise RuntimeError(f"schemathesis ended with {ended.returncode} and no report:\n{ended.stdout[-3000:]}")
    figures = json.loads(report.read_text(encoding="utf-8"))
    return Outcome(
        role=role,
        operations=figures["operations"]["tested"],
        requests=figures["test_cases"]["generated"],
        failures=sum(one["count"] for one in figures["failures"]) + len(figures["errors"]),
        seconds=figures["running_time"],
        text=ended.stdout,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roles", nargs="+", default=ROLES, choices=ROLES)
    parser.add_argument("--examples", type=int, default=20, help="generated requests of each operation, beside bounds")
    parser.add_argument("--only", default="", metavar="REGEX", help="operations whose address matches")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    print("| role | operations | requests | 5xx and violations | s |\n|---|---:|---:|---:|---:|")
    failures = []
    with tempfile.TemporaryDirectory(prefix="assay-contract-") as folder, served_site(Path(folder)) as site:
        for role in options.roles:
            outcomes = ask(site, role, options.examples, options.only, options.seed)
            failures += [one for one in outcomes if one.failures]
            operations, requests = sum(one.operations for one in outcomes), sum(one.requests for one in outcomes)
            broken, seconds = sum(one.failures for one in outcomes), sum(one.seconds for one in outcomes)
            print(f"| {role} | {operations} | {requests:,} | {broken} | {seconds:.0f} |", flush=True)
        log = (Path(folder) / "web.log").read_text(encoding="utf-8", errors="replace")
    for one in failures:
        print(f"\nAs {one.role}:\n{one.text}")
    if failures:
        print("\n".join(line for line in log.splitlines() if " WARNING django.request: " not in line)[-40_000:])
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
