"""People get items in the languages that they read, whatever chooses the item; work that a manager gives them is theirs
in any language."""

from __future__ import annotations

import io

import pytest
from django.urls import reverse

from annotate.core.db.prepared import Asked
from annotate.data.imports.actions import Order, start_import
from annotate.data.prompts.editing import edit_prompt
from annotate.labelling import actions as feedback
from annotate.labelling import assigning, handing_ahead
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue import priorities
from annotate.labelling.queue.urgent_items import URGENT, UrgentPair
from annotate.labelling.reviews import actions as reviews
from annotate.labelling.work_packages import actions as packages
from annotate.models import Assignment, GoldItem, Invitation, Membership, Prompt, QueueEntry, Role
from annotate.projects import invitations, member_languages
from annotate.projects.bulk_invitations import actions as bulk
from tests.support.annotate.importing import carry_out
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_pair,
    make_project,
    make_prompt,
    make_user,
    sign_in,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return make_project(asks_comparisons=False)


def reader(project, language: str, **fields):
    user = make_user(project, **fields)
    Membership.objects.filter(user=user).update(language=language)
    return user


def make_answers(project, *languages: str) -> None:
    for language in languages:
        make_completion(make_prompt(project, language=language))


def annotated(project, user) -> list[str]:
    """Annotate all that they get; return the languages, in order of the alphabet."""
    languages = []
    while assignment := assigning.next_for(project=project, user=user):
        feedback.submit(
            assignment=assignment, by=user, **{"rate": {"stars": 4}, "compare": {"winner": "tie"}}[assignment.kind]
        )
        languages.append(assignment.prompt.language)
    return sorted(languages)


def settle(project) -> None:
    """Have the queue know all that there is, so that what a test writes into it stays."""
    queue.take_in(project, set(), 10**6)


def words_of(client, project) -> str:
    return " ".join(client.get(reverse("annotate", args=[project.slug])).content.decode().split())


def test_from_a_file_of_prompts_and_a_list_of_people_to_the_items_that_each_gets(project):
    manager = make_user(project, role="manager")
    rows = "prompt,response_a,response_b,language\n" + "".join(
        f"{word} {n}?,Answer {n},Other answer {n},{language}\n"
        for word, language in (("Warum", "de"), ("Por que", "pt-BR"), ("Why", "English"), ("¿", ""))
        for n in range(3)
    )
    project.eval_percent = 0
    project.save()
    file = io.BytesIO(rows.encode())
    done = carry_out(start_import(project=project, file=file, file_name="p.csv", order=Order(), by=manager))
    assert done.counts["completions"] == 24
    lines = 'email,role,language\nada@example.org,annotator,de\nbea@example.org,,"pt, EN"\ncem@example.org,,\n'
    preview = bulk.preview(project=project, by=manager, text=lines, defaults=bulk.lists.Defaults())
    assert not preview.wrong
    bulk.send(project=project, by=manager, right=preview.right)
    offered = {}
    for invitation in Invitation.objects.order_by("id"):
        user = make_user(email=invitation.email)
        member = invitations.accept(token=bulk.link(invitation).rstrip("/").rsplit("/", 1)[1], by=user)
        member.refresh_from_db()
        project.overlap += 1
        project.save()
        offered[member.language] = sorted(set(annotated(project, user)))
    assert offered == {"de": ["", "de"], "pt, en": ["", "en", "pt-BR"], "": ["", "de", "en", "pt-BR"]}


def test_a_region_makes_no_other_language_and_a_longer_code_does(project):
    make_answers(project, "pt", "pt-BR", "pt-PT", "ptx", "p")
    assert annotated(project, reader(project, "pt-BR")) == ["pt", "pt-BR", "pt-PT"]


