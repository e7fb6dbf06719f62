"""The share of work done once that a reviewer annotates again, unseen: which, by whom, and how often they agree."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling.adjudication import actions as adjudication
from annotate.labelling.adjudication import disagreements
from annotate.labelling.reviews import actions, present
from annotate.models import Assignment, Comparison, Membership
from annotate.projects.actions import change_settings
from tests.support.api_client import Program, errors, program
from tests.support.factories import make_assignment, make_completion, make_pair, make_project, make_prompt, make_user
from tests.support.factories import sign_in as sign_in_as

pytestmark = pytest.mark.django_db

KEYS = r'[0-9a-f]{8}-[0-9a-f-]{27}|"\w{64}"'  # of forms: random letters, "ada" among them once in some hundred pages


@pytest.fixture
def project():
    return make_project(review_percent=100, is_public=False)


@pytest.fixture
def ada(project):
    return make_user(project, username="ada")


@pytest.fixture
def rita(project):
    return make_user(project, role="reviewer", username="rita")


def compared(user, project, winner="model_a") -> Assignment:
    a, b = make_pair(project)
    assignment = make_assignment(user, a, b)
    feedback.submit(assignment=assignment, by=user, winner=winner)
    return assignment


def rated(user, project, stars: int) -> Assignment:
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    feedback.submit(assignment=assignment, by=user, stars=stars)
    return assignment


def drawn(project) -> list[str]:
    return list(actions.due(project).values_list("item", flat=True))


@pytest.mark.slow
def test_about_that_share_is_drawn_the_same_each_time_and_more_adds_to_it(project, ada):
    for _ in range(200):
        make_assignment(ada, make_completion(make_prompt(project)), state="submitted")
    shares = {}
    for percent in (0, 10, 50, 100):
        project.review_percent = percent
        shares[percent] = set(drawn(project))
        assert shares[percent] == set(drawn(project))
    assert [len(shares[0]), len(shares[100])] == [0, 200]
    assert 5 <= len(shares[10]) <= 40 and 70 <= len(shares[50]) <= 130
    assert shares[10] < shares[50] < shares[100]
    project.review_percent, project.review_seed = 50, "another"
    assert set(drawn(project)) != shares[50], "without the seed nobody can say which"


def test_only_what_one_person_annotated_and_stands_is_due(project, ada):
    simulated = make_user(project, is_simulated=True)
    twice, once = compared(ada, project), compared(ada, project)
    other = make_assignment(make_user(project), twice.completion_a, twice.completion_b)
    feedback.submit(assignment=other, by=other.user, winner="tie")
    compared(simulated, project)
    feedback.undo(assignment=compared(ada, project), by=ada)
    make_assignment(ada, make_completion(make_prompt(project)), state="skipped")
    out = compared(ada, project)
    type(out.prompt).objects.filter(pk=out.prompt_id).update(out_since=out.created_at)
    assert drawn(project) == [once.item]


def test_a_reviewer_gets_each_once_and_never_their_own(project, ada, rita):
    first, second = compared(ada, project), rated(ada, project, 4)
    compared(rita, project)
    one = actions.take_next(project=project, by=rita)
    assert one.item == first.item and one.is_review and one.purpose == "work"
    assert actions.take_next(project=project, by=rita).pk == one.pk, "what is in their hands comes first"
    other = make_user(project, role="manager")
    assert actions.take_next(project=project, by=other).item == second.item, "what another holds is not due"
    feedback.submit(assignment=one, by=rita, winner="tie")
    assert actions.take_next(project=project, by=rita) is None


def test_the_reviewers_word_counts_and_a_disagreement_goes_to_the_disagreements(project, ada, rita):
    agreed, apart = compared(ada, project, "model_a"), rated(ada, project, 5)
    for _ in range(2):
        item = actions.take_next(project=project, by=rita)
        if item.kind == "compare":
            winner = "model_a" if item.completion_a_id == agreed.completion_a_id else "model_b"
            feedback.submit(assignment=item, by=rita, winner=winner)
        else:
            feedback.submit(assignment=item, by=rita, stars=2)
    assert [found.item for found in disagreements.waiting(project)] == [apart.item]
    figures = present.figures_of(project)
    assert (figures.due, figures.reviewed, figures.agreed, figures.disagreed, figures.settled) == (0, 2, 1, 1, 0)
    assert Comparison.objects.counted().count() == 2
    manager = make_user(project, role="manager")
    decision = adjudication.take(project=project, key=apart.item, by=manager)
    feedback.submit(assignment=decision, by=manager, stars=3)
    assert present.figures_of(project).settled == 1 and present.figures_of(project).disagreed == 0


def test_what_is_sent_back_after_a_review_is_neither_agreed_nor_due(project, ada, rita):
    first = rated(ada, project, 5)
    feedback.submit(assignment=actions.take_next(project=project, by=rita), by=rita, stars=1)
    adjudication.send_back(assignment=first, by=rita, comment="Look again.")
    figures = present.figures_of(project)
    assert (figures.due, figures.reviewed, figures.agreed, figures.disagreed, figures.settled) == (0, 1, 0, 0, 1)
    first.refresh_from_db()
    feedback.submit(assignment=first, by=ada, stars=1)
    assert present.figures_of(project).agreed == 1


def test_without_a_review_nothing_that_was_annotated_is_read(project, ada, django_assert_num_queries):
    rated(ada, project, 5)
    project.review_percent = 0
    with django_assert_num_queries(2):  # whether reviews are many, and their items
        assert present.figures_of(project).reviewed == 0


def test_a_review_takes_no_place_and_can_be_undone(project, ada, rita):
    first = rated(ada, project, 5)
    item = actions.take_next(project=project, by=rita)
    feedback.submit(assignment=item, by=rita, stars=1)
    feedback.undo(assignment=item, by=rita)
    feedback.submit(assignment=item, by=rita, stars=2)
    rows = first.project.ratings.filter(author=ada)
    feedback.set_status(rows=rows, status="excluded", reason="guesses", by=make_user(project, role="manager"))
    assert assignments.next_for(project=project, user=make_user(project)).item == first.item


def test_what_a_reviewer_may_not_see_hides_no_item_behind_it(project, ada, rita, monkeypatch):
    monkeypatch.setattr(actions, "_CANDIDATES", 1)
    first, second = rated(ada, project, 5), rated(ada, project, 4)
    type(first.prompt).objects.filter(pk=first.prompt_id).update(harm="fraud")
    assert actions.take_next(project=project, by=rita).item == second.item


def test_a_review_that_ran_out_is_due_again_for_its_reviewer_too(project, ada, rita):
    rated(ada, project, 5)
    item = actions.take_next(project=project, by=rita)
    Assignment.objects.filter(pk=item.pk).update(expires_at=item.created_at)
    again = actions.take_next(project=project, by=rita)
    assert again.pk == item.pk and Assignment.objects.live().filter(pk=item.pk).exists()


def test_annotators_take_none_and_without_a_share_there_is_none(project, ada, rita):
    compared(ada, project)
    with pytest.raises(Refused) as refused:
        actions.take_next(project=project, by=ada)
    assert refused.value.status == 403
    project.review_percent = 0
    with pytest.raises(Refused, match="can set the share"):
        actions.take_next(project=project, by=rita)


@pytest.mark.parametrize("percent", [-1, 101, "many"])
def test_a_share_that_is_none_is_refused(project, percent):
    manager = make_user(project, role="manager")
    with pytest.raises(Refused) as refused:
        change_settings(project=project, by=manager, review_percent=percent)
    assert "review_percent" in refused.value.errors


def test_the_page_hides_the_first_annotation_until_the_reviewer_has_said_theirs(client, project, ada):
    first = rated(ada, project, 5)
    type(first).objects.filter(pk=first.pk).update()
    feedback.revise(assignment=first, by=ada, stars=5, comment="Ada's own words")
    sign_in_as(client, project, "reviewer")
    page = reverse("reviews", args=[project.slug])
    assert "100 %" in client.get(page).content.decode()
    taken = client.post(page)
    assert taken.status_code == 302 and "/reviews/" in taken.url
    html = re.sub(KEYS, "", client.get(taken.url).content.decode())
    assert "own words" not in html and "ada" not in html and f'action="{taken.url}"' in html
    pk = int(taken.url.rstrip("/").rsplit("/", 1)[1])
    wrong = client.post(taken.url, {"assignment": pk, "stars": "9"})
    assert wrong.status_code == 400
    said = client.post(taken.url, {"assignment": pk, "stars": "2"}, follow=True)
    html = said.content.decode()
    assert "You disagree" in html and "own words" in html and "Review the next one" in html
    assert client.get(taken.url).status_code == 302
    assert "There is nothing for you to review" in client.post(page).content.decode()


def test_a_review_is_its_reviewers_own_and_of_its_project(client, project, ada, rita):
    compared(ada, project)
    item = actions.take_next(project=project, by=rita)
    page = reverse("review", args=[project.slug, item.pk])
    sign_in_as(client, project, "reviewer")
    assert client.get(page).status_code == 404 and client.post(page).status_code == 404
    own = reverse("review", args=[project.slug, compared(rita, project).pk])
    client.force_login(rita)
    assert client.get(own).status_code == 404, "an annotation that is no review"
    other = make_project(review_percent=100)
    sign_in_as(client, other, "reviewer")
    assert client.get(reverse("review", args=[other.slug, item.pk])).status_code == 404
    sign_in_as(client, project, "annotator")
    assert client.get(reverse("reviews", args=[project.slug])).status_code == 403


def test_a_program_reviews(project, ada):
    rated(ada, project, 4)
    reviewer = program(project, "reviewer")
    at = f"projects/{project.slug}/reviews/"
    assert reviewer.get(at).json()["due"] == 1
    task = reviewer.post(at).json()
    assert task["kind"] == "rate" and "said" not in task
    assert reviewer.post(f"assignments/{task['id']}/submit/", {"stars": 4}).status_code == 201
    assert reviewer.get(at).json() | {"percent": 0} == {
        **{"percent": 0, "due": 0, "reviewed": 1, "agreed": 1, "disagreed": 0, "settled": 0}
    }
    assert reviewer.post(at).status_code == 204
    errors(program(project).post(at), 403)
    errors(Program(make_user()).get(at), 404)


def test_annotate_opens_no_review_that_its_reviewer_has_in_hand(project, ada, rita):
    rated(ada, project, 5)
    review = actions.take_next(project=project, by=rita)
    other = make_completion(make_prompt(project))
    work = assignments.next_for(project=project, user=rita)
    assert work is not None and work.pk != review.pk and not work.is_review and work.completion_a == other
    assert actions.take_next(project=project, by=rita).pk == review.pk


@pytest.mark.parametrize("method", ["post", "put"])
def test_who_reviews_no_more_looks_again_at_nothing(project, ada, rita, method):
    """The pages ask for the role with each form; a program has what was handed out."""
    compared(ada, project)
    task = actions.take_next(project=project, by=rita)
    client, address = Program(rita), f"assignments/{task.pk}/submit/"
    if method == "put":
        assert client.post(address, {"winner": "tie"}).status_code == 201
    Membership.objects.filter(user=rita).update(role="annotator")
    refusal = getattr(client, method)(address, {"winner": "model_b"})
    assert "reviewer" in errors(refusal, 403)["project"]
    assert list(Comparison.objects.filter(author=rita).values_list("winner", flat=True)) == ["tie"] * (method == "put")
