"""`manage.py erase_person`: nothing names the person any more, what they said stays under a number or counts no more,
and what holds it for good is listed and marked."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.core.db.long_work import claim
from annotate.data.datasets.actions import freeze
from annotate.labelling import actions as feedback
from annotate.models import (
    ApiToken,
    Assignment,
    AuditEntry,
    Battle,
    Comparison,
    Dataset,
    DatasetFreeze,
    Delivery,
    FirstAnswer,
    Invitation,
    LanguageModel,
    Membership,
    Rating,
    Status,
    StatusChange,
    VoteTrace,
    Webhook,
)
from annotate.projects import actions as projects
from evaluation.installation.erasure.erasing import erase as carry_out
from evaluation.installation.erasure.erasing import plan
from evaluation.leaderboard.votes.counts import catch_up
from evaluation.models import Alert, Notice
from tests.support.api_client import Program
from tests.support.evaluation.chains import make_chain, make_run
from tests.support.factories import (
    PASSWORD,
    make_assignment,
    make_comparison,
    make_completion,
    make_model,
    make_pair,
    make_prompt,
    make_token,
    make_user,
)
from training.models import Run
from training.runs.queue import outputs

pytestmark = pytest.mark.django_db
NAME, EMAIL, REAL = "ada.canary", "ada@canary.example", "Ada Canary-Lovelace"
WORDS = ("ada.canary", "canary.example", "canary-lovelace")


@pytest.fixture
def ada(project):
    """A person who has left traces wherever one can."""
    ada = make_user(project, username=NAME, email=EMAIL, first_name="Ada", last_name="Canary-Lovelace", is_staff=True)
    manager = make_user(project, role="manager")
    Webhook.objects.create(project=project, url="https://example.org/x", secret="whsec_eA==", events=["member.changed"])
    projects.add_member(project=project, user=ada, role="researcher", by=manager)
    EmailAddress.objects.create(user=ada, email=EMAIL)
    SocialAccount.objects.create(user=ada, provider="oidc", uid=EMAIL, extra_data={"name": REAL})
    Authenticator.objects.create(user=ada, type="totp", data={"secret": NAME})
    make_token(ada)
    Invitation.objects.create(
        **{"project": project, "token_hash": "0", "email": EMAIL.upper(), "accepted_by": ada},
        expires_at=timezone.now() + timedelta(days=1),
    )
    Client().force_login(ada)
    Program(manager).post(f"projects/{project.slug}/members/", {"username": NAME, "role": "annotator"}, key="k")
    alert = Alert.objects.create(
        project=project, kind="annotator.flagged", about=str(ada.pk), text=f"{NAME} is flagged."
    )
    Notice.objects.create(user=manager, project=project, alert=alert, text=f"Look at {NAME}, please.", url="/")
    assignment = make_assignment(ada, *make_pair(project), sent_back_comment=f"Ask {NAME} again.")
    feedback.submit(assignment=assignment, by=ada, winner="tie", comment=f"I am {REAL}.")
    make_assignment(ada, *make_pair(project))  # in hand
    AuditEntry.objects.create(
        project=project, actor=manager, action="work.given", about=f"3 prompts of {NAME}",
        reason=f"{REAL} asked, {EMAIL}", changes={"people": [None, [NAME, "ada.canary.other"]]},
    )  # fmt: skip
    _vote_in_the_arena(project, ada)
    return ada


def _vote_in_the_arena(project, ada) -> None:
    prompt, models = (
        make_prompt(project, side="eval"),
        [make_model(folder="", endpoint="http://127.0.0.1:9/v1") for _ in range(2)],
    )
    a, b = (make_completion(prompt, model=model) for model in models)
    battle = Battle.objects.create(
        project=project, prompt=prompt, model_a=models[0], model_b=models[1], completion_a=a, completion_b=b, user=ada
    )
    make_comparison(a, b, "model_a", ada, battle=battle, source="arena")
    VoteTrace.objects.create(battle=battle, project=project, address="hash-of-an-address")
    catch_up()


def erase(capsys, name: str = NAME, *words: str) -> str:
    capsys.readouterr()
    call_command("erase_person", name, *words)
    return capsys.readouterr().out


def places_that_name(words: tuple[str, ...]) -> list[str]:
    """Return each field of any row that names somebody: `table.field`."""
    found = []
    for table in apps.get_models():
        for row in table._default_manager.values():
            for field, value in row.items():
                text = json.dumps(value, default=str).lower()
                found += [f"{table.__name__}.{field}" for word in words if word in text]
    return sorted(set(found))


def test_without_do_it_says_what_would_go_and_writes_nothing(ada, capsys):
    before = places_that_name(WORDS)
    assert len(before) > 10
    out = erase(capsys)
    assert "Nothing was written" in out and "deleted: sessions, 1" in out and "deleted: API tokens, 1" in out
    assert "annotations go on counting, under a number" in out
    assert places_that_name(WORDS) == before and not AuditEntry.objects.filter(action="person.erased").exists()


def test_nothing_names_the_person_any_more_and_what_they_said_counts(ada, project, capsys):
    votes = list(Comparison.objects.filter(author=ada).values_list("pk", "winner", "status"))
    assert "the account is erased-" in erase(capsys, NAME, "--do", "--reason", "asked for it")
    left = places_that_name(WORDS)
    # Another account's name is no part of theirs.
    assert left == ["AuditEntry.changes"] and "ada.canary.other" in str(
        AuditEntry.objects.get(action="work.given").changes
    )
    given = AuditEntry.objects.get(action="work.given")
    assert (given.about, given.reason) == (f"3 prompts of erased-{ada.pk}", f"erased-{ada.pk} asked, erased-{ada.pk}")
    assert given.changes["people"][1][0] == f"erased-{ada.pk}"
    ada.refresh_from_db()
    assert (ada.username, ada.email, ada.is_active, ada.is_staff) == (f"erased-{ada.pk}", "", False, False)
    assert not ada.has_usable_password() and not Client().login(username=NAME, password=PASSWORD)
    assert not Session.objects.exists() and not ApiToken.objects.filter(user=ada).exists()
    assert not Membership.objects.filter(user=ada).exists()
    assert not Assignment.objects.filter(user=ada, state="open").exists()
    assert VoteTrace.objects.get(battle__user=ada).address == ""
    assert Delivery.objects.filter(body__data__user=f"erased-{ada.pk}").exists()
    assert list(Comparison.objects.filter(author=ada).values_list("pk", "winner", "status")) == votes
    assert not StatusChange.objects.exists()
    entry = AuditEntry.objects.get(action="person.erased", project=None)
    assert (entry.actor, entry.reason) == (None, "asked for it") and entry.changes["sessions"] == [1, 0]


def test_others_keep_what_is_theirs(ada, project, capsys):
    other = make_user(project, username="ada", email="ada@example.org")
    Client().force_login(other)
    make_token(other)
    erase(capsys, NAME, "--do")
    other.refresh_from_db()
    assert (other.username, other.email, other.is_active) == ("ada", "ada@example.org", True)
    assert Session.objects.count() == 1 and ApiToken.objects.filter(user=other).count() == 1
    assert Membership.objects.filter(user=other).exists()


def test_votes_that_go_count_no_more_and_the_ledger_says_so(ada, project, capsys):
    erase(capsys, NAME, "--do", "--votes", "exclude")
    rows = Comparison.objects.filter(author=ada)
    assert rows.count() == 2 and set(rows.values_list("status", flat=True)) == {Status.EXCLUDED}
    assert StatusChange.objects.filter(after="excluded", by=None).count() == 2


def test_what_is_frozen_is_listed_and_marked_once(project, capsys):
    chain = make_chain(project)
    rita = chain.votes.comparisons.first().author
    name = rita.username
    out = erase(capsys, name)
    assert f"dataset {chain.votes.pk} (votes of July) holds" in out
    assert f"model {chain.reward.pk} (heron-judge) learned from them" in out
    hashes = list(Dataset.objects.order_by("pk").values_list("content_hash", flat=True))
    erase(capsys, name, "--do")
    marked = Dataset.objects.exclude(erased_person_at=None)
    assert chain.votes in marked and marked.count() < Dataset.objects.count()
    models = LanguageModel.objects.exclude(erased_person_at=None)
    assert {chain.reward, chain.ppo} <= set(models) and chain.pretrained not in models
    assert list(Dataset.objects.order_by("pk").values_list("content_hash", flat=True)) == hashes
    entry = AuditEntry.objects.get(action="person.erased", project=project)
    assert "votes of July" in entry.changes["datasets that hold them"][1]
    assert "heron-judge" in entry.changes["models that learned from them"][1]
    moment = Dataset.objects.get(pk=chain.votes.pk).erased_person_at
    erase(capsys, f"erased-{rita.pk}", "--do")
    assert Dataset.objects.get(pk=chain.votes.pk).erased_person_at == moment


def test_what_is_frozen_while_a_person_is_erased_is_marked_or_begun_anew(project, monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "DATASETS_DIR", tmp_path)
    researcher, bo = make_user(project, role="researcher"), make_user(project)
    make_comparison(*make_pair(project), author=bo)
    planned = plan(bo)
    at_once = freeze(project=project, kind="preferences", name="after the plan", by=researcher)
    order = DatasetFreeze.objects.create(
        project=project, created_by=researcher, name="large", kind="preferences", side="train", judge="person"
    )
    hold = claim(DatasetFreeze.objects.filter(pk=order.pk))
    carry_out(planned, votes="exclude", reason="")
    at_once.refresh_from_db()
    assert at_once.erased_person_at and hold is not None and not hold.held.exists()
    order.refresh_from_db()
    assert order.is_under_way and order.claimed_until is None, "it is begun anew, at once"


def test_what_learns_later_from_what_is_marked_is_marked(project, capsys):
    chain = make_chain(project)
    erase(capsys, chain.votes.comparisons.first().author.username, "--do")
    later = [
        make_run("dpo", None, project, name="dpo", parent=chain.pretrained, dataset=chain.votes),
        make_run("sft", None, project, name="sft", parent=chain.ppo),
        make_run("sft", None, project, name="untouched", parent=chain.pretrained),
    ]
    models = [make_model(name=run.name) for run in later]
    for run, model in zip(later, models, strict=True):
        outputs._mark(model, Run.objects.get(pk=run.pk))
        model.refresh_from_db()
    assert [bool(model.erased_person_at) for model in models] == [True, True, False]


def test_pages_and_the_api_show_the_mark(project, client, capsys):
    chain = make_chain(project)
    erase(capsys, chain.votes.comparisons.first().author.username, "--do")
    manager = make_user(project, role="manager")
    client.force_login(manager)
    said = "whose data was erased"
    assert said in client.get(reverse("dataset", args=[chain.votes.pk])).content.decode()
    assert said in client.get(reverse("model", args=[chain.reward.pk])).content.decode()
    assert said not in client.get(reverse("model", args=[chain.pretrained.pk])).content.decode()
    assert Program(manager).get(f"datasets/{chain.votes.pk}/").json()["erased_person_at"]


def test_again_it_changes_nothing_and_the_old_name_is_gone(ada, capsys):
    erase(capsys, NAME, "--do")
    entries = AuditEntry.objects.count()
    out = erase(capsys, f"erased-{ada.pk}", "--do")
    assert "is erased already" in out and AuditEntry.objects.count() == entries
    with pytest.raises(CommandError, match="There is no account"):
        call_command("erase_person", NAME)


def test_votes_may_go_later(ada, capsys):
    erase(capsys, NAME, "--do")
    erase(capsys, f"erased-{ada.pk}", "--do", "--votes", "exclude")
    assert set(Comparison.objects.filter(author=ada).values_list("status", flat=True)) == {Status.EXCLUDED}


def test_the_only_manager_of_a_project_is_not_erased(project, capsys):
    boss = make_user(project, username="boss", role="manager")
    with pytest.raises(CommandError, match=f"only manager of {project.slug}"):
        call_command("erase_person", "boss", "--do")
    boss.refresh_from_db()
    assert boss.is_active and Membership.objects.filter(user=boss).exists()


def test_a_short_name_is_no_part_of_a_word_nor_a_word_of_a_sentence(project, capsys):
    make_user(project, username="is")
    AuditEntry.objects.create(project=project, action="x", about="is", reason="this is so", changes={})
    erase(capsys, "is", "--do")
    entry = AuditEntry.objects.get(action="x")
    assert entry.about.startswith("erased-") and entry.reason == "this is so"


def test_an_installation_is_whole_afterwards(installation, capsys):
    author = Comparison.objects.exclude(author=None).first().author
    Rating.objects.filter(author=author).update(comment="mine")
    FirstAnswer.objects.create(who=f"user:{author.pk}", key="k", request_hash="0", body={"a": author.username})
    erase(capsys, author.username, "--do")
    call_command("verify")
    erase(capsys, f"erased-{author.pk}", "--do", "--votes", "exclude")
    catch_up()
    call_command("verify")
