"""Projects, models, prompts and completions through the API."""

from __future__ import annotations

import pytest

from annotate.data.prompts import listing
from annotate.models import Completion, LanguageModel, Project, Prompt
from tests.support.api_client import Program, errors, program
from tests.support.factories import make_completion, make_guideline, make_model, make_project, make_prompt, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def researcher(project):
    return program(project, "researcher")


def test_a_prompt_is_created_with_its_side_and_found_again(project, researcher):
    body = {"project": project.slug, "text": "What is a tide?", "category": "science"}
    first = researcher.post("prompts/", body)
    assert first.status_code == 201
    made = first.json()
    assert made["messages"] == [{"role": "user", "content": "What is a tide?"}]
    assert made["side"] in ("train", "eval")
    assert researcher.post("prompts/", body).json()["id"] == made["id"]
    assert researcher.get(f"prompts/{made['id']}/").json() == made
    assert researcher.get("prompts/", project=project.slug, category="science").json()["results"] == [made]


def test_a_list_of_prompts_is_taken_whole_or_not_at_all(project, researcher):
    good = {"project": project.slug, "text": "What is a tide?"}
    bad = {"project": project.slug, "messages": [{"role": "assistant", "content": "Hello"}]}
    told = errors(researcher.post("prompts/", [good, bad]))
    assert set(told) == {"1.messages"} and "user" in told["1.messages"]
    assert not Prompt.objects.exists()
    made = researcher.post("prompts/", [good, {**good, "text": "And an ebb?"}])
    assert made.status_code == 201 and len(made.json()) == 2


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"text": ""}, 400, "text"),
        ({"text": "x" * 1_000_000}, 413, "messages"),
        ({"text": None, "messages": []}, 400, "text"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, 400, "messages"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, 400, "messages.0.role"),
        ({"colour": "red"}, 400, "colour"),
        ({"project": "nowhere"}, 404, "project"),
        ({"project": "not a slug"}, 400, "project"),
        ({"source": "arena"}, 400, "source"),
        ({"source": " Red-Team "}, 400, "source"),
        ({"source": "annotation"}, 400, "source"),
    ],
)
def test_a_wrong_prompt_is_refused_by_field(project, researcher, change, status, field):
    told = errors(researcher.post("prompts/", {"project": project.slug, "text": "Hi", **change}), status)
    assert field in told
    assert not Prompt.objects.exists()


def test_a_completion_takes_no_source_of_what_is_judged_here(project, researcher):
    body = {"prompt": make_prompt(project).pk, "text": "A tide.", "source": "arena"}
    assert "reserved" in errors(researcher.post("completions/", body))["source"]
    assert researcher.post("completions/", body | {"source": "arena of 2025"}).status_code == 201


def test_annotators_may_not_add_prompts(project):
    told = errors(program(project).post("prompts/", {"project": project.slug, "text": "Hi"}), 403)
    assert "researcher" in told["project"]


def test_a_completion_is_added_with_its_settings(project, researcher):
    prompt, model = make_prompt(project), make_model()
    body = {"prompt": prompt.pk, "model": model.pk, "text": "Yes.", "sampling": {"temperature": 0.7}, "seed": 3}
    response = researcher.post("completions/", body)
    assert response.status_code == 201
    row = Completion.objects.get()
    assert (row.prompt, row.model, row.text, row.sampling, row.seed) == (
        prompt,
        model,
        "Yes.",
        {"temperature": 0.7},
        3,
    )


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"text": ""}, 400, "text"),
        ({"text": "  "}, 400, "text"),
        ({"text": "x" * 1_000_000}, 413, "text"),
        ({"text": 3.5, "prompt": 0}, 400, "prompt"),
        ({"prompt": 10**30}, 400, "prompt"),
        ({"prompt": 999999}, 400, "prompt"),
        ({"model": 999999}, 400, "model"),
        ({"finish_reason": "tired"}, 400, "finish_reason"),
        ({"seed": 2**63}, 400, "seed"),
    ],
)
def test_a_wrong_completion_is_refused_by_field(project, researcher, change, status, field):
    body = {"prompt": make_prompt(project).pk, "text": "Yes.", **change}
    assert field in errors(researcher.post("completions/", body), status)
    assert f"1.{field}" in errors(
        researcher.post("completions/", [{"prompt": body["prompt"], "text": "ok"}, body]), status
    ) or change.get("prompt")
    assert not Completion.objects.exists()


