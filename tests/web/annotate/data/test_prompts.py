"""How prompts and completions enter a project."""

from __future__ import annotations

import pytest

from annotate.core.errors import Refused
from annotate.data.prompts.actions import (
    NewCompletion,
    NewPrompt,
    add_completion,
    add_completions,
    add_prompt,
    add_prompts,
)
from annotate.models import Completion, Project, Prompt
from common import splits

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="everyday", name="Everyday questions")


def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


def test_a_prompt_gets_the_side_of_its_text(project):
    for number in range(40):
        messages = said(f"What is {number}?")
        assert add_prompt(project=project, messages=messages).side == splits.split_of(messages, project.eval_percent)
    assert set(Prompt.objects.values_list("side", flat=True)) == {"train", "eval"}


def test_the_same_text_is_the_same_prompt_whatever_its_case_and_spaces(project):
    first = add_prompt(project=project, messages=said("What is a tide?"), category="science")
    again = add_prompt(project=project, messages=said("  what is  a TIDE? "), category="other")
    assert again == first and again.category == "science"
    assert Prompt.objects.count() == 1


def test_the_same_text_in_another_project_is_another_prompt(project):
    other = Project.objects.create(slug="other", name="Other")
    assert add_prompt(project=project, messages=said("Hi")) != add_prompt(project=other, messages=said("Hi"))


def test_a_list_keeps_its_order_and_repeats_nothing(project):
    rows = [NewPrompt(said(text)) for text in ("one", "two", "One", "three")]
    prompts = add_prompts(project=project, rows=rows)
    assert [p.text for p in prompts] == ["one", "two", "one", "three"]
    assert Prompt.objects.count() == 3


def test_a_list_with_a_bad_row_is_refused_whole_and_names_the_row(project):
    rows = [NewPrompt(said("good")), NewPrompt(said("Hi", "Hello")), NewPrompt([])]
    with pytest.raises(Refused) as refused:
        add_prompts(project=project, rows=rows)
    assert set(refused.value.errors) == {"1.messages", "2.messages"}
    assert "user" in refused.value.errors["1.messages"]
    assert not Prompt.objects.exists()


@pytest.mark.parametrize(
    "messages",
    [
        "Hi",
        [],
        ["Hi"],
        [{"role": "robot", "content": "Hi"}],
        [{"role": "user"}],
        [{"role": "user", "content": 3}],
        said("  "),
        said("a\x00b"),
        said("Hi", "Hello"),
    ],
)
def test_what_is_not_a_conversation_is_refused_by_name(project, messages):
    with pytest.raises(Refused) as refused:
        add_prompt(project=project, messages=messages)
    assert refused.value.status == 400 and set(refused.value.errors) == {"messages"}


def test_a_prompt_that_is_too_long_is_refused_with_the_limit(project, settings):
    settings.MAX_PROMPT_CHARACTERS = 10
    with pytest.raises(Refused, match="10 characters") as refused:
        add_prompt(project=project, messages=said("seven..", "seven..", "seven.."))
    assert refused.value.status == 413


def test_a_completion_keeps_the_settings_it_was_sampled_with(project):
    prompt = add_prompt(project=project, messages=said("Hi"))
    completion = add_completion(
        prompt=prompt, model=None, text="Hello", sampling={"temperature": 0.7}, seed=5, tokens=2, finish_reason="stop"
    )
    completion.refresh_from_db()
    assert (completion.sampling, completion.seed, completion.tokens) == ({"temperature": 0.7}, 5, 2)


@pytest.mark.parametrize(
    ("text", "status"), [("", 400), (" \n", 400), (None, 400), ("\ud800", 400), ("x" * 10**6, 413)]
)
def test_an_empty_or_huge_completion_is_refused(project, text, status):
    prompt = add_prompt(project=project, messages=said("Hi"))
    with pytest.raises(Refused) as refused:
        add_completion(prompt=prompt, model=None, text=text)
    assert refused.value.status == status and set(refused.value.errors) == {"text"}


def test_completions_are_added_all_or_none(project):
    prompt = add_prompt(project=project, messages=said("Hi"))
    with pytest.raises(Refused) as refused:
        add_completions(rows=[NewCompletion(prompt, None, "Hello"), NewCompletion(prompt, None, "")])
    assert set(refused.value.errors) == {"1.text"}
    assert not Completion.objects.exists()
