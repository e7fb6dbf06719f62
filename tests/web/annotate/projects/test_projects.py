"""The front page, a project's page, its settings, guidelines and members."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from annotate.core.errors import Refused
from annotate.models import Dataset, Guideline, Membership, Project, User
from annotate.projects import actions as projects
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_contestant,
    make_guideline,
    make_model,
    make_pair,
    make_project,
    make_prompt,
    make_rating,
    make_token,
    make_user,
)
from training.models import Run

pytestmark = pytest.mark.django_db
FORM = {
    "slug": "everyday",
    "name": "Everyday questions",
    "description": "",
    "overlap": "2",
    "assignment_minutes": "30",
    "daily_goal": "60",
    "eval_percent": "25",
    "asks_ratings": "on",
    "guidelines": "Prefer the true one.",
}


def address(project, name: str = "project") -> str:
    return reverse(name, args=[project.slug])


def test_an_empty_installation_says_what_to_do_first(client):
    assert "createsuperuser" in client.get("/").content.decode()
    client.force_login(make_user(is_staff=True))
    assert reverse("new-project") in client.get("/").content.decode()


def test_the_front_page_shows_public_projects_with_their_doors(client):
    project, private = make_project(name="Open"), make_project(name="Closed", is_public=False)
    html = client.get("/").content.decode()
    assert address(project, "arena") in html and address(project, "leaderboard") in html
    assert address(project, "annotate") not in html  # a visitor cannot
    assert private.name not in html
    client.force_login(make_user(private))
    html = client.get("/").content.decode()
    assert address(private, "annotate") in html


def test_staff_start_a_project_and_manage_it(client):
    staff = make_user(is_staff=True)
    client.force_login(staff)
    assert client.post(reverse("new-project"), FORM).url == "/p/everyday/data/add/", "what is annotated comes next"
    project = Project.objects.get()
    assert (project.overlap, project.asks_ratings, project.asks_comparisons, project.is_public) == (
        2,
        True,
        False,
        False,
    )
    assert project.guideline.version == 1
    assert Membership.objects.get().role == "manager"
    assert "Prefer the true one." in client.get("/p/everyday/").content.decode()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "a b"}, "slug"),
        ({"slug": "", "name": "日本語"}, "slug"),  # no address can be made of this name
        ({"name": " "}, "name"),
        ({"overlap": "0"}, "overlap"),
        ({"overlap": "many"}, "overlap"),
        ({"eval_percent": "91"}, "eval_percent"),
        ({"assignment_minutes": "0"}, "assignment_minutes"),
        ({"asks_ratings": ""}, "asks_ratings"),
        ({"guidelines": "a\x00b"}, "text"),
    ],
)
def test_a_wrong_project_is_refused_and_the_form_keeps_the_rest(client, change, field):
    client.force_login(make_user(is_staff=True))
    response = client.post(reverse("new-project"), FORM | {"description": "Kept."} | change)
    assert response.status_code == 400
    assert field in response.context["errors"]
    assert "Kept." in response.content.decode()
    assert not Project.objects.exists()


def test_a_slug_stands_once():
    make_project(slug="taken")
    with pytest.raises(Refused) as refused:
        projects.create_project(slug="taken", name="Another", by=None)
    assert list(refused.value.errors) == ["slug"]


def test_only_staff_start_projects(client):
    client.force_login(make_user())
    assert client.get(reverse("new-project")).status_code == 403
    assert client.post(reverse("new-project"), FORM).status_code == 403
    assert not Project.objects.exists()


def test_where_the_operator_lets_them_others_start_a_few_projects_and_manage_them(client, settings):
    ada = make_user()
    client.force_login(ada)
    assert reverse("new-project") not in client.get("/").content.decode()
    settings.PROJECTS_PER_PERSON = 2
    assert reverse("new-project") in client.get("/").content.decode()
    for slug in ("one", "two"):
        assert client.post(reverse("new-project"), FORM | {"slug": slug}).status_code == 302
    assert set(ada.memberships.values_list("project__slug", "role")) == {("one", "manager"), ("two", "manager")}
    third = client.post(reverse("new-project"), FORM | {"slug": "three"})
    assert (
        third.status_code == 403 and "You have started 2 projects; the limit per person is 2" in third.content.decode()
    )
    ada.memberships.all().delete()
    assert client.post(reverse("new-project"), FORM | {"slug": "three"}).status_code == 403, "leaving gives none back"
    assert Project.objects.count() == 2
    client.logout()
    assert client.get(reverse("new-project")).status_code == 302, "visitors sign in"


def test_a_program_starts_a_project_for_its_person_only_with_a_token_of_full_scope(settings):
    settings.PROJECTS_PER_PERSON = 1
    ada = make_user()
    for scope, status in (("read", 403), ("judge", 403), ("research", 403), ("manage", 201), ("manage", 403)):
        http = APIClient()
        http.credentials(HTTP_AUTHORIZATION=f"Token {make_token(ada, scope)}")
        made = http.post("/api/v1/projects/", {"slug": f"p-{Project.objects.count()}", "name": "P"}, format="json")
        assert made.status_code == status, (scope, made.json())


NUMBERS = {"overlap": "0", "top_p": "7", "daily_goal": "many", "system_prompt": "x" * 5000}
FIRST = {"name": " "}


@pytest.mark.parametrize(("page", "wrong"), [("project-settings", NUMBERS), ("new-project", FIRST)])
def test_what_is_wrong_stands_at_its_field_and_not_under_an_internal_name(client, page, wrong):
    project = make_project()
    client.force_login(make_user(project, role="manager", is_staff=True))
    where = reverse(page, args=[project.slug] if page == "project-settings" else [])
    html = client.post(where, FORM | {"slug": "other"} | wrong).content.decode()
    for name in wrong:
        assert f'aria-describedby="{name}-error"' in html and f'id="{name}-error"' in html, name
        assert f"<strong>{name}</strong>" not in html
    assert "The message beside each field says what to correct" in html
    assert page != "new-project" or FORM["guidelines"] in html, "what was written is kept"


def test_an_unknown_setting_is_refused():
    with pytest.raises(Refused) as refused:
        projects.create_project(slug="x", name="X", by=None, colour="red")
    assert list(refused.value.errors) == ["colour"]


def test_the_project_page_counts_people_and_simulations_apart(client):
    project = make_project()
    first, second = make_pair(project)
    make_rating(first, make_user())
    make_rating(first, make_user(is_simulated=True))
    make_rating(second, make_user(is_simulated=True))
    make_rating(second, make_user(), status="withdrawn")
    make_completion(make_prompt(project, side="eval"))
    loop = {each.name: each for each in client.get(address(project)).context["loop"]}
    assert (loop["prompts"].count, loop["prompts"].line) == (2, "1 to train, 1 to evaluate")
    assert (loop["completions"].count, loop["completions"].line) == (3, "3 by models")
    assert (loop["annotations"].count, loop["annotations"].line) == (1, "1 today, 2 simulated")


def test_members_and_settings_are_shown_to_managers_alone(client):
    project = make_project()
    make_user(project, username="someone-here")
    client.force_login(make_user(project, role="researcher"))
    for page in ("people", "project-settings", "audit"):
        assert address(project, page) not in client.get(address(project)).content.decode()
        assert client.get(address(project, page)).status_code == 403
    client.force_login(make_user(project, role="manager"))
    for page in ("people", "project-settings", "audit"):
        assert address(project, page) in client.get(address(project)).content.decode()
        assert client.get(address(project, page)).status_code == 200
    assert "someone-here" in client.get(address(project, "people")).content.decode()


def test_a_manager_adds_changes_and_removes_members(client):
    project, person = make_project(), make_user()
    client.force_login(make_user(project, role="manager"))
    for role in ("annotator", "reviewer"):
        client.post(address(project, "members"), {"username": person.username, "role": role})
        assert project.memberships.get(user=person).role == role
    assignment = make_assignment(person, make_completion(make_prompt(project)))
    client.post(address(project, "members"), {"username": person.username, "role": "remove"})
    assert not project.memberships.filter(user=person).exists()
    assignment.refresh_from_db()
    assert assignment.state == "expired"


@pytest.mark.parametrize("sent", [{"username": "nobody", "role": "annotator"}, {"role": "king"}, {}])
def test_a_wrong_member_is_refused(client, sent):
    project, person = make_project(), make_user()
    client.force_login(make_user(project, role="manager"))
    response = client.post(address(project, "members"), {"username": person.username, "role": ""} | sent)
    assert response.status_code == 400
    assert project.memberships.count() == 1


def test_the_last_manager_stays(client):
    project = make_project()
    manager = make_user(project, role="manager")
    client.force_login(manager)
    for role in ("annotator", "remove"):
        response = client.post(address(project, "members"), {"username": manager.username, "role": role})
        assert response.status_code == 409
    assert project.memberships.get().role == "manager"


def test_of_many_members_a_page_shows_some_and_finds_all(client):
    project = make_project()
    client.force_login(make_user(project, role="manager", username="mina"))
    for n in range(105):
        make_user(project, username=f"reader-{n:03d}")
    html = client.get(address(project, "people")).content.decode()
    assert (
        html.count('aria-label="Languages of reader-') == 100 and "Page 1 of 2" in html and "mina" not in rows_of(html)
    )
    html = client.get(address(project, "people") + "?page=2").content.decode()
    assert html.count('aria-label="Languages of reader-') == 5 and "mina" in rows_of(html)
    html = client.get(address(project, "people"), {"q": "READER-10"}).content.decode()
    assert html.count('aria-label="Languages of reader-') == 5 and "All members" in html
    html = client.get(address(project, "people"), {"q": "no<body>"}).content.decode()
    assert (
        "No member&#x27;s name contains no&lt;body&gt;." in html or "No member's name contains no&lt;body&gt;." in html
    )


def rows_of(html: str) -> str:
    return html.partition("<tbody>")[2].partition("</tbody>")[0]


@pytest.mark.parametrize("name", ["members", "project-settings", "guidelines"])
def test_who_does_not_manage_changes_nothing(client, name):
    project = make_project()
    client.force_login(make_user(project, role="researcher"))
    response = client.post(address(project, name), {"username": "x", "role": "manager", "text": "Mine.", **FORM})
    assert response.status_code == 403
    project.refresh_from_db()
    assert project.overlap == 1 and not Guideline.objects.exists() and project.memberships.count() == 1


def test_a_manager_changes_the_settings(client):
    project = make_project()
    client.force_login(make_user(project, role="manager"))
    client.post(address(project, "project-settings"), FORM | {"daily_goal": "25", "is_public": "on"})
    project.refresh_from_db()
    assert (project.name, project.daily_goal, project.overlap, project.is_public) == ("Everyday questions", 25, 2, True)


def test_a_page_that_is_stale_changes_what_was_changed_on_it_alone(client):
    project = make_project(overlap=2)
    client.force_login(make_user(project, role="manager"))
    page = client.get(address(project, "project-settings"))
    sent = {name: value for name, value in page.context["values"].items() if value is not False}
    sent |= {"shown": page.context["shown"], "overlap": "3", "asks_answers": "on"}
    projects.change_settings(project=project, by=None, daily_goal=25, is_public=not project.is_public, name="Theirs")
    refused = client.post(address(project, "project-settings"), sent | {"temperature": "many"})
    assert refused.status_code == 400 and refused.context["shown"] == page.context["shown"]
    client.post(address(project, "project-settings"), sent)
    before, project = project, Project.objects.get(pk=project.pk)
    assert (project.overlap, project.asks_answers) == (3, True)
    assert (project.daily_goal, project.name, project.is_public) == (25, "Theirs", before.is_public)


@pytest.mark.parametrize(
    ("field", "typed"), [("temperature", "nan"), ("top_p", "nan"), ("description", "a\x00b"), ("name", "a\x00b")]
)
def test_a_setting_that_no_database_keeps_is_refused_at_its_field(client, field, typed):
    project = make_project()
    client.force_login(make_user(project, role="manager"))
    sent = {"name": "Tea", "asks_ratings": "on", "temperature": "0.7", "top_p": "0.9", field: typed}
    answer = client.post(address(project, "project-settings"), sent)
    assert answer.status_code == 400 and field in answer.context["errors"]


def test_two_who_change_different_settings_undo_nothing_of_each_other():
    project = make_project(proof_of_work=False)
    seen = Project.objects.get(pk=project.pk)
    projects.change_settings(project=project, by=None, proof_of_work=True)
    projects.change_settings(project=seen, by=None, daily_goal=7)
    project.refresh_from_db()
    assert project.proof_of_work and project.daily_goal == 7


def test_of_two_projects_with_one_address_the_second_is_refused(monkeypatch):
    make_project(slug="tea")
    monkeypatch.setattr(Project, "full_clean", lambda *args, **kwargs: None)  # as when both are checked at one moment
    with pytest.raises(Refused) as refused:
        projects.create_project(slug="tea", name="Tea", by=make_user(is_staff=True))
    assert refused.value.status == 409 and "slug" in refused.value.errors


def test_guidelines_are_revised_as_versions_and_earlier_ones_stay(client):
    project = make_project()
    client.force_login(make_user(project, role="manager"))
    for text in ("First.", "Second.", "Second. "):
        client.post(address(project, "guidelines"), {"text": text})
    assert list(project.guidelines.order_by("version").values_list("version", "text")) == [
        (1, "First."),
        (2, "Second."),
    ]
    assert "First." in client.get(address(project, "guidelines") + "?version=1").content.decode()


@pytest.mark.parametrize(("text", "status"), [("  ", 400), ("x" * 50_001, 413), ("a\x00b", 400)])
def test_wrong_guidelines_are_refused(client, text, status):
    project = make_project()
    client.force_login(make_user(project, role="manager"))
    response = client.post(address(project, "guidelines"), {"text": text})
    assert response.status_code == status
    assert not Guideline.objects.exists()


def test_a_private_project_does_not_exist_for_visitors(client):
    project = make_project(is_public=False)
    assert client.get(address(project)).url.startswith(reverse("login"))
    client.force_login(make_user())
    assert client.get(address(project)).status_code == 404
    assert client.get(address(project, "guidelines")).status_code == 404


def test_every_list_in_the_administration_opens_for_staff(client):
    from django.contrib import admin

    project = make_project()
    make_rating(make_completion(make_prompt(project)))
    client.force_login(User.objects.create_superuser("root", password="x"))
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        assert client.get(reverse(name)).status_code == 200, name


def test_the_administration_edits_no_feedback(client):
    rating = make_rating(make_completion(make_prompt(make_project())), stars=4)
    client.force_login(User.objects.create_superuser("root", password="x"))
    assert client.get(reverse("admin:annotate_rating_change", args=[rating.pk])).status_code == 200
    client.post(reverse("admin:annotate_rating_change", args=[rating.pk]), {"stars": 1})
    assert client.post(reverse("admin:annotate_rating_delete", args=[rating.pk]), {"post": "yes"}).status_code == 403
    rating.refresh_from_db()
    assert rating.stars == 4


def test_a_manager_is_led_along_the_loop_step_by_step(client):
    project = make_project(name="New")
    client.force_login(make_user(project, role="manager"))

    def told() -> str:
        return client.get(address(project)).context["next"].words

    assert "no prompts" in told()
    prompt, ranking = make_prompt(project), make_prompt(project, side="eval")
    assert "No model answers here yet" in told()
    model = make_contestant(project).model
    assert "train split" in told()
    answer = make_completion(prompt, model=model)
    assert "eval split" in told()
    answers = make_completion(ranking, model=model), make_completion(ranking)
    assert "what makes a good answer" in told()
    make_guideline(project)
    assert "You are the only member" in told()
    make_user(project)
    assert "No answer is annotated" in told()
    make_rating(answer)
    assert "freeze them" in told()
    dataset = Dataset.objects.create(project=project, kind="sft", name="d", side="train", content_hash="x")
    assert "no run has trained a model" in told()
    Run.objects.create(project=project, kind="sft", name="r", dataset=dataset, output_model=make_model())
    assert "compared the models" in told()
    make_comparison(*answers)
    assert "The first loop is complete" in told()


def test_an_annotator_and_a_visitor_are_told_what_they_can_do(client):
    project = make_project()
    html = client.get(address(project)).content.decode()
    assert "two models compete" in html
    for _ in range(2):
        make_contestant(project)
    assert "no account is needed" in client.get(address(project)).content.decode()
    client.force_login(make_user(project))
    assert "nothing to annotate yet" in client.get(address(project)).content.decode()
    make_pair(project)
    html = client.get(address(project)).content.decode()
    assert "Read the guidelines" in html and "No model answers here yet" not in html


def test_an_address_that_is_not_there_says_what_to_do(client):
    for address in ("/nowhere/", "/datasets/999/"):
        response = client.get(address)
        assert response.status_code == 404 and "query" not in response.content.decode()
        assert reverse("login") in response.content.decode() and reverse("home") in response.content.decode()
    assert client.get("/p/nowhere/").url == "/sign-in/?next=/p/nowhere/"  # as of a project that is others'


def test_a_form_that_is_too_old_says_so():
    client = Client(enforce_csrf_checks=True)
    response = client.post(address(make_project(), "arena"), {"draw": "1"})
    assert response.status_code == 403 and "reload the page" in response.content.decode()
