"""What overlap is measured on: good answers by somebody else, the same for every model of one lineage."""

from __future__ import annotations

import pytest

from annotate.models import Demonstration
from evaluation.measures.eval_rows import family_of, rows
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_prompt,
    make_user,
)
from tests.support.training.runs import make_dataset
from training import configs
from training.core.run_directory import RecipeFailure
from training.models import Run


def make_run(project, parent, **fields) -> Run:
    config = configs.parse("evaluate", {"measure": "overlap", **fields.pop("config", {})}).__dict__
    return Run.objects.create(project=project, kind="evaluate", name="o", config=config, **{"parent": parent, **fields})


@pytest.fixture
def stranger(project):
    return make_contestant(project, make_model(name="kestrel")).model


@pytest.fixture
def answered(project, base, child, stranger):
    """Three eval prompts: the stranger's answer beats the child's, and the child's beats the base's."""
    prompts = []
    for n in range(3):
        prompt = make_prompt(project, f"Eval question {n}?", side="eval")
        mine, own, other = (
            make_completion(prompt, f"{model.name} says {n}", model=model) for model in (base, child, stranger)
        )
        make_comparison(other, own, "model_a")
        make_comparison(own, mine, "model_a")
        prompts.append(prompt)
    return prompts


def write(prompt, text, **fields):
    return Demonstration.objects.create(
        project=prompt.project, prompt=prompt, text=text, author=make_user(prompt.project), judge="person", **fields
    )


def references(run):
    return {row["prompt"][-1]["content"]: row["references"] for row in rows(run)["references"]}


def test_no_answer_of_the_models_family_is_a_reference(project, base, child, answered):
    for model in (base, child):
        found = references(make_run(project, model))
        assert found == {f"Eval question {n}?": [f"kestrel says {n}"] for n in range(3)}


def test_the_items_are_the_same_for_every_model_of_a_lineage(project, base, child, answered):
    assert rows(make_run(project, base)) == rows(make_run(project, child))


def test_a_stranger_is_set_against_the_others(project, stranger, answered):
    assert references(make_run(project, stranger))["Eval question 0?"] == ["tide-sft says 0"]


def test_what_people_wrote_comes_first_and_beside_what_they_liked(project, base, answered):
    write(answered[0], "Written by hand.")
    assert references(make_run(project, base))["Eval question 0?"] == ["Written by hand.", "kestrel says 0"]


def test_an_answer_made_from_one_of_the_familys_is_the_familys(project, base, child, stranger, answered):
    own, other = (answered[0].completions.get(model=model) for model in (child, stranger))
    write(answered[0], "A little better.", edited_from=own)
    write(answered[0], "Better still.", edited_from=other)
    assert references(make_run(project, base))["Eval question 0?"] == ["Better still.", "kestrel says 0"]


def test_demonstrations_of_the_train_split_are_no_references(project, base, answered):
    write(make_prompt(project, "A train question?", side="train"), "It trains.")
    assert "A train question?" not in references(make_run(project, base))


def test_a_lineage_alone_has_nothing_to_be_set_against(project, base, child):
    for prompt in [make_prompt(project, side="eval") for _ in range(3)]:
        make_comparison(*(make_completion(prompt, f"{m.name}", model=m) for m in (base, child)), "model_a")
    with pytest.raises(RecipeFailure, match="with a good answer that is not from tide-sft or its family") as failure:
        rows(make_run(project, child))
    assert "upload a task of references" in failure.value.remedy


def test_how_far_a_model_moved_from_its_first_ancestor(project, base, child, answered):
    found = references(make_run(project, child, config={"texts": "first"}))
    assert found["Eval question 1?"] == ["tide-base says 1"]


def test_the_first_ancestor_is_not_set_against_itself(project, base, answered):
    with pytest.raises(RecipeFailure, match="its own answers"):
        rows(make_run(project, base, config={"texts": "first"}))


def test_a_limit_takes_the_same_prompts_for_every_model(project, base, child, answered):
    first, second = (rows(make_run(project, m, config={"limit": 2}))["references"] for m in (base, child))
    assert first == second and len(first) == 2


def test_nothing_is_laid_where_a_dataset_is_given(project, base, answered):
    dataset = make_dataset(project, kind="task", side="eval")
    assert rows(make_run(project, base, other_dataset=dataset)) == {}


def test_a_suite_needs_nothing_of_the_project(project, base):
    assert rows(make_run(project, base, config={"measure": "choices"})) == {}


def test_a_family_is_all_that_comes_from_the_first_ancestor(base, child, stranger):
    grandchild = make_model(parent=child)
    sister = make_model(parent=base)
    assert family_of(child) == {base.pk, child.pk, grandchild.pk, sister.pk}
    assert family_of(stranger) == {stranger.pk}