def test_the_least_annotated_comes_first_whatever_its_language(project):
    project.overlap = 3
    project.save()
    make_answers(project, "de", "fr", "")
    settle(project)
    for language, level in (("de", 2.0), ("fr", 1.0), ("", 0.0)):
        QueueEntry.objects.filter(language=language).update(level=level)
    user = reader(project, "de, fr")
    first = assigning.next_for(project=project, user=user)
    assert first.prompt.language == ""
    feedback.submit(assignment=first, by=user, stars=3)
    assert assigning.next_for(project=project, user=user).prompt.language == "fr"


def test_a_member_without_languages_and_a_simulation_get_everything(project):
    make_answers(project, "de", "fr")
    assert annotated(project, make_user(project)) == ["de", "fr"]
    simulated = reader(project, "es", is_simulated=True)
    assert annotated(project, simulated) == ["de", "fr"]


def test_past_the_first_of_the_queue_the_languages_hold(project):
    """What looks free and is not, such as what others have in hand, makes the choice look at more prompts at a time."""
    make_answers(project, *["de"] * 6, *["fr"] * 6, *[""] * 6)
    settle(project)
    for entry in QueueEntry.objects.filter(language__in=["de", ""]):
        make_assignment(make_user(project), entry.prompt.completions.get(), state="submitted")
    QueueEntry.objects.update(level=0)
    make_answers(project, "de")
    assert annotated(project, reader(project, "de")) == ["de"]


def test_a_changed_language_of_a_prompt_counts_at_once(project):
    make_answers(project, "fr")
    user, researcher = reader(project, "de"), make_user(project, role="researcher")
    assert assigning.next_for(project=project, user=user) is None
    edit_prompt(prompt=Prompt.objects.get(), by=researcher, language="de-AT")
    assert assigning.next_for(project=project, user=user).prompt.language == "de-AT"
    assert QueueEntry.objects.get(kind="rate").language == "de"


def test_items_ahead_are_in_their_languages_and_go_back_with_them(project):
    make_answers(project, *["de"] * 4, *["fr"] * 4)
    user, manager = reader(project, "de"), make_user(project, role="manager")
    shown, *ahead = handing_ahead.hand_ahead(project=project, user=user)
    shown = assigning.next_for(project=project, user=user)
    assert {each.prompt.language for each in (shown, *ahead)} == {"de"}
    member_languages.change_member(project=project, user=user, role="annotator", language="fr", by=manager)
    assert list(project.assignments.live().filter(user=user)) == [shown], "what they see may be finished"
    feedback.submit(assignment=shown, by=user, stars=3)
    assert annotated(project, user) == ["fr"] * 4
    assert len(annotated(project, reader(project, "de"))) == 3


def test_what_waits_for_somebody_else_is_not_taken_from_them_for_who_cannot_read_it(project):
    make_answers(project, "de", "de", "fr")
    handing_ahead.hand_ahead(project=project, user=reader(project, "de"))
    assert annotated(project, reader(project, "fr")) == ["fr"]
    assert project.assignments.live().filter(is_ahead=True).count() == 2


def test_what_a_manager_gives_somebody_is_theirs_in_any_language(project):
    make_answers(project, "fr", "de")
    user, manager = reader(project, "de"), make_user(project, role="manager")
    packages.give(
        project=project,
        by=manager,
        selection=packages.Selection(language="fr"),
        terms=packages.Terms(name="", people=[user.username]),
    )
    assert assigning.next_for(project=project, user=user).prompt.language == "fr"
    assert annotated(project, user) == ["de", "fr"]


