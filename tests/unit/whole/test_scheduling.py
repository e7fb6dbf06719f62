"""Tests in several processes: what stays together, what goes first, and what each process has for itself."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.processes import ROOT
from tests.support.scheduling import SLOWEST, ByModule, scope_of, separate_process, slowest_first


def test_a_module_stays_together_and_so_does_what_looks_at_the_one_site():
    assert (
        scope_of("tests/web/annotate/arena/test_battles.py::test_a[x::y]") == "tests/web/annotate/arena/test_battles.py"
    )
    assert scope_of("tests/site/browser/test_arena.py::test_b") == scope_of(
        "tests/site/browser/test_judging.py::test_c"
    )


def test_what_starts_a_site_of_its_own_is_given_out_apart():
    whole = "tests/site/whole/test_benchmarks.py"
    apart = f"{whole}::test_a_benchmark_runs_to_its_end[cluster_faults]"
    assert scope_of(apart) == apart and scope_of(f"{whole}::test_a_benchmark_runs_to_its_end[load]") == whole


def test_what_takes_longest_goes_first_and_the_rest_keeps_its_order():
    slow = f"{SLOWEST[1]}::test_x"
    assert sorted(["tests/test_b.py::t", "tests/test_a.py::t", slow], key=slowest_first) == [
        slow,
        "tests/test_b.py::t",
        "tests/test_a.py::t",
    ]


def test_modules_of_many_tests_do_not_go_before_the_slowest():
    config = SimpleNamespace(option=SimpleNamespace(loadscopereorder=True), getvalue=lambda name: ["2*popen"])
    assert not ByModule(config).config.option.loadscopereorder  # type: ignore[arg-type]


@pytest.mark.parametrize("place", SLOWEST)
def test_the_slowest_are_still_there(place: str):
    module, _, test = place.partition("::")
    assert (ROOT / module).exists(), "renamed? then in tests/support/scheduling.py, too"
    _, _, case = test.partition("[")
    assert not test or f'"{case.removesuffix("]")}"' in (ROOT / module).read_text(encoding="utf-8")


def test_each_process_has_a_postgres_server_of_its_own(monkeypatch: pytest.MonkeyPatch):
    for name in ("ASSAY_DATA", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgres:///none")
    monkeypatch.setenv("DATABASE_URLS", "postgres:///first postgres:///second")
    separate_process("gw1")
    assert os.environ["DATABASE_URL"] == "postgres:///second"
    with pytest.raises(pytest.UsageError, match="gw2 has no Postgres server"):
        separate_process("gw2")


def test_two_processes_share_no_folder_and_no_redis_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    found = set()
    monkeypatch.delenv("DATABASE_URLS", raising=False)
    for worker in ("gw0", "gw1"):
        monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:7000/0")
        separate_process(worker)
        assert Path(os.environ["ASSAY_DATA"]).is_dir()
        found.add((os.environ["ASSAY_DATA"], os.environ["REDIS_URL"]))
    folders, redis = zip(*sorted(found), strict=True)
    assert folders == (str(tmp_path / "gw0"), str(tmp_path / "gw1"))
    assert redis == ("redis://127.0.0.1:7000/1", "redis://127.0.0.1:7000/2")
