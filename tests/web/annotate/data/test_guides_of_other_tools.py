"""The commands of the guides for those who come from other tools, run as they stand there, on files of those tools."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from django.core.management import call_command

from annotate.models import Comparison, Completion, Prompt, Scale
from tests.support import factories

ROOT = Path(__file__).parents[4]
BROUGHT = ROOT / "tests" / "support" / "annotate" / "brought"
GUIDES = {
    "from-label-studio": {"interface.xml": "label_studio.xml", "tasks.json": "label_studio_tasks.json"},
    "from-argilla": {"settings.json": "argilla_settings.json", "records.json": "argilla_flat.json"},
}


def commands(guide: str) -> list[list[str]]:
    """Every line of its shell blocks, without what follows a #."""
    text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.django_db
@pytest.mark.parametrize("guide", GUIDES)
def test_a_guides_commands_do_what_it_says(guide, tmp_path, monkeypatch, capsys):
    for name, source in GUIDES[guide].items():
        shutil.copy(BROUGHT / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    factories.make_project(slug="everyday", eval_percent=0)
    factories.make_user(is_superuser=True, is_staff=True)
    ran = commands(guide)
    assert len(ran) >= 5 and all(words[0] == "manage.py" for words in ran)
    for words in ran:
        call_command(*words[1:])
    assert Scale.objects.count() >= 5 and Prompt.objects.count() >= 3 and Completion.objects.exists()
    assert Comparison.objects.exists()
    assert any(file.name.startswith("back.") and file.stat().st_size > 100 for file in tmp_path.iterdir())
    assert not re.search(r"[1-9]\d* bad", capsys.readouterr().out)
