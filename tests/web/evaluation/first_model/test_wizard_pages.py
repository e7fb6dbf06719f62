"""The five steps in a browser: what each shows, writes and refuses, and that they can be left and taken up again."""

from __future__ import annotations

import json

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.data.datasets.actions import freeze
from annotate.labelling import actions as labelling
from annotate.language_models import model_keys
from annotate.models import (
    Comparison,
    Dataset,
    Demonstration,
    Import,
    Invitation,
    LanguageModel,
    Membership,
    Project,
)
from common.harm_kinds import UNRATED_TALK
from evaluation.first_model import facts, step_context
from evaluation.models import FirstModel
from tests.support.annotate.importing import work_off_imports
from tests.support.annotate.keyed_api import keyed_api
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_project,
    make_prompt,
    make_rank_assignment,
    make_user,
    sign_in,
)
from tests.support.training.runs import make_weights
from training.models import Run

pytestmark = pytest.mark.django_db
ROWS = [{"prompt": f"Why is the sea salty, {n}?", "topic": "sea"} for n in range(40)]


@pytest.fixture
def staff(client):
    user = make_user(is_staff=True)
    client.force_login(user)
    return user


def page(project: Project, step: str = "") -> str:
    return (
        reverse("first-model-step", args=[project.slug, step]) if step else reverse("first-model", args=[project.slug])
    )


def prompt_file(rows=ROWS, name="prompts.jsonl") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, "".join(f"{json.dumps(row)}\n" for row in rows).encode())


def weights() -> str:
    folder = settings.DATA_DIR / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"0" * 1000)
    return "models/mine"


def begun(project: Project, **fields) -> LanguageModel:
    """A project whose model stands."""
    model = make_weights(parameters=135_000_000)
    make_contestant(project, model)
    FirstModel.objects.create(project=project, model=model, **fields)
    return model


def with_pairs(project: Project, model: LanguageModel, n: int = 20) -> None:
    for _ in range(n):
        prompt = make_prompt(project)
        make_comparison(make_completion(prompt, model=model), make_completion(prompt, model=model))


# The first step


def test_staff_of_an_empty_installation_are_led_from_the_front_page_to_a_project_by_its_name_alone(client, staff):
    assert reverse("first-model-start") in client.get("/").content.decode()
    source = weights()
    sent = {"project_name": "Everyday questions", "source": source}
    response = client.post(reverse("first-model-start"), sent)
    project = Project.objects.get()
    assert (project.slug, project.name) == ("everyday-questions", "Everyday questions")
    assert response.url == page(project, "model")
    run = Run.objects.get()
    assert (run.kind, run.name, run.config["source"], run.project) == ("import", "mine", source, project)
    assert FirstModel.objects.get().import_run == run
    shown = client.get(page(project, "model")).content.decode()
    assert "Next in the queue" in shown and 'http-equiv="refresh"' in shown


def test_a_wrong_place_leaves_the_project_and_says_what_is_wrong(client, staff):
    response = client.post(reverse("first-model-start"), {"project_name": "Mine", "source": "models/absent"})
    shown = response.content.decode()
    assert response.status_code == 400 and "There is no models/absent" in shown and 'value="models/absent"' in shown
    assert f'action="{page(Project.objects.get(), "model")}"' in shown
    assert not Run.objects.exists()


def test_two_projects_of_one_name_get_two_addresses(client, staff):
    for _ in range(2):
        client.post(reverse("first-model-start"), {"project_name": "Same", "source": "owner/model"})
    assert sorted(Project.objects.values_list("slug", flat=True)) == ["same", "same-2"]
    assert sorted(Run.objects.values_list("name", flat=True)) == ["model", "model-2"]


def test_whoever_is_not_staff_begins_in_a_project_of_theirs(client, project):
    sign_in(client, project, "researcher")
    assert client.get(reverse("first-model-start")).url == page(project)
    assert client.get(page(project)).url == page(project, "model")
    assert client.post(reverse("first-model-start"), {"project_name": "New"}).status_code == 403
    assert Project.objects.count() == 1