def test_urgent_and_uncertain_items_are_in_their_languages(project, monkeypatch):
    project.asks_comparisons, project.asks_ratings, project.overlap = True, False, 2
    project.save()
    pairs = [make_pair(project) for _ in range(4)]
    Prompt.objects.filter(pk__in=[a.prompt_id for a, _ in pairs[:2]]).update(language="fr")
    foreign, own = pairs[0], pairs[3]
    urgent = [UrgentPair(a.prompt_id, (a.pk, b.pk), is_open=True) for a, b in (foreign, own)]
    unsure = [priorities.Uncertain(a.prompt_id, (a.pk, b.pk), 0.9, "55 %") for a, b in (pairs[1], pairs[2])]
    monkeypatch.setattr(priorities, "COVERAGE_SHARE", 0.0)
    asked = Asked("SELECT 1", [], lambda _: urgent)
    with URGENT.holding(lambda project: asked), priorities.UNCERTAINTY.holding(lambda asked: unsure):
        priorities.renew(project)
        user = reader(project, "de")
        first = assigning.next_for(project=project, user=user)
        assert first.prompt_id == own[0].prompt_id
        feedback.submit(assignment=first, by=user, winner="tie")
        assert assigning.next_for(project=project, user=user).prompt_id == pairs[2][0].prompt_id
        assert annotated(project, user) == [""]
        assert annotated(project, make_user(project)) == ["", "", "fr", "fr"]


def test_gold_items_are_in_their_languages(project):
    project.gold_percent = 50
    project.save()
    for language in ("de", "fr"):
        answer = make_completion(make_prompt(project, language=language))
        gold = GoldItem(
            project=project, kind="rate", prompt=answer.prompt, completion_a=answer, expected={"stars": [4]}
        )
        gold.save()
    make_answers(project, *["de"] * 12)
    assert set(annotated(project, reader(project, "de"))) == {"de"}


def test_a_reviewer_looks_at_work_in_their_languages(project):
    project.review_percent = 100
    project.save()
    make_answers(project, "de", "fr")
    assert annotated(project, make_user(project)) == ["de", "fr"]
    rita = reader(project, "fr", role=Role.REVIEWER)
    assert reviews.take_next(project=project, by=rita).prompt.language == "fr"
    assert reviews.due(project, rita).count() == 0 and reviews.due(project).count() == 1


def test_the_page_says_that_items_are_left_in_other_languages_only(client, project):
    make_answers(project, "pt-BR", "fr", "de")
    user = sign_in(client, project, "annotator")
    Membership.objects.filter(user=user).update(language="de-AT")
    annotated(project, user)
    words = words_of(client, project)
    assert "Nothing is left in your languages" in words
    assert "Items are left in French and Portuguese. You get items in German." in words
    make_answers(project, "de")
    held = assigning.next_for(project=project, user=reader(project, "de"))
    assert held and "Other annotators have the items that are left" in words_of(client, project)
    Assignment.objects.filter(pk=held.pk).update(state="submitted")
    QueueEntry.objects.exclude(language="de").delete()
    assert "You have annotated all your items" in words_of(client, project)


def test_the_project_page_counts_what_its_reader_can_read(client, project):
    user = sign_in(client, project, "researcher")
    make_answers(project, "fr", "fr", "de", "")
    settle(project)

    def alert() -> str:
        alerts = client.get(reverse("project", args=[project.slug])).context["alerts"]
        return next(each.words for each in alerts if each.link == "Annotate")

    assert alert() == "4 prompts wait for annotation."
    Membership.objects.filter(user=user).update(language="de")
    assert alert() == "4 prompts wait for annotation, 2 of them in languages that you read."
    QueueEntry.objects.exclude(language="fr").delete()
    assert alert() == "2 prompts wait for annotation, none of them in languages that you read."


def test_one_language_or_many_cost_as_many_queries(project, django_assert_max_num_queries):
    make_answers(project, *["de"] * 3, *["fr"] * 3, *["es"] * 3)
    settle(project)
    for tags in ("", "de", "de, fr, es"):
        user = reader(project, tags)
        with django_assert_max_num_queries(12):  # on Postgres one is for an id
            assert assigning.next_for(project=project, user=user)


def test_languages_that_were_changed_meanwhile_are_those_that_count(project):
    make_answers(project, "fr", "de")
    settle(project)
    for changed, languages in (("de", ("fr",)), ("fr", ())):
        drawn = assigning.next_for(project=project, user=reader(project, changed), languages=languages)
        assert drawn and drawn.prompt.language == changed
