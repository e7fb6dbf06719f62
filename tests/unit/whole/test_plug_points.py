"""Hooks between apps: one mechanism that is told in one place, and refuses what is registered twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.urls import get_resolver

from annotate.core import hooks
from annotate.core.hooks import BadRegistration, Hook
from training.core.kinds import Kind

ROOT = Path(__file__).resolve().parents[3]
APPS = ("common", "annotate", "training", "evaluation", "config")


def file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def in_the_document() -> dict[str, tuple[str, set[str]]]:
    """Return, by the hook's name, where ARCHITECTURE.md says that it is declared, and where registered."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.split("## Plug points\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {name: (where.strip("`"), set(re.findall(r"`([^`]+)`", by))) for name, _, where, by in rows[2:]}


def test_architecture_lists_every_hook_where_it_is_declared_and_registered():
    assert get_resolver().url_patterns  # addresses register, too
    found = {
        hook.name: (file_of(hook.declared_in), {file_of(m) for m in hook.registered_in.values() if m[:5] != "tests"})
        for hook in hooks.HOOKS.values()
        if not hook.declared_in.startswith("tests")
    }
    assert found == in_the_document()


def test_every_hook_of_the_code_has_a_docstring_and_is_known_when_django_has_started():
    declaring = {
        str(path.relative_to(ROOT))
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        if re.search(r"= Hook(\[.*\])?\(", path.read_text(encoding="utf-8"))
    }
    assert declaring == {file_of(hook.declared_in) for hook in hooks.HOOKS.values()}
    assert all(hook.__doc__ and hook.__doc__ != Hook.__doc__ for hook in hooks.HOOKS.values())


@pytest.fixture
def hook(monkeypatch) -> Hook:
    monkeypatch.setattr(hooks, "HOOKS", {})
    return Hook("greetings", "Called with a name.", key=lambda function: function.__name__)


def test_what_is_registered_is_called_in_the_order_of_registration(hook):
    @hook.register
    def morning(name: str) -> str:
        return f"Good morning, {name}."

    def evening(name: str) -> str:
        return f"Good evening, {name}."

    assert hook.first is morning and hook.register(evening) is evening
    assert [greet("Ada") for greet in hook.values()] == ["Good morning, Ada.", "Good evening, Ada."]
    assert hook["evening"] is evening and hook.registered_in == {"morning": __name__, "evening": __name__}
    assert (hook.name, hook.declared_in, hook.__doc__) == ("greetings", __name__, "Called with a name.")


def test_twice_is_refused_and_names_both_places(hook):
    hook.register(file_of)
    with pytest.raises(BadRegistration, match=f"'file_of' is registered twice .* in {__name__} and in {__name__}"):
        hook.register(file_of)
    assert len(hook) == 1


def test_a_hook_for_one_takes_no_second_and_nothing_is_none(hook):
    one = Hook("only one", "Called with nothing.", most=1)
    assert one.first is None
    one.register(file_of)
    with pytest.raises(BadRegistration, match="takes 1"):
        one.register(in_the_document)


def test_no_two_hooks_have_one_name(hook):
    with pytest.raises(BadRegistration, match="two hooks called 'greetings'"):
        Hook("greetings", "Called with nothing.")


def test_a_test_s_registrations_end_with_it(hook):
    hook.register(file_of)
    with hook.holding(in_the_document):
        assert list(hook) == ["in_the_document"]
    with pytest.raises(ZeroDivisionError), hook.holding(in_the_document, keeps_registered=True):
        assert list(hook) == ["file_of", "in_the_document"]
        raise ZeroDivisionError
    assert list(hook) == ["file_of"]


def test_a_kind_of_run_without_a_config_cannot_be_made():
    with pytest.raises(ValueError, match="'nothing' has no config"):
        Kind("nothing", "Nothing", "nowhere")