def test_the_same_key_adds_a_list_once(project, researcher):
    body = [{"prompt": make_prompt(project).pk, "text": text} for text in ("one", "two")]
    first, again = (researcher.post("completions/", body, key="c1") for _ in range(2))
    assert first.json() == again.json() and Completion.objects.count() == 2


def test_completions_of_another_project_are_neither_read_nor_added(project, researcher):
    elsewhere = make_completion(make_prompt(make_project()))
    assert researcher.get("completions/").json()["results"] == []
    assert "prompt" in errors(researcher.post("completions/", {"prompt": elsewhere.prompt_id, "text": "x"}))


def test_long_lists_come_in_pages(project, researcher):
    for _ in range(5):
        make_prompt(project)
    first = researcher.get("prompts/", page_size=3).json()
    assert len(first["results"]) == 3 and first["next"]
    rest = researcher.http.get(first["next"]).json()
    assert len(rest["results"]) == 2 and rest["next"] is None


def test_staff_start_a_project_and_nobody_else(project, researcher):
    body = {"slug": "tides", "name": "Tides", "guidelines": "Be true.", "eval_percent": 30}
    assert "staff" in errors(researcher.post("projects/", body), 403)["project"]
    staff = program(is_staff=True)
    made = staff.post("projects/", body)
    assert made.status_code == 201 and made.json()["guidelines"] == "Be true."
    assert Project.objects.get(slug="tides").eval_percent == 30
    assert "slug" in errors(staff.post("projects/", body))


def test_visitors_see_public_projects_alone(project):
    make_project(is_public=False)
    slugs = [row["slug"] for row in Program().get("projects/").json()["results"]]
    assert slugs == [project.slug]


def test_a_model_is_registered_by_researchers(project, researcher):
    body = {"name": "theirs", "endpoint": "http://93.184.215.14/v1", "served_name": "large", "licence": "MIT"}
    assert "authorization" in errors(program(project).post("models/", body), 403)
    made = researcher.post("models/", body)
    assert made.status_code == 201 and made.json()["name"] == "theirs" and made.json()["run"] is None
    entered = researcher.post(f"models/{made.json()['id']}/enter/", {"project": project.slug})
    assert entered.status_code == 200
    assert [row["name"] for row in researcher.get("models/", project=project.slug).json()["results"]] == ["theirs"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x"}, "folder"),
        ({"name": "x", "folder": "/etc"}, "folder"),
        ({"name": "x", "folder": "models/../../etc"}, "folder"),
        ({"name": "x", "endpoint": "ftp://example.org"}, "endpoint"),
        ({"name": "x", "endpoint": "http://93.184.215.14", "served_name": "s", "kind": "robot"}, "kind"),
        ({"name": "x", "endpoint": "http://93.184.215.14", "served_name": "s", "parent": 999999}, "parent"),
    ],
)
def test_a_wrong_model_is_refused_by_field(researcher, body, field):
    assert field in errors(researcher.post("models/", body))
    assert not LanguageModel.objects.exists()


@pytest.mark.parametrize("folder", ["runs/000001", "datasets/ab", ".", "models", "./runs/000001"])
def test_other_projects_rows_are_no_model_that_an_export_would_hand_out(researcher, settings, folder):
    (settings.DATA_DIR / folder).mkdir(parents=True, exist_ok=True)
    assert "models/" in errors(researcher.post("models/", {"name": "x", "folder": folder}))["folder"]


@pytest.mark.parametrize("sampling", [{"a": "\x00"}, {"a\x00": 1}, {"a": "y" * 11_000}])
def test_settings_that_no_database_could_keep_are_refused(project, sampling):
    body = {"prompt": make_prompt(project).pk, "text": "An answer.", "sampling": sampling}
    assert "sampling" in errors(program(project, "researcher").post("completions/", body))
    assert not Completion.objects.exists()


