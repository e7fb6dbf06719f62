"""Feedback from elsewhere through the API: by ids, as texts, and as a whole file of hh-rlhf."""

from __future__ import annotations

import gzip
import io
import json

import pytest

from annotate.models import Comparison, Completion, Demonstration, Import, Prompt, Rating, StatusChange
from tests.support.annotate.importing import work_off_imports
from tests.support.api_client import errors, program
from tests.support.factories import make_comparison, make_completion, make_pair, make_prompt

pytestmark = pytest.mark.django_db


@pytest.fixture
def researcher(project):
    return program(project, "researcher")


def nothing_stored() -> bool:
    return not (Rating.objects.exists() or Comparison.objects.exists() or Demonstration.objects.exists())


def turns(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_ratings_are_imported_as_the_importers(project, researcher):
    completion = make_completion(make_prompt(project))
    body = [{"project": project.slug, "completion": completion.pk, "stars": n, "source": "sheet"} for n in (2, 5)]
    made = researcher.post("ratings/", body)
    assert made.status_code == 201 and [row["stars"] for row in made.json()] == [2, 5]
    row = Rating.objects.first()
    assert (row.author, row.judge, row.source, row.prompt) == (researcher.user, "person", "sheet", completion.prompt)


def test_an_import_by_a_simulation_stays_a_simulations(project):
    robot = program(project, "researcher", is_simulated=True)
    completion = make_completion(make_prompt(project))
    robot.post("ratings/", {"project": project.slug, "completion": completion.pk, "stars": 2})
    assert Rating.objects.get().judge == "simulation"


def test_comparisons_are_imported_by_ids(project, researcher):
    a, b = make_pair(project)
    body = {"project": project.slug, "completion_a": a.pk, "completion_b": b.pk, "winner": "both_bad"}
    made = researcher.post("comparisons/", body)
    assert made.status_code == 201 and made.json()["winner"] == "both_bad"
    assert researcher.get(f"comparisons/{made.json()['id']}/").json() == made.json()


def test_comparisons_that_move_a_rank_are_added_by_managers_alone(project, researcher):
    a, b = make_pair(project, side="eval")
    body = {"project": project.slug, "completion_a": a.pk, "completion_b": b.pk, "winner": "model_a"}
    assert "Only managers" in errors(researcher.post("comparisons/", body), 403)["project"]
    assert not Comparison.objects.exists()
    assert program(project, "manager").post("comparisons/", body).status_code == 201


def test_a_pair_of_texts_brings_its_prompt_and_completions_and_is_not_added_twice(project, researcher):
    body = {"project": project.slug, "prompt": turns("Hi"), "chosen": "Hello!", "rejected": "What?", "source": "old"}
    first, again = researcher.post("comparisons/", body), researcher.post("comparisons/", body)
    assert first.status_code == 201 and first.json()["id"] == again.json()["id"]
    row = Comparison.objects.get()
    winner = row.completion_a if row.winner == "model_a" else row.completion_b
    assert winner.text == "Hello!" and Completion.objects.count() == 2


def test_demonstrations_are_imported(project, researcher):
    prompt = make_prompt(project)
    made = researcher.post("demonstrations/", {"project": project.slug, "prompt": prompt.pk, "text": "An answer."})
    assert made.status_code == 201 and Demonstration.objects.get().prompt == prompt


@pytest.mark.parametrize(
    ("table", "change", "field", "remedy"),
    [
        ("ratings", {"stars": 6}, "stars", "5"),
        ("ratings", {"stars": None}, "stars", "thumbs"),
        ("ratings", {"completion": 999999}, "completion", "add it first"),
        ("ratings", {"aspects": {"helpful": 9}}, "aspects", "5"),
        ("comparisons", {"winner": "A"}, "winner", "both_bad"),
        ("comparisons", {"winner": "model_a", "strength": 7}, "strength", "3"),
        ("comparisons", {"completion_b": None}, "completion_b", "null"),
        ("comparisons", {"chosen": "x"}, "prompt", "required"),
        ("demonstrations", {"text": ""}, "text", "empty"),
        ("demonstrations", {"prompt": 999999}, "prompt", "add it first"),
    ],
)
def test_a_wrong_row_of_a_list_is_named_by_its_place_and_nothing_is_added(
    project, researcher, table, change, field, remedy
):
    a, b = make_pair(project)
    good = {
        "ratings": {"completion": a.pk, "stars": 3},
        "comparisons": {"completion_a": a.pk, "completion_b": b.pk, "winner": "tie"},
        "demonstrations": {"prompt": a.prompt_id, "text": "An answer."},
    }[table] | {"project": project.slug}
    told = errors(researcher.post(f"{table}/", [good, {**good, **change}]))
    assert remedy in told[f"1.{field}"]
    alone = errors(researcher.post(f"{table}/", {**good, **change}))
    assert remedy in alone[field]
    assert nothing_stored()


def test_completions_of_different_prompts_are_not_compared(project, researcher):
    a, other = make_completion(make_prompt(project)), make_completion(make_prompt(project))
    body = {"project": project.slug, "completion_a": a.pk, "winner": "tie"}
    assert (
        "another prompt" in errors(researcher.post("comparisons/", {**body, "completion_b": other.pk}))["completion_b"]
    )
    assert "the same" in errors(researcher.post("comparisons/", {**body, "completion_b": a.pk}))["completion_b"]


def test_annotators_may_not_import(project):
    completion = make_completion(make_prompt(project))
    body = {"project": project.slug, "completion": completion.pk, "stars": 2}
    assert "researcher" in errors(program(project).post("ratings/", body), 403)["project"]
    assert nothing_stored()


def test_managers_change_what_counts_and_the_ledger_tells(project):
    row = make_comparison(*make_pair(project))
    body = {"status": "excluded", "reason": "clicked through"}
    told = errors(program(project, "reviewer").post(f"comparisons/{row.pk}/status/", body), 403)
    assert "managers" in told["authorization"]
    manager = program(project, "manager")
    changed = manager.post(f"comparisons/{row.pk}/status/", body).json()
    assert (changed["status"], changed["status_reason"]) == ("excluded", "clicked through")
    assert StatusChange.objects.get().by == manager.user
    for wrong in ("gone", "withdrawn"):  # nobody could take a withdrawal back
        told = errors(manager.post(f"comparisons/{row.pk}/status/", {**body, "status": wrong}))
        assert "use one of counted, held, excluded" in told["status"]


def test_feedback_is_filtered(project, researcher):
    kept = make_comparison(*make_pair(project))
    make_comparison(*make_pair(project), status="held")
    found = researcher.get("comparisons/", project=project.slug, status="counted", judge="person").json()["results"]
    assert [row["id"] for row in found] == [kept.pk]
    assert "status" in errors(researcher.get("comparisons/", status="lost"))
    assert "dataset" in errors(researcher.get("comparisons/", dataset="x"))


HH = [
    {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"},
    {
        "chosen": "\n\nHuman: A\n\nAssistant: B\n\nHuman: C\n\nAssistant: good",
        "rejected": "\n\nHuman: A\n\nAssistant: B\n\nHuman: C\n\nAssistant: bad",
    },
]


def upload(client, project, content: bytes, **more):
    file = io.BytesIO(content)
    file.name = "pairs.jsonl.gz"
    return client.http.post("/api/v1/comparisons/import/", {"project": project.slug, "file": file, **more})


def imported(client, project, content: bytes, **more) -> Import:
    made = upload(client, project, content, **more)
    assert made.status_code == 201 and (made.json()["format"], made.json()["state"]) == ("hh-rlhf", "queued")
    work_off_imports()
    return Import.objects.get(pk=made.json()["id"], state="done")


def lines(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("packed", [False, True])
def test_an_hh_rlhf_file_becomes_comparisons_with_their_prompts(project, researcher, packed):
    content = gzip.compress(lines(HH)) if packed else lines(HH)
    done = imported(researcher, project, content, source="hh")
    assert done.counts == {"prompts": 2, "completions": 4, "comparisons": 2, "bad": 0, "rows": 2}
    prompts = [p.messages for p in Prompt.objects.order_by("id")]
    assert prompts[0] == turns("Hi") and [t["content"] for t in prompts[1]] == ["A", "B", "C"]
    row = Comparison.objects.get(prompt__messages=turns("Hi"))
    assert (row.source, row.author, row.judge) == ("hh", researcher.user, "person")
    assert imported(researcher, project, content, source="hh").counts == {"already": 2, "bad": 0, "rows": 2}
    assert Comparison.objects.count() == 2 and Completion.objects.count() == 4


def test_odd_lines_are_skipped_and_told_by_number(project, researcher):
    odd = [
        {"chosen": "\n\nHuman: Hi\n\nAssistant: ", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"},
        {"chosen": "\n\nHuman: Hi", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"},
        {"chosen": "\n\nHuman: Ho\n\nAssistant: x", "rejected": "\n\nHuman: Hi\n\nAssistant: y"},
        {"chosen": HH[0]["chosen"], "rejected": HH[0]["chosen"]},
        {"chosen": "no speaker", "rejected": 3},
    ]
    content = lines([HH[0]]) + b"not json\n\n" + lines(odd) + b"\xff\n" + lines([HH[1]])
    done = imported(researcher, project, content)
    assert done.counts["comparisons"] == 3  # an empty answer is an answer: people preferred it, or did not
    odd_lines = dict(done.problems.order_by("line").values_list("line", "reason"))
    assert list(odd_lines) == [2, 5, 6, 7, 8, 9] and "equal texts" in odd_lines[7]


def test_a_file_without_a_single_pair_is_refused(project, researcher):
    for content in (b"", b"hello\n", gzip.compress(b"{}\n"), gzip.compress(lines(HH))[:-20]):
        assert "file" in errors(upload(researcher, project, content))
    assert nothing_stored() and not Prompt.objects.exists()


def test_the_winner_of_an_imported_pair_is_not_always_on_one_side(project, researcher):
    rows = [
        {"chosen": f"\n\nHuman: {n}\n\nAssistant: good", "rejected": f"\n\nHuman: {n}\n\nAssistant: bad"}
        for n in range(40)
    ]
    imported(researcher, project, lines(rows))
    assert set(Comparison.objects.values_list("winner", flat=True)) == {"model_a", "model_b"}
    for row in Comparison.objects.all():
        assert (row.completion_a if row.winner == "model_a" else row.completion_b).text == "good"


def test_an_upload_without_a_file_or_with_another_format_is_refused(project, researcher):
    assert "file" in errors(researcher.http.post("/api/v1/comparisons/import/", {"project": project.slug}))
    assert "hh-rlhf" in errors(upload(researcher, project, lines(HH), format="csv"))["format"]
    assert "researcher" in errors(upload(program(project), project, lines(HH)), 403)["project"]


@pytest.mark.parametrize("aspects", [{"x" * 41: 3}, {"a\x00": 3}, {"": 3}, {str(n): 3 for n in range(21)}])
def test_aspects_of_an_import_keep_to_the_rules_of_the_page(project, aspects):
    completion, _ = make_pair(project)
    body = {"project": project.slug, "completion": completion.pk, "aspects": aspects}
    assert "aspects" in errors(program(project, "researcher").post("ratings/", body))
    assert not Rating.objects.exists()


def test_an_import_does_not_pass_for_what_was_judged_here(project):
    completion, _ = make_pair(project)
    body = {"project": project.slug, "completion": completion.pk, "stars": 3, "source": "arena"}
    assert "source" in errors(program(project, "researcher").post("ratings/", body))