def test_a_stranger_is_told_whom_to_ask(client):
    client.force_login(make_user())
    assert "Ask the staff of this site" in client.get(reverse("first-model-start")).content.decode()


@pytest.mark.parametrize(
    "sent", [{"project_name": "a\x00b", "source": "x"}, {"project_name": "Tea", "source": "a\x00b"}]
)
def test_names_that_no_database_keeps_are_refused(client, staff, sent):  # Postgres alone looks for none
    answer = client.post(reverse("first-model-start"), sent)
    assert answer.status_code == 400 and not Run.objects.exists()


def test_a_look_says_what_an_import_would_do_and_writes_nothing(client, project):
    sign_in(client, project, "researcher")
    shown = client.post(page(project, "model"), {"source": weights(), "do": "look"}).content.decode()
    assert "models/mine holds 1002" in shown and "less than a minute" in shown
    assert not Run.objects.exists() and not FirstModel.objects.exists()


def test_a_key_that_was_typed_is_never_shown_again(client, project):
    sign_in(client, project, "researcher")
    sent = {"source": "https://127.0.0.1:1/v1", "key": "sk-secret-of-mine", "served_name": "gpt"}
    response = client.post(page(project, "model"), sent)
    shown = response.content.decode()
    assert response.status_code == 400 and "sk-secret" not in shown and "https://127.0.0.1:1/v1" in shown
    assert not LanguageModel.objects.exists()


def test_a_model_that_stands_here_is_taken_and_enters_the_arena(client, project):
    sign_in(client, project, "researcher")
    model = make_weights()
    assert client.post(page(project, "model"), {"model": model.pk}).url == page(project)
    assert FirstModel.objects.get().model == model
    assert project.contestants.get().model == model
    assert client.get(page(project)).url == page(project, "prompts")


def test_a_model_of_another_project_is_not_taken(client, project):
    sign_in(client, project, "researcher")
    theirs = make_model(is_shared=False, project=make_project())
    response = client.post(page(project, "model"), {"model": theirs.pk})
    assert response.status_code == 404 and not FirstModel.objects.exists()


def test_a_finished_import_is_the_model(client, project):
    sign_in(client, project, "researcher")
    model = make_weights()
    run = Run.objects.create(project=project, kind="import", name="mine", state="succeeded", output_model=model)
    FirstModel.objects.create(project=project, import_run=run)
    assert client.get(page(project)).url == page(project, "prompts")
    moved = client.get(page(project, "model"), headers={"HX-Request": "true"})
    assert moved["HX-Redirect"] == page(project, "prompts")


# Prompts


def test_a_file_is_shown_before_anything_of_it_is_taken(client, project):
    sign_in(client, project, "researcher")
    begun(project)
    assert client.post(page(project, "prompts"), {"file": prompt_file()}).url == page(project, "prompts")
    assert 'hx-trigger="every 2s"' in client.get(page(project, "prompts")).content.decode()
    work_off_imports()
    shown = client.get(page(project, "prompts")).content.decode()
    assert all(row["prompt"] in shown for row in ROWS[:3]) and ROWS[3]["prompt"] not in shown
    assert "the import does not use: topic" in shown
    assert not project.prompts.exists()
    client.post(page(project, "prompts"), {"do": "take"})
    work_off_imports()
    assert Import.objects.get().state == "done" and project.prompts.count() == len(ROWS)
    train, held = (project.prompts.filter(side=side).count() for side in ("train", "eval"))
    assert f"<dd>{train}</dd>" in shown and f"<dd>{held}</dd>" in shown  # as was foretold
    assert client.get(page(project)).url == page(project, "answers")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prompts.txt", "".join(f"Why is the sea salty, {n}?\n" for n in range(40))),
        ("prompts.csv", "question,category,lang\n" + "".join(f'"Why is it salty, {n}?",sea,EN\n' for n in range(40))),
    ],
)
def test_plain_text_and_tables_are_shown_as_they_would_be_taken(client, project, name, content):
    sign_in(client, project, "researcher")
    begun(project)
    client.post(page(project, "prompts"), {"file": SimpleUploadedFile(name, content.encode())})
    work_off_imports()
    shown = client.get(page(project, "prompts")).content.decode()
    assert "salty, 2?" in shown and "salty, 3?" not in shown and "the import does not use" not in shown
    assert ("<td>sea</td><td>en</td>" in shown) is name.endswith(".csv")
    client.post(page(project, "prompts"), {"do": "take"})
    work_off_imports()
    assert project.prompts.count() == 40


