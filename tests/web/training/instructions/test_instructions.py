"""Labelled data as instructions: templates, the sandbox, the mixture, the page and the API."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotate.core.errors import Refused
from annotate.data import frozen_rows
from annotate.data.rows.task_families import TASKS
from annotate.data.uploads.actions import upload
from annotate.models import Dataset
from common import splits
from tests.support.factories import make_project, make_prompt, make_user
from training.instructions.actions import OwnTemplate, instruct, preview
from training.instructions.mixing import MixCounts, Options, Source, mix, quotas
from training.instructions.sandbox import TemplateRefused
from training.instructions.templating import few_shots, fields_of, instructions_of, read_instruction

FAMILIES = ("sentiment", "nli", "question_answering", "summarisation", "translation", "commonsense")
LABELS = ["negative", "positive"]


def source(n: int, name: str = "films", task: str = "sentiment") -> Source:
    rows = [{"text": f"Film {i} was {LABELS[i % 2]}.", "label": LABELS[i % 2]} for i in range(n)]
    return Source(name, task, n, lambda: rows)


def drawn(*sources: Source, **options) -> tuple[list[dict], MixCounts]:
    told = MixCounts()
    return list(mix(list(sources), Options(**options), told)), told


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_six_templates_and_both_ways(family):
    instructions = instructions_of(family)
    assert len(instructions) >= 6 and {t.direction for t in instructions} == {"forward", "inverted"}
    task = TASKS[family]
    for template in instructions:
        prompt, completion = template.render(dict(task.example), ["entailment", "positive", "negative"])
        assert prompt and completion and template.about
        answer = str(task.example[task.answer])
        assert template.is_inverted or answer in completion, template.name


@pytest.mark.parametrize("family", FAMILIES)
def test_forward_templates_do_not_give_the_answer_away(family):
    task = TASKS[family]
    row = {name: f"<{name}>" for name in task.fields} | {"choices": ["<other>", "<answer>"]}
    for template in instructions_of(family):
        if not template.is_inverted:
            prompt, _ = template.render(row, ["<one>", "<two>"])
            listed = family == "commonsense" and "choices" in template.source
            assert f"<{task.answer}>" not in prompt or listed, template.name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ txt }}\n---\n{{ label }}", "txt is not a field of sentiment; the fields are text, label, labels"),
        ("{{ text }}", "a line with only ---"),
        ("{{ text }}\n---\n{{ label }}\n---\nx", "a line with only ---"),
        ("{{ text }}\n---\nyes", "completion has no field"),
        ("{{ text | shout }}\n---\n{{ label }}", "No filter named 'shout'"),
        ("{{ text\n---\n{{ label }}", "line 3"),
        ("{% include 'x' %}\n---\n{{ label }}", "do not allow include"),
        ("x" * 5000 + "\n---\n{{ label }}", "4,000 characters"),
    ],
)
def test_a_template_that_does_not_work_says_why(text, why):
    with pytest.raises(TemplateRefused, match=why):
        read_instruction(text, TASKS["sentiment"], "own")


@pytest.mark.parametrize(
    "text",
    [
        "{{ text.ljust(1000000000) }}",
        "{{ text * 1000000000 }}",
        "{{ '%1000000000d' % 3 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ text['__class__'] }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% for i in range(1000000000) %}{% endfor %}",
        "{% for a in labels %}{% for b in labels %}{% for c in labels %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in text %}{% for b in text %}{% endfor %}{% endfor %}",
        "{% for a in labels recursive %}{{ loop(labels) }}{% endfor %}",
        "{{ " + "(" * 1500 + "text" + ")" * 1500 + " }}",
    ],
)
def test_a_template_can_neither_reach_out_nor_run_long(text):
    with pytest.raises(TemplateRefused):
        read_instruction(f"{text}\n---\n{{{{ label }}}}", TASKS["sentiment"], "own")


def test_a_template_may_loop_over_labels_and_choose_by_fields():
    own = read_instruction(
        "{# inverted: mine #}\n{% for name in labels %}{{ loop.index }}. {{ name | upper }} {% endfor %}"
        "{% if text_b %}{{ text_b }}{% else %}alone{% endif %}\n---\n{{ text }}",
        TASKS["classification"],
        "classification/own-1",
    )
    assert own.is_inverted and own.about == "mine"
    assert own.render({"text": "a", "label": "b"}, ["b", "c"]) == ("1. B 2. C alone", "a")
    assert "text_b" in fields_of(TASKS["classification"])


def test_a_large_dataset_does_not_drown_a_small_one():
    assert quotas([100_000, 500, 3000], Options()) == [3000, 500, 3000]
    assert quotas([100_000, 500], Options(limit=350)) == [300, 50]
    assert sum(quotas([7, 7, 7], Options(limit=10))) == 10
    rows, told = drawn(source(400, "large"), source(20, "small"), cap=100)
    assert told.by_source == {"large": 100, "small": 20} and len(rows) == 120


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    first, again, other = (drawn(source(50), seed=seed)[0] for seed in (1, 1, 2))
    assert first == again and first != other


def test_shares_are_kept_and_each_row_says_what_made_it():
    rows, told = drawn(source(600), inverted_share=0.25, few_shot_share=0.5)
    names = {t.name: t for t in instructions_of("sentiment")}
    inverted = [row for row in rows if names[row["template"]].is_inverted]
    forward = [row for row in rows if row not in inverted]
    assert 0.18 < len(inverted) / len(rows) < 0.32
    assert 0.42 < sum(row["shots"] > 0 for row in forward) / len(forward) < 0.58
    assert all(row["shots"] == 0 for row in inverted)
    assert all((row["shots"] > 0) == ("frame" in row) for row in rows)
    assert sum(told.by_frame.values()) == 600 - told.by_shots[0]
    assert sum(told.by_template.values()) == told.examples == 600
    assert len(Counter(row["template"] for row in rows)) == len(names)


def test_no_share_means_none():
    rows, _ = drawn(source(100), inverted_share=0.0, few_shot_share=0.0, templates_per_row=10)
    names = {t.name: t for t in instructions_of("sentiment")}
    assert not any(names[row["template"]].is_inverted or row["shots"] for row in rows)


def test_several_templates_for_a_row_are_different_ones():
    rows, _ = drawn(source(10), templates_per_row=3, few_shot_share=0.0)
    assert len(rows) == 30 and all(len({row["template"] for row in rows[i : i + 3]}) == 3 for i in range(0, 30, 3))
    assert all(len({row["of"] for row in rows[i : i + 3]}) == 1 for i in range(0, 30, 3))
    assert len({row["of"] for row in rows}) == 10


def test_solved_examples_are_other_rows_with_their_own_answers():
    rows, _ = drawn(source(200), few_shot_share=1.0, inverted_share=0.0, most_shots=3)
    assert len(few_shots()) == 4 and {row["shots"] for row in rows} <= {1, 2, 3}
    for row in rows:
        text = row["prompt"][0]["content"]
        parts = [part for part in text.replace("\n", " ").split("Film ")[1:]]
        numbers = [part.split()[0] for part in parts]
        assert len(set(numbers)) == len(numbers) == row["shots"] + 1
        assert row["completion"] == LABELS[int(numbers[-1]) % 2]


# The action, the page, the API


@pytest.fixture
def project(db):
    return make_project(eval_percent=0)


def labelled(project, rows, name="films", **options) -> Dataset:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    by = make_user(project, role="researcher")
    done = upload(
        project=project, kind="labelled", name=name, file=io.BytesIO(content), file_name="a.jsonl", by=by, **options
    )
    assert done.dataset is not None
    return done.dataset


@pytest.fixture
def films(project):
    return labelled(project, source(60).rows(), task="sentiment")


def test_instructions_are_frozen_as_examples_that_name_their_template(project, films):
    by = make_user(project, role="researcher")
    made, is_new = instruct(project=project, datasets=[films], name="flan", by=by)
    rows = list(frozen_rows.read(made.path, "examples"))
    assert is_new and made.kind == "sft" and len(rows) == made.counts["examples"] == 60
    assert all({"prompt", "completion", "template"} <= row.keys() for row in rows)
    assert sum(made.counts["templates"].values()) == 60
    assert made.counts["made_from"][0]["hash"] == films.content_hash
    again, is_new = instruct(project=project, datasets=[films], name="flan again", by=by)
    assert again == made and not is_new


def test_what_asks_as_an_eval_prompt_asks_is_left_out(films):
    project = films.project
    project.eval_percent = 40
    project.save()
    made, _ = instruct(project=project, datasets=[films], name="flan", by=make_user(project, role="researcher"))
    rows = list(frozen_rows.read(made.path, "examples"))
    assert made.counts["left_out"]["whose prompt is in the eval split"] == 60 - len(rows) > 5
    assert all(splits.split_of(row["prompt"], 40) == splits.TRAIN for row in rows)


def test_an_eval_prompt_of_the_very_words_is_left_out(project, films):
    make_prompt(project, "Write a short review that is positive.", side="eval")
    seen = preview(project=project, datasets=[films], inverted_share=1.0)
    assert seen.counts.left_out["that contain a prompt of the eval split"] > 0
    assert all("review that is positive" not in row["prompt"][0]["content"] for row in seen.rows)


def test_a_template_of_ones_own_takes_part(project, films):
    own = OwnTemplate("sentiment", "Thumb up or down? {{ text }}\n---\n{{ label }}")
    by = make_user(project, role="researcher")
    made, _ = instruct(project=project, datasets=[films], name="flan", by=by, templates=[own], few_shot_share=0.0)
    assert made.counts["templates"]["sentiment/own-1"] > 0
    assert made.counts["own_templates"][0]["text"] == own.text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"datasets": []}, "datasets"),
        ({"inverted_share": 1.5}, "inverted_share"),
        ({"cap": 0}, "cap"),
        ({"limit": 2.5}, "limit"),
        ({"colour": 1}, "colour"),
        ({"templates": [OwnTemplate("nli", "x")]}, "template"),
        ({"templates": [OwnTemplate("sentiment", "{{ foo }}\n---\n{{ label }}")]}, "template"),
        ({"name": ""}, "name"),
    ],
)
def test_wrong_options_are_named(project, films, given, field):
    fields = {"datasets": [films], "name": "flan", "by": make_user(project, role="researcher")} | given
    with pytest.raises(Refused) as refused:
        instruct(project=project, **fields)
    assert list(refused.value.errors) == [field]


def test_a_name_that_is_taken_is_refused_and_leaves_no_folder(project, films):
    by = make_user(project, role="researcher")
    folders = {path.name for path in films.path.parent.iterdir()}
    with pytest.raises(Refused, match="already has a dataset 'films'"):
        instruct(project=project, datasets=[films], name="films", by=by)
    with pytest.raises(Refused, match="already has a dataset 'films'"):
        labelled(project, source(30).rows(), task="sentiment")
    assert {path.name for path in films.path.parent.iterdir()} == folders


def test_the_page_shows_what_would_come_and_freezes_it(client, project, films):
    client.force_login(make_user(project, role="researcher"))
    address = f"/p/{project.slug}/data/instruct/"
    assert "films" in client.get(address).content.decode()
    fields = {"datasets": films.pk, "cap": 3000, "templates_per_row": 1, "most_shots": 5, "seed": 0}
    fields |= {"inverted_share": 0.2, "few_shot_share": 0.3, "limit": ""}
    looked = client.post(address, fields | {"do": "look"}).content.decode()
    assert "About 60 examples" in looked and "sentiment/plain" in looked
    own = {"own_task": "sentiment", "own_template": "{{ foo }}\n---\n{{ label }}"}
    bad = client.post(address, fields | own | {"do": "look"})
    assert bad.status_code == 400 and "foo is not a field of sentiment" in bad.content.decode()
    file = SimpleUploadedFile("mine.jinja", b"Thumb up or down? {{ text }}\n---\n{{ label }}")
    own = {"own_task": "sentiment", "own_file": file}
    assert "sentiment/own-1" in client.post(address, fields | own | {"do": "look"}).content.decode()
    assert client.post(address, fields | {"cap": "many", "do": "look"}).status_code == 400
    frozen = client.post(address, fields | {"do": "freeze", "name": "flan"}, follow=True).content.decode()
    assert "is frozen" in frozen and "Made from" in frozen and "sentiment/" in frozen
    assert [entry.about for entry in project.audit.filter(action="dataset.frozen")] == ["flan (sft, train)"]


def test_an_empty_project_is_told_what_to_do(client, project):
    client.force_login(make_user(project, role="researcher"))
    assert "Upload labelled texts" in client.get(f"/p/{project.slug}/data/instruct/").content.decode()


def test_by_the_api(client, project, films):
    client.force_login(make_user(project, role="researcher"))
    body = {"project": project.slug, "datasets": [films.pk], "few_shot_share": 0.0}

    def send(path, **more):
        return client.post(f"/api/v1/instructions/{path}", body | more, content_type="application/json")

    looked = send("preview/")
    assert looked.status_code == 200 and looked.json()["total"] == 60 and looked.json()["rows"]
    assert send("", name="flan").status_code == 201
    assert send("", name="flan 2").status_code == 200
    assert "datasets" in send("", name="x", datasets=[films.pk + 1]).json()["errors"]
    ours = client.get("/api/v1/instructions/templates/").json()
    assert {row["task"] for row in ours} == set(TASKS)
