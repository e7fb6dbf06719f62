"""What the guides to the first model and to TRL's users say, typed into a shell from top to bottom."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factories import PASSWORD
from tests.support.processes import ROOT
from tests.support.sites.site import Site, empty_site
from tests.support.tiny_model import make_elsewhere

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
GUIDES = ROOT / "docs" / "guides"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation whose owner has weights, prompts and pairs, and no project."""
    site = empty_site(tmp_path_factory.mktemp("guides") / "data")
    make_elsewhere(site.data / "models" / "mine")
    here = site.data.parent
    prompts = [{"prompt": f"What is told of the sea, {n}?"} for n in range(30)]
    pairs = [row | {"chosen": f"Much, {n}.", "rejected": f"Nothing, {n}."} for n, row in enumerate(prompts)]
    for name, rows in (("prompts", prompts), ("pairs", pairs)):
        (here / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    site.create_superuser("mina")
    try:
        site.start()
        yield site
    finally:
        site.stop()


def carried_out(site: Site, command: list[str]) -> str:
    """Run it beside the reader's files; what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # no shim before each `python3`
    environment = {**site.environment, "PATH": path}
    with site.way_of_starting():
        done = subprocess.run(
            command, cwd=site.data.parent, env=environment, capture_output=True, text=True, timeout=800
        )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def blocks(guide: str, language: str) -> list[str]:
    text = (GUIDES / guide).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# One after the other in one process: each loads nothing anew.
TYPED = """
import contextlib, io, json, runpy, sys
from pathlib import Path
program, *lines = map(json.loads, sys.argv[1:])
sys.path.insert(0, str(Path(program).parent))
outputs = []
for words in lines:
    sys.argv = [program, *words]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(program, run_name="__main__")
    outputs.append(printed.getvalue())
print(json.dumps(outputs))
"""


def type_in(site: Site, lines: list[str]) -> list[str]:
    """Type each `python manage.py …` of a guide; return what they print."""
    typed = [[word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)] for line in lines]
    assert all(words[:2] == ["python", "manage.py"] for words in typed)
    words = [json.dumps(line) for line in (str(ROOT / "manage.py"), *(words[2:] for words in typed))]
    return json.loads(carried_out(site, [sys.executable, "-c", TYPED, *words]).splitlines()[-1])


def children(site: Site, project: str) -> list[str]:
    rows = site.query(
        "select m.name from annotate_contestant c join annotate_languagemodel m on m.id = c.model_id "
        "join annotate_project p on p.id = c.project_id where p.slug = ? and c.left_at is null order by m.id",
        project,
    )
    return [name for (name,) in rows]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide says that it needs curl")
def test_the_five_calls(site):
    script = "\n".join(blocks("first-model.md", "sh")).replace("http://127.0.0.1:8000", site.url)
    script = script.replace("PASSWORD='…'", f"PASSWORD='{PASSWORD}'")
    said = carried_out(site, ["bash", "-e", "-o", "pipefail", "-c", script])
    base, *rest = children(site, "everyday")
    assert rest == [f"{base}-kto"], said[-2000:]


def test_the_five_commands(site):
    *lines, dry = [line for block in blocks("first-model.md", "commands") for line in block.splitlines()]
    annotate = "python manage.py import_feedback pairs.jsonl --project tales"  # for people who annotate
    said = type_in(site, [*lines, annotate, dry, dry.replace(" --dry-run", "")])
    assert "/invitations/" in said[3]
    proposal, trained = said[-2:]
    assert "DPO (proposed)" in proposal and "comparisons have a winner" in proposal
    assert "competes in Tales of the sea" in trained
    base, child = children(site, "tales")
    assert child == f"{base}-dpo"


def test_the_way_from_trl_and_back(site):
    type_in(site, [line for block in blocks("from-trl.md", "commands") for line in block.splitlines()])
    assert "mine-from-trl" in children(site, "from-trl")
    rows = [json.loads(line) for line in (site.data.parent / "preferences.jsonl").read_text().splitlines()]
    assert len(rows) > 10 and {"prompt", "chosen", "rejected"} <= rows[0].keys()
