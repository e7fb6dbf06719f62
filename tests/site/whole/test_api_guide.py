"""The guide to the API, typed into a shell from top to bottom as a newcomer would."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.factories import (
    PASSWORD,
    make_comparison,
    make_completion,
    make_contestant,
    make_guideline,
    make_project,
    make_prompt,
    make_user,
)
from tests.support.training.runs import make_weights

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "api.md"
# Nine stars; a choice for a run that has not paused; items of a run that has not ended; models that nobody measured.
SHOWN_REFUSED = ("stars", "state", "run", "task")


@pytest.fixture
def demo(transactional_db):
    project = make_project(slug="demo", name="Demo")
    make_guideline(project, "Prefer the plain answer.")
    make_user(project, username="demo", role="manager")
    models = [make_weights(name=name) for name in ("tide-base", "tide-sft")]
    for model in models:
        make_contestant(project, model)
    for side in ("train", "eval"):
        for _ in range(4):
            prompt = make_prompt(project, side=side)
            answers = [make_completion(prompt, model=model) for model in models]
            make_comparison(*answers, author=make_user(project))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reader's own files."""
    ending = {"context": "The sea is", "choices": ["salty.", "a chair."], "answer": 0}
    (tmp_path / "endings.jsonl").write_text("".join(json.dumps(ending | {"id": str(n)}) + "\n" for n in range(3)))
    (tmp_path / "reviews.csv").write_text("text,label\n" + "Good work,positive\nBad work,negative\n" * 4)
    pair = {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."}
    (tmp_path / "pairs.jsonl.gz").write_bytes(gzip.compress((json.dumps(pair) + "\n").encode()))
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide says that it needs curl")
def test_every_command_of_the_guide_is_taken(demo, folder, live_server):
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
    script = script.replace("http://127.0.0.1:8000", live_server.url).replace("PASSWORD='…'", f"PASSWORD='{PASSWORD}'")
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    refused = re.findall(r'\{"errors": *\{"([\w.]+)"', done.stdout)
    assert refused == list(SHOWN_REFUSED), done.stdout