def test_an_empty_split_is_said_before_the_file_is_taken(client, project):
    project.eval_percent = 0
    project.save()
    sign_in(client, project, "researcher")
    begun(project)
    client.post(page(project, "prompts"), {"file": prompt_file()})
    work_off_imports()
    assert "is in the eval split" in client.get(page(project, "prompts")).content.decode()


@pytest.mark.parametrize("file", [b"", b"\x00\x01", b"colour\nred\n"])
def test_a_file_that_cannot_be_read_is_refused_with_a_reason(client, project, file):
    sign_in(client, project, "researcher")
    begun(project)
    response = client.post(page(project, "prompts"), {"file": SimpleUploadedFile("a.csv", file)})
    assert response.status_code == 400 and 'role="alert"' in response.content.decode()
    assert not Import.objects.exists()


def test_nothing_is_taken_without_a_file(client, project):
    sign_in(client, project, "researcher")
    begun(project)
    assert client.post(page(project, "prompts"), {}).status_code == 400
    assert client.post(page(project, "prompts"), {"do": "take"}).status_code == 409


# Answers


def test_the_answers_are_counted_and_timed_before_they_are_ordered(client, project):
    sign_in(client, project, "researcher")
    begun(project)
    prompts = [make_prompt(project) for _ in range(10)]
    make_prompt(project, side="eval")
    shown = client.get(page(project, "answers")).content.decode()
    assert "10 prompts make 20 answers" in shown
    sent = {"completions_per_prompt": "3", "max_new_tokens": "32"}
    shown = client.post(page(project, "answers"), {**sent, "do": "look"}).content.decode()
    assert "10 prompts make 30 answers" in shown and not Run.objects.exists()
    assert client.post(page(project, "answers"), sent).url == page(project, "answers")
    run = Run.objects.get()
    assert (run.kind, run.config["completions_per_prompt"], run.config["max_new_tokens"]) == ("sample", 3, 32)
    assert set(run.dataset.prompts.all()) == set(prompts)
    assert client.post(page(project, "answers"), sent).status_code == 409  # a second click


def test_the_price_is_said_to_be_of_the_answers_alone(client, project):
    sign_in(client, project, "researcher")
    prices = {"prompt_price": 3, "completion_price": 15}
    model = make_model(folder="", endpoint="https://example.org/v1", served_name="x", **prices)
    FirstModel.objects.create(project=project, model=model)
    make_prompt(project)
    sent = {"completions_per_prompt": "2", "max_new_tokens": "1000", "do": "look"}
    shown = client.post(page(project, "answers"), sent).content.decode()
    assert "At most 0.03 dollars for the tokens of the answers; those of the prompts come on top" in shown


@pytest.mark.parametrize("completions", ["0", "", "x", "999", "-1"])
def test_a_wrong_number_of_answers_is_named(client, project, completions):
    sign_in(client, project, "researcher")
    begun(project)
    make_prompt(project)
    sent = {"completions_per_prompt": completions, "max_new_tokens": "32"}
    response = client.post(page(project, "answers"), sent)
    assert response.status_code == 400 and "completions_per_prompt-error" in response.content.decode()
    assert not Run.objects.exists()


def test_a_run_that_failed_says_why_and_may_be_tried_again(client, project):
    sign_in(client, project, "researcher")
    model = begun(project)
    make_prompt(project)
    run = Run.objects.create(
        project=project, kind="sample", name="x", parent=model, state="failed", reason="It broke.", remedy="Mend it."
    )
    FirstModel.objects.update(sampling_run=run)
    shown = client.get(page(project, "answers")).content.decode()
    assert "It broke." in shown and "Mend it." in shown and "Sample answers" in shown


