"""The commands of the guides for those who come from other tools, run as they stand there, on files of those tools."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from annotate.models import Comparison, Completion, Prompt, Scale
from tests.support import factories
from tests.support.annotate.openai_server import openai_server

ROOT = Path(__file__).parents[4]
BROUGHT = ROOT / "tests" / "support" / "annotate" / "brought"
GUIDES = {
    "from-label-studio": {"interface.xml": "label_studio.xml", "tasks.json": "label_studio_tasks.json"},
    "from-argilla": {"settings.json": "argilla_settings.json", "records.json": "argilla_flat.json"},
    "from-fastchat": {"2024-01-01-conv.json": "fastchat_log.json"},
}


def commands(guide: str) -> list[list[str]]:
    """Every line of its shell blocks, without what follows a #."""
    text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def arena_server(settings) -> Iterator[str]:
    settings.PRIVATE_ENDPOINTS = ("127.0.0.1",)
    with openai_server() as server:
        yield server.url


def prepare_fastchat(folder: Path, url: str) -> None:
    """A folder of MT-bench, battles of LMArena, and the files of two arenas, whose models a server of the test is."""
    shutil.copytree(BROUGHT / "mt_bench", folder / "data" / "mt_bench")
    sides = {f"conversation_{side}": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": text}]
             for side, text in (("a", "So."), ("b", "Thus."))}  # fmt: skip
    battle = {"question_id": "q1", "model_a": "alpha", "model_b": "beta", "winner": "model_a", "judge": "arena_user_1",
              "turn": 1, "anony": True, "language": "English", "tstamp": 1682351591.1, **sides}  # fmt: skip
    (folder / "battles.jsonl").write_text(json.dumps(battle) + "\n")
    models = [{"name": name, "endpoint": url, "served_name": name} for name in ("alpha", "beta")]
    (folder / "models.yaml").write_text(json.dumps({"models": models}))
    entry = {"model_name": "gamma", "api_base": url, "api_type": "openai", "api_key": "[Insert API Key]"}
    (folder / "endpoints.json").write_text(json.dumps({"gamma": entry}))


@pytest.mark.django_db
@pytest.mark.parametrize("guide", GUIDES)
def test_a_guides_commands_do_what_it_says(guide, tmp_path, monkeypatch, capsys, arena_server):
    for name, source in GUIDES[guide].items():
        shutil.copy(BROUGHT / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    project = factories.make_project(slug="everyday", eval_percent=0)
    factories.make_user(is_superuser=True, is_staff=True)
    if guide == "from-fastchat":
        prepare_fastchat(tmp_path, arena_server)
    ran = commands(guide)
    assert len(ran) >= 5 and all(words[0] == "manage.py" for words in ran)
    for words in ran:
        call_command(*words[1:])
    if guide == "from-fastchat":
        assert project.contestants.filter(left_at=None).count() == 3
    else:
        assert Scale.objects.count() >= 5
    assert Prompt.objects.count() >= 3 and Completion.objects.exists()
    assert Comparison.objects.exists()
    assert any(file.name.startswith("back.") and file.stat().st_size > 100 for file in tmp_path.iterdir())
    assert not re.search(r"[1-9]\d* bad", capsys.readouterr().out)
