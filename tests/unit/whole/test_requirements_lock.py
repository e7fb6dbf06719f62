"""requirements.lock names one release of each package: what requirements*.txt allow, for every Python and any torch."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "requirements.lock"
WEB, ALL, DEV = "requirements-web.txt", "requirements.txt", "requirements-dev.txt"
STORAGE, SENTRY, TRACKERS = "requirements-storage.txt", "requirements-sentry.txt", "requirements-trackers.txt"


def lines(path: Path) -> list[str]:
    """Return the lines of a file of requirements, without comments and without the files that it includes."""
    texts = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in texts if line and not line.startswith("-r ")]


def included(name: str) -> list[str]:
    """Return the files that a file of requirements includes."""
    texts = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("-r ") for line in texts if line.startswith("-r ")]


def wanted() -> list[Requirement]:
    """Return what the files of requirements ask for."""
    return [Requirement(line) for name in (WEB, ALL, STORAGE, SENTRY, TRACKERS, DEV) for line in lines(ROOT / name)]


def installed_with(name: str) -> set[str]:
    """Return the names of all packages that the packages of a file bring, by what is installed here; markers apply."""
    pending = [(Requirement(line), "") for line in lines(ROOT / name)]
    done: set[tuple[str, str]] = set()
    while pending:
        requirement, extra = pending.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        package = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (package, extra) not in done:
                done.add((package, extra))
                pending += [(Requirement(text), extra) for text in metadata.requires(package) or []]
    return {package for package, _ in done}


def test_each_file_includes_the_smaller_one_and_asks_for_nothing_twice():
    assert (included(WEB), included(ALL), included(DEV)) == ([], [WEB], [ALL, STORAGE, SENTRY, TRACKERS])
    assert included(STORAGE) == included(SENTRY) == included(TRACKERS) == []
    names = [canonicalize_name(requirement.name) for requirement in wanted()]
    assert len(names) == len(set(names))


def test_a_web_host_gets_no_package_that_trains():
    heavy = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm-eval", "scipy", "tokenizers"}
    web = installed_with(WEB)
    assert {"django", "uvicorn", "numpy", "cryptography"} <= web, "what they bring is followed, extras too"
    assert not web & heavy


def test_a_line_says_what_each_package_is_for():
    for name in (WEB, ALL, STORAGE, SENTRY, TRACKERS):
        text = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert not [line for line in text if line[:1].isalpha() and " # " not in line]


def pinned() -> dict[str, list[Requirement]]:
    requirements: dict[str, list[Requirement]] = {}
    for line in lines(LOCK):
        requirement = Requirement(line)
        requirements.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return requirements


def test_it_allows_what_the_requirements_allow():
    locked = pinned()
    for requirement in wanted():
        releases = locked.get(canonicalize_name(requirement.name), [])
        assert releases, f"{requirement.name} is missing from requirements.lock: run script/lock"
        for release in releases:
            [version] = [spec.version for spec in release.specifier]
            assert requirement.specifier.contains(version), f"{release} is not {requirement}: run script/lock"


@pytest.mark.parametrize("lock", [LOCK, ROOT / "requirements-audit.lock"])
def test_each_line_is_one_release_and_nothing_of_a_machine(lock):
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"https?://|--|@ |\+cpu|\+cu\d|sha256", text), "an index, a path, a hash or a local build"
    for line in lines(lock):
        specs = list(Requirement(line).specifier)
        assert [spec.operator for spec in specs] == ["=="] and "*" not in specs[0].version, line


def test_the_scripts_install_from_it_and_nothing_unpinned():
    """The requirements have ranges: what they install today is not what was tested."""
    scripts = [path for path in (ROOT / "script").iterdir() if path.is_file()]
    commands = [
        line for path in scripts for line in path.read_text(encoding="utf-8").splitlines() if "-m pip install" in line
    ]
    assert sum("-c requirements.lock" in line for line in commands) == 1
    for line in commands:
        if "-r requirements-audit.lock" in line:  # its own environment, all of it pinned
            continue
        assert "-c requirements.lock" in line or ("--no-deps" in line and re.search(r" [\w-]+==[\d.]+ ", line)), line


def test_pip_takes_it_as_constraints():
    assert not [line for line in lines(LOCK) if Requirement(line).extras], "pip refuses extras in constraints"


def test_the_requirements_keep_ranges():
    for requirement in wanted():
        assert {spec.operator for spec in requirement.specifier} != {"=="}, requirement


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

    names = {canonicalize_name(requirement.name) for requirement in wanted() if fits(requirement)}
    for name, releases in pinned().items():
        fitting = [release for release in releases if fits(release)]
        assert len(fitting) <= 1, f"{name} has {len(fitting)} releases for Python {python}"
        assert fitting or name not in names, f"{name} is wanted and has no release for Python {python}"


def test_what_is_installed_here_is_what_is_pinned():
    """The scripts install from it, so that a difference means a forgotten script/lock, or a package put in by hand."""
    for name, releases in pinned().items():
        fitting = [r for r in releases if r.marker is None or r.marker.evaluate()]
        if fitting:
            [version] = [spec.version for spec in fitting[0].specifier]
            assert metadata.version(name).partition("+")[0] == version, name
