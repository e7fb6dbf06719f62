"""Work that is given to named people: first to them, to nobody else, until a day; and what becomes of the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.data.prompts import retirement
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling.pages.progress import position_of
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue import reserved
from annotate.labelling.queue.urgent_items import UrgentPair
from annotate.labelling.work_packages import actions, present
from annotate.models import Assignment, AuditEntry, Membership, QueueEntry, ReservedPrompt, WorkPackage
from annotate.models.project_locks import can_lock_together
from annotate.projects.actions import remove_member
from annotate.projects.invitations import invite
from tests.support.api_client import Program, errors, program
from tests.support.factories import make_completion, make_project, make_prompt, make_user, sign_in

pytestmark = pytest.mark.django_db
SAID = {"rate": {"stars": 4}, "compare": {"winner": "tie"}}


@pytest.fixture
def project():
    return make_project(asks_comparisons=False, is_public=False)


@pytest.fixture
def ada(project):
    return make_user(project, username="ada")


@pytest.fixture
def bob(project):
    return make_user(project, username="bob")


def prompts(project, n: int, **fields) -> list:
    """Each with one answer to rate."""
    made = [make_prompt(project, **fields) for _ in range(n)]
    for prompt in made:
        make_completion(prompt)
    return made


def give(project, manager, *people, category="", limit=actions.MOST_PROMPTS, **terms) -> WorkPackage:
    names = [person.username for person in people]
    return actions.give(
        project=project,
        by=manager,
        selection=actions.Selection(category=category, limit=limit),
        terms=actions.Terms(**{"name": "week 12", "people": names, **terms}),
    )


def annotate_all(project, user) -> list[Assignment]:
    done = []
    while assignment := assignments.next_for(project=project, user=user):
        feedback.submit(assignment=assignment, by=user, **SAID[assignment.kind])
        done.append(assignment)
    return done


def left(package) -> dict[str, int]:
    return {share.username: share.left for share in present.shares_of(package)}


def test_what_is_given_comes_first_and_nobody_else_is_asked(project, manager, ada, bob):
    prompts(project, 3)
    given = prompts(project, 2, category="law")
    queue.take_in(project, set(), 100)
    give(project, manager, ada, category="law")
    first = [assignments.next_for(project=project, user=ada)]
    feedback.submit(assignment=first[0], by=ada, stars=3)
    first.append(assignments.next_for(project=project, user=ada))
    assert {a.prompt_id for a in first} == {p.pk for p in given}
    assert not {a.prompt_id for a in annotate_all(project, bob)} & {p.pk for p in given}
    assert len(annotate_all(project, bob)) == 0 and project.assignments.filter(user=bob).count() == 3


def test_nobody_else_is_asked_although_the_queue_hears_of_the_prompt_later(project, manager, ada, bob):
    (prompt,) = prompts(project, 1)
    give(project, manager, ada)
    make_completion(prompt)  # which the queue is told
    assert assignments.next_for(project=project, user=bob) is None
    queue.recount(project)
    assert assignments.next_for(project=project, user=bob) is None
    assert len(annotate_all(project, ada)) == 2


def test_each_prompt_goes_to_so_many_of_the_people_evenly(project, manager, ada, bob):
    third = make_user(project)
    prompts(project, 6)
    package = give(project, manager, ada, bob, third, per_prompt=2)
    assert set(left(package).values()) == {4} and len(left(package)) == 3
    for person in (ada, bob, third):
        assert len(annotate_all(project, person)) == 4, "although the project asks for one annotation of each"
    assert set(left(package).values()) == {0}


def test_what_is_left_of_a_package_has_no_retired_prompt(project, manager, ada):
    first, second, _ = prompts(project, 3)
    package = give(project, manager, ada)
    shown = assignments.next_for(project=project, user=ada)
    retired = second if shown.prompt == first else first
    type(retired).objects.filter(pk=retired.pk).update(out_since=timezone.now())
    assert left(package) == {"ada": 2}
    position = position_of(shown, done_today=0)
    assert position and position.words == f"prompt 1 of 2 in {package.name}, 2 left"


def test_a_prompt_that_is_retired_in_their_hands_is_not_done_and_comes_again(project, manager, ada):
    [prompt] = prompts(project, 1)
    package = give(project, manager, ada)
    assignments.next_for(project=project, user=ada)
    retirement.decide(prompt=prompt, by=manager, take_out=True, reason="Broken.")
    [share] = present.shares_of(package)
    assert (share.done, share.left) == (0, 0)
    retirement.decide(prompt=prompt, by=manager, take_out=False)
    assert len(annotate_all(project, ada)) == 1
    [share] = present.shares_of(package)
    assert (share.done, share.left) == (1, 0)


def test_all_kinds_of_a_prompt_are_theirs(project, manager, ada):
    project.asks_comparisons = True
    project.save()
    prompt = make_prompt(project)
    for _ in range(3):
        make_completion(prompt)
    package = give(project, manager, ada)
    rated = assignments.next_for(project=project, user=ada, kind="rate")
    feedback.submit(assignment=rated, by=ada, stars=3)
    assert left(package) == {"ada": 1}, "as long as one item is to be done"
    assert len(annotate_all(project, ada)) == 5 and left(package) == {"ada": 0}


def test_others_may_be_asked_where_the_manager_says_so(project, manager, ada, bob):
    prompts(project, 2)
    give(project, manager, ada, is_exclusive=False)
    assert len(annotate_all(project, bob)) == 2
    assert len(annotate_all(project, ada)) == 2, "they have places of their own"


def test_an_item_that_ran_out_comes_again_to_its_person(project, manager, ada, bob):
    prompts(project, 1)
    give(project, manager, ada)
    item = assignments.next_for(project=project, user=ada)
    Assignment.objects.filter(pk=item.pk).update(expires_at=timezone.now() - timedelta(minutes=1))
    assert assignments.next_for(project=project, user=bob) is None
    again = assignments.next_for(project=project, user=ada)
    assert again.pk == item.pk and again.state == "open" and again.expires_at > timezone.now()


def test_what_one_of_several_has_said_can_be_taken_back_by_each(project, manager, ada, bob):
    prompts(project, 1)
    give(project, manager, ada, bob)
    (first,), _ = annotate_all(project, ada), annotate_all(project, bob)
    feedback.undo(assignment=first, by=ada)
    assert Assignment.objects.get(pk=first.pk).state == "open"


def test_after_the_day_the_rest_goes_to_everybody(project, manager, ada, bob):
    prompts(project, 2)
    package = give(project, manager, ada, until=timezone.now() + timedelta(days=1))
    feedback.submit(assignment=assignments.next_for(project=project, user=ada), by=ada, stars=3)
    reserved.give_back()
    assert left(package) == {"ada": 1}
    WorkPackage.objects.update(until=timezone.now())
    reserved.give_back()
    assert left(package) == {"ada": 0} and WorkPackage.objects.get().ended_at
    assert len(annotate_all(project, bob)) == 1
    assert AuditEntry.objects.filter(action="work.ended", actor=None).count() == 1


@pytest.mark.parametrize("how", ["leaves", "is paused", "may not sign in"])
def test_who_is_gone_releases_theirs(project, manager, ada, bob, how):
    prompts(project, 2)
    package = give(project, manager, ada, per_prompt=1)
    if how == "leaves":
        remove_member(project=project, user=ada, by=manager)
    elif how == "is paused":
        Membership.objects.filter(user=ada).update(paused_at=timezone.now())
    else:
        ada.is_active = False
        ada.save()
    reserved.give_back()
    assert left(package) == {"ada": 0}
    assert len(annotate_all(project, bob)) == 2


def test_taking_back_of_one_person_leaves_the_others_theirs(project, manager, ada, bob):
    prompts(project, 4)
    package = give(project, manager, ada, bob, per_prompt=1)
    assert actions.take_back(package=package, by=manager, username="ada") == 2
    assert left(package) == {"ada": 0, "bob": 2}
    with pytest.raises(Refused, match="carl"):
        actions.take_back(package=package, by=manager, username="carl")
    assert actions.take_back(package=package, by=manager) == 2 and package.ended_at
    with pytest.raises(Refused, match="Nothing is left"):
        actions.take_back(package=package, by=manager)


def test_what_somebody_has_for_themselves_is_not_given_again(project, manager, ada, bob):
    prompts(project, 2)
    give(project, manager, ada)
    with pytest.raises(Refused, match="No open, unassigned prompt matches"):
        give(project, manager, bob)


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("name", {"name": "x" * 81}),
        ("people", {"people": []}),
        ("people", {"people": ["nobody-here"]}),
        ("per_prompt", {"per_prompt": 2}),
        ("per_prompt", {"per_prompt": 0}),
        ("until", {"until": timezone.now() - timedelta(days=1)}),
        ("until", {"until": timezone.now() + timedelta(days=400)}),
        ("limit", {"limit": 0}),
    ],
)
def test_wrong_terms_are_named(project, manager, ada, field, terms):
    prompts(project, 1)
    with pytest.raises(Refused) as refused:
        give(project, manager, ada, **terms)
    assert list(refused.value.errors) == [field] and not WorkPackage.objects.exists()


def test_members_of_other_projects_and_paused_ones_are_given_nothing(project, manager, ada):
    prompts(project, 1)
    stranger = make_user(make_project())
    Membership.objects.filter(user=ada).update(paused_at=timezone.now())
    for person in (stranger, ada):
        with pytest.raises(Refused, match=person.username):
            give(project, manager, person)


def queries_of_next(project, user) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert assignments.next_for(project=project, user=user) is not None
    return len(queries)


def test_packages_cost_the_others_no_query_and_their_own_people_few(project, manager, ada, bob):
    prompts(project, 40)
    prompts(project, 400, category="law")
    queue.recount(project)
    queue.take_in(project, set(), 10**6)
    before = queries_of_next(project, make_user(project))
    give(project, manager, ada, category="law")
    assert QueueEntry.objects.filter(project=project, kind="rate").count() == 40
    assert queries_of_next(project, bob) == before
    # On Postgres they look together with others first, and then give that up for the project alone: four statements.
    assert queries_of_next(project, ada) <= before + 2 + 4 * can_lock_together()
    ReservedPrompt.objects.filter(user=ada).update(state="done")
    assert queries_of_next(project, make_user(project)) == before


def test_a_manager_gives_work_by_the_pages(client, project, ada, bob):
    sign_in(client, project, "manager")
    prompts(project, 3, category="law")
    page = reverse("packages", args=[project.slug])
    assert "No work is assigned" in client.get(page).content.decode()
    make_completion(make_prompt(project, language="de"))
    make_completion(make_prompt(project, language="fr"))
    assert "1 prompt</strong> of the train split matches" in client.get(page, {"language": "fr"}).content.decode()
    found = client.get(page, {"category": "law", "limit": "2"}).content.decode()
    assert "2 prompts</strong> of the train split match" in found and 'value="ada"' in found
    assert "not accepted yet" not in found
    invite(project=project, role="annotator", by=project.memberships.get(role="manager").user, email="cleo@example.org")
    assert "1 invited person has not accepted yet" in client.get(page, {"category": "law"}).content.decode()
    sent = {"category": "law", "limit": "2", "people": ["ada", "bob"], "name": "Law", "per_prompt": "1", "until": ""}
    wrong = client.post(page, {**sent, "until": "soon"})
    assert wrong.status_code == 400 and "is not a date" in wrong.content.decode()
    assert 'value="ada" checked' in wrong.content.decode(), "what was entered stays"
    made = client.post(page, sent)
    assert made.status_code == 302 and left(WorkPackage.objects.get()) == {"ada": 1, "bob": 1}
    assert "Law" in client.get(page).content.decode()
    client.force_login(ada)
    assert "1 prompt is assigned to you" in client.get(reverse("project", args=[project.slug])).content.decode()
    sign_in(client, project, "manager")
    assert client.post(made.url, {"username": "ada"}).status_code == 302
    assert left(WorkPackage.objects.get()) == {"ada": 0, "bob": 1}
    assert client.post(made.url, {"username": "ada"}).status_code == 409


def test_only_managers_give_and_packages_stay_in_their_project(client, project, manager, ada):
    prompts(project, 1)
    package = give(project, manager, ada)
    page = reverse("package", args=[project.slug, package.pk])
    sign_in(client, project, "researcher")
    assert client.get(page).status_code == 403 and client.post(page).status_code == 403
    other = make_project(is_public=False)
    sign_in(client, other, "manager")
    assert client.get(page).status_code == 404
    foreign = reverse("package", args=[other.slug, package.pk])
    assert client.get(foreign).status_code == 404 and client.post(foreign).status_code == 404
    assert ReservedPrompt.objects.open().count() == 1


def test_a_program_gives_follows_and_takes_back(project, ada):
    prompts(project, 3)
    boss = program(project, "manager")
    at = f"projects/{project.slug}/packages/"
    order = {"name": "Week 12", "people": ["ada"], "limit": 2}
    made = boss.post(at, order, key="one")
    assert made.status_code == 201 and made.json()["people"][0]["left"] == 2
    assert boss.post(at, order, key="one").json() == made.json() and WorkPackage.objects.count() == 1
    one = f"{at}{made.json()['id']}/"
    assert boss.get(at).json()[0]["left"] == 2 and boss.get(one).json()["name"] == "Week 12"
    assert boss.post(f"{one}take-back/", {"username": "ada"}).json()["people"][0]["released"] == 2
    assert "nobody-here" in errors(boss.post(at, {**order, "people": ["nobody-here"]}))["people"]
    errors(program(project, "researcher").post(at, order), 403)
    errors(Program(make_user()).get(one), 404)
    other = make_project()
    errors(program(other, "manager").get(f"projects/{other.slug}/packages/{made.json()['id']}/"), 404)


def test_what_is_urgent_on_a_prompt_of_somebody_else_is_for_that_person_alone(project, manager, ada, bob, monkeypatch):
    (prompt,) = prompts(project, 1)
    pair = UrgentPair(prompt.pk, (prompt.completions.get().pk,), is_open=True, is_reserved=False)
    monkeypatch.setattr(assignments, "urgent_pairs", lambda project: [pair])
    give(project, manager, ada)
    assert assignments.next_for(project=project, user=bob) is None
    assert assignments.next_for(project=project, user=ada).prompt_id == prompt.pk


def test_what_somebody_is_not_ready_to_see_waits_and_the_rest_comes(project, manager, ada):
    prompts(project, 5, harm="violence")
    prompts(project, 2)
    package = give(project, manager, ada)
    assert len(annotate_all(project, ada)) == 2 and left(package) == {"ada": 5}


def test_a_skipped_item_counts_as_done(project, manager, ada):
    prompts(project, 1)
    package = give(project, manager, ada)
    item = assignments.next_for(project=project, user=ada)
    assignment_lifecycle.skip(assignment=item, by=ada, reason="I do not know")
    assert left(package) == {"ada": 0}


def test_a_package_needs_no_name(client, project, manager, ada):
    make_completion(make_prompt(project))
    client.force_login(manager)
    page = reverse("packages", args=[project.slug])
    assert 'name="name" required' not in client.get(page, {"limit": "1"}).content.decode()
    made = client.post(page, {"limit": "1", "people": ["ada"], "name": "", "per_prompt": "", "until": ""})
    assert made.status_code == 302
    assert WorkPackage.objects.get().name.startswith("1 prompt, ")