# Annotations and training


def test_what_can_be_trained_follows_from_what_was_annotated(client, project):
    sign_in(client, project, "manager")
    model = begun(project)
    make_completion(make_prompt(project), model=model)
    shown = client.get(page(project, "annotations")).content.decode()
    assert "There are too few annotations to train" in shown and reverse("annotate", args=[project.slug]) in shown
    with_pairs(project, model)
    shown = client.get(page(project, "annotations")).content.decode()
    assert "20 comparisons have a winner" in shown and page(project, "training") in shown


def test_a_manager_makes_a_link_that_is_shown_once(client, project):
    sign_in(client, project, "manager")
    begun(project)
    shown = client.post(page(project, "annotations")).content.decode()
    assert Invitation.objects.get().role == "annotator" and "/invitations/" in shown
    assert "/invitations/" not in client.get(page(project, "annotations")).content.decode()


def test_a_researcher_who_does_not_manage_invites_nobody(client, project):
    sign_in(client, project, "researcher")
    begun(project)
    assert "Create a link" not in client.get(page(project, "annotations")).content.decode()
    assert client.post(page(project, "annotations")).status_code == 403
    assert not Invitation.objects.exists()


def test_training_by_the_proposed_recipe_freezes_what_was_annotated(client, project):
    sign_in(client, project, "researcher")
    model = begun(project)
    with_pairs(project, model)
    shown = client.get(page(project, "training")).content.decode()
    assert 'value="dpo" checked' in shown and 'value="ppo" disabled' in shown
    assert client.post(page(project, "training"), {"kind": "dpo"}).url == page(project, "training")
    run = Run.objects.get()
    assert (run.kind, run.parent, run.name) == ("dpo", model, f"{model.name}-dpo")
    assert run.dataset.counts["comparisons"] == 20 and run.dataset.judge == "person"
    assert client.get(page(project)).url == page(project, "training")
    assert client.post(page(project, "training"), {"kind": "dpo"}).status_code == 409


def test_a_button_pressed_twice_orders_one_run(client, project):
    with_pairs(project, begun(project))
    sign_in(client, project, "researcher")
    for _ in range(2):
        client.post(page(project, "training"), {"kind": "dpo"})
        FirstModel.objects.update(training_run=None)  # as the second press finds it, when both come at once
    first = Run.objects.get(kind="dpo")
    Run.objects.update(state=Run.State.FAILED)
    client.post(page(project, "training"), {"kind": "dpo"})
    assert Run.objects.filter(kind="dpo").count() == 2 and Run.objects.latest("pk") != first


@pytest.mark.parametrize(("kind", "status"), [("ppo", 409), ("kto", 409), ("", 409), ("rm", 400)])
def test_what_cannot_be_trained_is_refused_with_the_reason(client, project, kind, status):
    sign_in(client, project, "researcher")
    begun(project)
    response = client.post(page(project, "training"), {"kind": kind})
    assert response.status_code == status and 'role="alert"' in response.content.decode()
    assert not Run.objects.exists() and not project.datasets.exists()


def test_a_model_without_weights_here_trains_nothing_and_says_so(client, project):
    sign_in(client, project, "researcher")
    model = make_model(folder="", endpoint="https://example.org/v1", served_name="x")
    FirstModel.objects.create(project=project, model=model)
    with_pairs(project, model)
    for step in ("annotations", "training"):  # said before anybody annotates, too
        assert "Training needs the weights of" in client.get(page(project, step)).content.decode()
    assert client.post(page(project, "training"), {"kind": "dpo"}).status_code == 409
    assert not project.datasets.exists()