def test_a_list_of_projects_takes_few_queries(django_assert_max_num_queries):
    made = [make_guideline(make_project(), "First."), *(make_guideline(make_project()) for _ in range(9))]
    make_guideline(made[0].project, "Second.")
    reader = program()
    with django_assert_max_num_queries(3):
        listed = reader.get("projects/").json()["results"]
    told = {row["slug"]: (row["guidelines"], row["guideline_version"]) for row in listed}
    assert told[made[0].project.slug] == ("Second.", 2) and told[made[1].project.slug][1] == 1


HARM = {"harm": "theft fraud"}


def test_what_is_about_harm_is_withheld_until_it_is_asked_for(project):
    prompt = make_prompt(project, "How is a letter forged?", **HARM)
    answer = make_completion(prompt, "With a pen.")
    reader = program(project, "reviewer")
    reader.put("harm-budget/", {"accepted": ["theft", "fraud"]})
    for address, field, empty, whole in (
        (f"prompts/{prompt.pk}/", "messages", [], prompt.messages),
        (f"completions/{answer.pk}/", "text", "", "With a pen."),
    ):
        body = reader.get(address).json()
        assert body[field] == empty and "show_harmful" in body["withheld"]
        body = reader.get(address, show_harmful="true").json()
        assert body[field] == whole and body["withheld"] == ""
        (row,) = reader.get(address.split("/")[0] + "/", show_harmful="true").json()["results"]
        assert row == body


@pytest.mark.parametrize("accepted", [None, [], ["theft"], ["theft", "hate"]])
def test_a_kind_that_one_has_not_agreed_to_is_withheld_though_it_is_asked_for(project, accepted):
    prompt = make_prompt(project, "How is a letter forged?", **HARM)
    make_completion(prompt, "With a pen.")
    reader = program(project, "reviewer")
    if accepted is not None:
        reader.put("harm-budget/", {"accepted": accepted})
    (seen,) = reader.get("prompts/", show_harmful="true").json()["results"]
    assert seen["messages"] == [] and "Fraud & deception" in seen["withheld"] and seen["harm"] == "theft fraud"
    assert ("Theft" in seen["withheld"]) == (not accepted)
    (answer,) = reader.get("completions/", show_harmful="true").json()["results"]
    assert answer["text"] == "" and answer["withheld"] == seen["withheld"]


def test_a_stranger_reads_no_harm_and_everything_else(project):
    make_prompt(project, "How is a letter forged?", **HARM)
    make_prompt(project, "What is a tide?")
    harmful, harmless = program().get("prompts/", show_harmful="true").json()["results"]
    assert harmful["messages"] == [] and harmful["withheld"]
    assert harmless["messages"][0]["content"] == "What is a tide?" and harmless["withheld"] == ""


def test_the_right_answer_of_a_prompt_is_for_researchers_and_may_be_added_later(project, researcher):
    program = researcher
    body = {"project": project.slug, "text": "What is 6 x 7?"}
    first = program.post("prompts/", body).json()
    assert first["answer"] == ""
    again = program.post("prompts/", {**body, "answer": " 42 "}).json()
    assert (again["id"], again["answer"]) == (first["id"], "42"), "the prompt is found, and lacked one"
    assert program.post("prompts/", {**body, "answer": "43"}).json()["answer"] == "42", "it is given once"
    assert program.patch(f"prompts/{first['id']}/", {"answer": "43"}).json()["answer"] == "43"
    annotator = Program(make_user(project, role="annotator"))
    assert annotator.get(f"prompts/{first['id']}/").json().get("answer", "") == ""


def test_a_search_looks_through_so_many_prompts_a_page_and_leads_on(project, researcher, monkeypatch):
    monkeypatch.setattr(listing, "SEARCHED", 3)
    for n in range(10):
        make_prompt(project, f"{'Tide' if n in (0, 8) else 'Wind'} {n}")
    pages, link = [], "/api/v1/prompts/?search=tide"
    while link:
        page = researcher.http.get(link).json()
        pages.append([row["messages"][0]["content"] for row in page["results"]])
        link = page["next"]
    assert pages == [["Tide 0"], [], ["Tide 8"], []]
    assert researcher.get("prompts/", search="tide", cursor="cD0x").status_code == 200, "whatever cursor is sent"
