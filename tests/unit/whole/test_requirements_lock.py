"""requirements.lock names one release of each package: what requirements.txt allows, for every Python and any torch."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "requirements.lock"


def lines(path: Path) -> list[str]:
    """Return the lines of a file of requirements, without comments."""
    texts = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in texts if line]


def pinned() -> dict[str, list[Requirement]]:
    requirements: dict[str, list[Requirement]] = {}
    for line in lines(LOCK):
        requirement = Requirement(line)
        requirements.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return requirements


def test_it_allows_what_requirements_txt_allows():
    locked = pinned()
    for line in lines(ROOT / "requirements.txt"):
        wanted = Requirement(line)
        releases = locked.get(canonicalize_name(wanted.name), [])
        assert releases, f"{wanted.name} is missing from requirements.lock: run script/lock"
        for release in releases:
            [version] = [spec.version for spec in release.specifier]
            assert wanted.specifier.contains(version), f"{release} is not {wanted}: run script/lock"


def test_each_line_is_one_release_and_nothing_of_a_machine():
    text = LOCK.read_text(encoding="utf-8")
    assert not re.search(r"https?://|--|@ |\+cpu|\+cu\d|sha256", text), "an index, a path, a hash or a local build"
    for line in lines(LOCK):
        specs = list(Requirement(line).specifier)
        assert [spec.operator for spec in specs] == ["=="] and "*" not in specs[0].version, line


def test_the_scripts_install_from_it_and_nothing_unpinned():
    """requirements.txt has ranges: what it installs today is not what was tested."""
    scripts = [path for path in (ROOT / "script").iterdir() if path.is_file()]
    commands = [
        line for path in scripts for line in path.read_text(encoding="utf-8").splitlines() if "-m pip install" in line
    ]
    assert sum("-r requirements.lock" in line for line in commands) == 1
    for line in commands:
        assert "-r requirements.lock" in line or ("--no-deps" in line and re.search(r" [\w-]+==[\d.]+ ", line)), line


def test_requirements_txt_keeps_ranges():
    for line in lines(ROOT / "requirements.txt"):
        assert {spec.operator for spec in Requirement(line).specifier} != {"=="}, line


def test_which_build_of_torch_is_left_open():
    assert not [name for name in pinned() if name.startswith(("nvidia-", "cuda-")) or name == "triton"]
    assert [str(release) for release in pinned()["torch"]] == [f"torch=={metadata.version('torch').partition('+')[0]}"]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_each_python_gets_one_release_of_each_package(python: str, system: str):
    machine = {"linux": "x86_64", "darwin": "arm64"}[system]
    environment = {
        "python_version": python, "python_full_version": f"{python}.9", "sys_platform": system,
        "platform_machine": machine, "implementation_name": "cpython", "platform_python_implementation": "CPython",
        "os_name": "posix", "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
    }  # fmt: skip

    def fits(requirement: Requirement) -> bool:
        return requirement.marker is None or requirement.marker.evaluate(environment)

    wanted = {canonicalize_name(r.name) for r in map(Requirement, lines(ROOT / "requirements.txt")) if fits(r)}
    for name, releases in pinned().items():
        fitting = [release for release in releases if fits(release)]
        assert len(fitting) <= 1, f"{name} has {len(fitting)} releases for Python {python}"
        assert fitting or name not in wanted, f"{name} is wanted and has no release for Python {python}"


def test_what_is_installed_here_is_what_is_pinned():
    """The scripts install from it, so that a difference means a forgotten script/lock, or a package put in by hand."""
    for name, releases in pinned().items():
        fitting = [r for r in releases if r.marker is None or r.marker.evaluate()]
        if fitting:
            [version] = [spec.version for spec in fitting[0].specifier]
            assert metadata.version(name).partition("+")[0] == version, name