def test_the_end_is_the_page_of_the_child(client, project):
    sign_in(client, project, "researcher")
    model = begun(project)
    child = make_weights(parent=model)
    run = Run.objects.create(project=project, kind="dpo", name="c", parent=model, state="succeeded", output_model=child)
    FirstModel.objects.update(training_run=run)
    there = reverse("model", args=[child.pk])
    assert client.get(page(project)).url == page(project, "training")
    assert client.get(page(project, "training"), headers={"HX-Request": "true"})["HX-Redirect"] == there
    assert there in client.get(page(project, "training")).content.decode()
    client.post(page(project, "training"), {"do": "again"})
    path = FirstModel.objects.get()
    assert path.model == child and path.training_run is None and path.sampling_run is None


# For everybody


def test_it_is_taken_up_on_another_device_where_it_was_left(client, project):
    sign_in(client, project, "researcher")
    begun(project)
    make_prompt(project)
    client.logout()
    sign_in(client, project, "researcher")
    assert client.get(page(project)).url == page(project, "answers")
    shown = client.get(reverse("project", args=[project.slug])).content.decode()
    assert "Continue with the next step" in shown and page(project) in shown


@pytest.mark.parametrize("step", ["model", "prompts", "answers", "annotations", "training"])
def test_every_step_opens_with_nothing_there(client, project, step):
    sign_in(client, project, "researcher")
    assert client.get(page(project, step)).status_code == 200


def test_there_is_no_sixth_step(client, project):
    sign_in(client, project, "researcher")
    assert client.get(page(project, "serving")).status_code == 404


@pytest.mark.parametrize("role", ["annotator", "reviewer"])
def test_it_is_for_researchers(client, project, role):
    sign_in(client, project, role)
    assert client.get(page(project)).status_code == 403
    assert page(project) not in client.get(reverse("project", args=[project.slug])).content.decode()


def test_a_file_that_was_looked_at_and_left_holds_up_nobody(client, project):
    sign_in(client, project, "researcher")
    begun(project)
    make_prompt(project)
    client.post(page(project, "prompts"), {"file": prompt_file()})
    work_off_imports()
    moved = client.get(page(project, "prompts"), headers={"HX-Request": "true"})
    assert moved["HX-Redirect"] == page(project, "prompts")  # it is to be seen
    assert client.get(page(project)).url == page(project, "answers")


def test_what_visitors_asked_in_the_arena_is_put_before_nobody(client, project):
    sign_in(client, project, "researcher")
    begun(project)
    mine = make_prompt(project)
    make_prompt(project, source="arena")
    assert "1 prompt makes 2 answers" in client.get(page(project, "answers")).content.decode()
    client.post(page(project, "answers"), {"completions_per_prompt": "2", "max_new_tokens": "32"})
    assert list(Run.objects.get().dataset.prompts.all()) == [mine]


def test_prompts_are_frozen_once_though_a_red_team_talk_is_not_rated(client, project):
    sign_in(client, project, "researcher")
    begun(project)
    mine = make_prompt(project)
    make_prompt(project, source="red-team", harm="other", out_since=timezone.now(), out_reason=UNRATED_TALK)
    assert "1 prompt makes 2 answers" in client.get(page(project, "answers")).content.decode()
    for _ in range(2):
        client.post(page(project, "answers"), {"completions_per_prompt": "2", "max_new_tokens": "32"})
        Run.objects.update(state=Run.State.FAILED, finished_at=timezone.now())
    dataset = Dataset.objects.get()
    assert Run.objects.filter(dataset=dataset).count() == 2 and list(dataset.prompts.all()) == [mine]


def test_a_ranking_is_one_annotation_and_an_edit_is_a_pair(project):
    person = make_user(project)
    prompt = make_prompt(project)
    answers = [make_completion(prompt) for _ in range(4)]
    item = make_rank_assignment(person, *answers)
    labelling.submit(assignment=item, by=person, rank=[[answer.pk] for answer in answers], seconds=9)
    Demonstration.objects.create(
        project=project, prompt=prompt, author=person, judge="person", text="Better.", edited_from=answers[0]
    )
    assert Comparison.objects.count() == 6
    said = facts.annotated(project, "person")
    frozen = freeze(project=project, kind="preferences", name="now", by=make_user(project, role="researcher"))
    assert said.informative == said.pairs == frozen.counts["telling"] == 2, "the ranking, and the edit"
    assert facts.annotation_count(project) == 2


