"""What lies in deploy/ names files, commands, modules and settings that are there.

It is not run here: docs/guides/operating.md says what was tried by hand, and what could not be.
"""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from config.setting_table import INTERNAL, names

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OURS = ("prepare", "web", "background", "worker", "worker-cuda", "models", "models-cuda")
OF_COMPOSE = {"ASSAY_DOMAIN", "ASSAY_WEB", "POSTGRES_PASSWORD"}  # of Caddy and Postgres
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def require_command(words: list[str]) -> None:
    """Fail where a command line of Python names a module or a command of manage.py that is not there."""
    assert words[0].endswith("python"), words
    if words[1] == "-m":
        assert find_spec(words[2]), words
        if words[2] == "uvicorn":
            module, _, name = words[3].partition(":")
            assert f"\n{name} = " in (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
            assert "--no-proxy-headers" in words, "TRUSTED_PROXIES says whom to believe"
    else:
        assert (ROOT / words[1]).is_file() and words[2] in get_commands(), words


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of a line of a shell."""
    for part in re.split(r"&&|;", text):
        yield shlex.split(part)


def test_each_service_of_ours_runs_a_command_that_exists(compose):
    assert set(OURS) <= compose["services"].keys()
    for name in OURS:
        line = compose["services"][name].get("command")
        if line and line[0] == "sh":
            for words in commands(line[2]):
                require_command(words)
        elif line:
            require_command(line)
    stages = re.findall(r"^CMD (\[.*\])", DOCKERFILE, re.MULTILINE)
    for stage in stages:
        require_command(yaml.safe_load(stage))
    assert len(stages) == 2


def test_each_variable_is_a_declared_setting(compose):
    known = names().keys() | INTERNAL | OF_COMPOSE
    for name in OURS:
        assert compose["services"][name].get("environment", {}).keys() <= known, name
    used = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    example = (DEPLOY / "assay.env.example").read_text(encoding="utf-8")
    told = set(re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE))
    assert used <= told <= known and {"SECRET_KEY", "ASSAY_METRICS_TOKEN"} <= told
    variables = set(re.findall(r"^ENV (.*)", DOCKERFILE, re.MULTILINE)[0].split())
    assert {v.partition("=")[0] for v in variables} <= known | {"PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK"}


def test_what_a_service_names_is_there(compose):
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys(), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), f"{name}: {source}"
        build = service.get("build")
        if build:
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
            assert f" AS {build['target']}\n" in DOCKERFILE, name
            assert set(build.get("args", {})) <= set(re.findall(r"^ARG (\w+)=", DOCKERFILE, re.MULTILINE))


def test_only_caddy_is_reached_from_elsewhere_and_the_model_server_gets_no_secret(compose):
    for name, service in compose["services"].items():
        open_ports = [port for port in service.get("ports", []) if not str(port).startswith("127.0.0.1:")]
        assert bool(open_ports) == (name == "caddy"), name
    for name in ("models", "models-cuda"):
        assert not {"env_file", "environment"} & compose["services"][name].keys()
    [proxy] = [network["ipv4_address"] for network in compose["services"]["caddy"]["networks"].values() if network]
    assert compose["services"]["web"]["environment"]["TRUSTED_PROXIES"] == proxy


def test_the_images_install_from_the_lock_and_the_web_s_trains_nothing():
    copied = {name for line in re.findall(r"^COPY (.*)", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL))
    assert stages.keys() == {"base", "web", "worker"}
    installs = [line for line in re.findall(r"^RUN (pip .*)", DOCKERFILE, re.MULTILINE) if " -r " in line]
    assert installs and all("-c requirements.lock" in line for line in installs)
    assert "requirements.txt" not in stages["web"] and "-r requirements.txt" in stages["worker"]
    assert len(re.findall(r"^torch==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)) == 1
    assert all(
        name in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() for name in (".git", ".venv", "data")
    )


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_that_exists_under_an_account_of_its_own(path):
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text(encoding="utf-8"))
    service = unit["Service"]
    for key in ("ExecStart", "ExecStartPre"):
        if key in service:
            require_command(service[key].replace("%i", "8000").split())
    assert service["User"] == "assay" and service["Restart"] == "always" and service["ProtectSystem"] == "strict"
    assert {name.partition("=")[0] for name in service["Environment"].split()} <= names().keys() | INTERNAL
    assert int(service["TimeoutStopSec"]) >= 15


def test_each_process_of_the_procfile_has_a_unit_and_a_service(compose):
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    processes = {line.partition(":")[0] for line in lines if line.strip()}
    assert processes <= compose["services"].keys()
    assert processes == {path.stem.removeprefix("assay-").rstrip("@") for path in UNITS}


def test_caddy_hides_what_is_for_those_who_watch():
    text = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    [hidden] = re.findall(r"@watching path (.*)", text)
    assert {"/metrics", "/livez", "/readyz", "/healthz"} <= set(hidden.split())
    assert "respond @watching 404" in text and text.count("{") == text.count("}")
    assert set(re.findall(r"\{\$(\w+)\}", text)) <= OF_COMPOSE