def test_a_step_asks_whether_there_are_annotations_and_counts_none(client, project):
    sign_in(client, project, "researcher")
    with CaptureQueriesContext(connection) as asked:
        assert client.get(reverse("first-model-step", args=[project.slug, "prompts"])).status_code == 200
    of_annotations = [query["sql"] for query in asked if '"annotate_rating"' in query["sql"]]
    assert of_annotations and not [sql for sql in of_annotations if "COUNT(" in sql]


def test_a_wrong_first_try_leaves_no_second_project(client, staff):
    for source in ("models/absent", "", "models/absent"):
        response = client.post(reverse("first-model-start"), {"project_name": "Mine ", "source": source})
        assert response.status_code == 400
    project = Project.objects.get()
    client.post(reverse("first-model-start"), {"project_name": "Mine", "source": weights()})
    assert Run.objects.get().project == project == Project.objects.get()
    client.post(reverse("first-model-start"), {"project_name": "Mine", "source": "models/mine"})
    assert Project.objects.count() == 2, "the first has a model on its way"


def test_staff_are_told_where_models_lie_and_what_may_not_be_read_says_so(client, staff, project):
    Membership.objects.create(project=project, user=staff, role="researcher")
    folder = str(settings.MODELS_DIR)
    assert folder in client.get(reverse("first-model-start")).content.decode()
    wrong = client.post(page(project, "model"), {"source": "/home/mina/small"}).content.decode()
    assert "copy it there, and enter models/small" in wrong and folder in wrong
    sign_in(client, project, "researcher")
    assert folder not in client.get(page(project, "model")).content.decode()


def test_staff_without_a_model_are_told_how_to_get_the_small_one(client, staff, project, monkeypatch):
    Membership.objects.create(project=project, user=staff, role="researcher")
    monkeypatch.setattr(step_context, "_has_bundled", lambda: False)
    shown = client.get(reverse("first-model-start")).content.decode()
    assert "<code>script/install</code>" in shown and 'value="bundled"' not in shown
    sign_in(client, project, "researcher")
    assert "script/install" not in client.get(page(project, "model")).content.decode(), "who has no terminal there"


def test_simulated_annotations_that_do_not_count_beside_peoples_are_named(client, project):
    sign_in(client, project, "researcher")
    model = begun(project)
    robot = make_user(project, is_simulated=True)
    for _ in range(3):
        prompt = make_prompt(project)
        make_comparison(make_completion(prompt, model=model), make_completion(prompt, model=model), author=robot)
    assert "simulated" not in client.get(page(project, "annotations")).content.decode(), "they count"
    with_pairs(project, model, 1)
    for step in ("annotations", "training"):
        shown = client.get(page(project, step)).content.decode()
        assert "3 annotations by simulated annotators are not counted" in shown


def test_how_long_annotating_takes_is_said_until_there_is_enough(client, project):
    sign_in(client, project, "researcher")
    model = begun(project)
    shown = client.get(page(project, "annotations")).content.decode()
    assert "12 comparisons take one person" in shown and "ratings come between them" in shown
    with_pairs(project, model, 11)
    assert "1 more comparison takes one person" in client.get(page(project, "annotations")).content.decode()
    with_pairs(project, model, 1)
    assert "one person" not in client.get(page(project, "annotations")).content.decode()


def test_a_key_is_typed_once_though_the_name_was_wrong(client, staff, project, settings):
    settings.PRIVATE_ENDPOINTS = ("127.0.0.1",)
    Membership.objects.create(project=project, user=staff, role="researcher")
    with keyed_api() as api:
        sent = {"source": api.url, "key": api.key}
        wrong = client.post(page(project, "model"), sent)
        shown = wrong.content.decode()
        assert wrong.status_code == 400 and "Enter one of the names" in shown and "for this address is saved" in shown
        assert api.key not in shown
        assert client.post(page(project, "model"), {"source": api.url, "served_name": "small"}).status_code == 302
        assert model_keys.key_of(LanguageModel.objects.get()) == api.key
