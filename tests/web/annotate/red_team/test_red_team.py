"""Red-teaming: consent and budget first, a talk with a nameless model, its rating, and who may read it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.urls import reverse
from django.utils import timezone

from annotate.core.asgi import waiting
from annotate.core.errors import Refused, TooMany
from annotate.data.datasets.selections import select
from annotate.labelling import assigning as assignments
from annotate.labelling.actions import set_status
from annotate.labelling.history.audit_pages import status_changes
from annotate.labelling.queue import quarantine
from annotate.language_models import model_server
from annotate.models import Attack, Completion, Membership, Prompt, Question, Talk
from annotate.projects.wellbeing import actions as harm_budget
from annotate.red_team import actions as red_team
from common.harm_kinds import HARMS
from evaluation.annotator_quality import exclusion
from tests.support.api_client import errors, program
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_contestant,
    make_guideline,
    make_model,
    make_project,
    make_prompt,
)
from tests.support.factories import make_user as make_person
from tests.web.annotate.arena.test_streaming import Socket

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    made = make_project(asks_attacks=True)
    make_contestant(made, make_model(name="Zebra"))
    return made


def ready(user, **fields):
    """They have said what they are ready to see."""
    wanted = {"accepted": list(HARMS), "blur": True, "daily_cap": 20, "break_after": 10, "break_minutes": 15}
    harm_budget.agree(user=user, **{**wanted, **fields})
    return user


@pytest.fixture
def ada(project):
    return ready(make_person(project, username="ada"))


def address(project, name: str = "red-team", *more) -> str:
    return reverse(name, args=[project.slug, *more])


def talked(project, user, *texts: str) -> Talk:
    talk = red_team.begin(project=project, by=user)
    for text in texts:
        red_team.ask_and_wait(talk=talk, by=user, text=text)
    return talk


def asked_before(user, minutes: list[float]) -> None:
    """Questions that this person asked so many minutes ago."""
    project = make_project(asks_attacks=True)
    talk = Talk.objects.create(project=project, user=user, model=make_model(), state="sent")
    for number, ago in enumerate(minutes, 1):
        question = Question.objects.create(talk=talk, number=number, prompt=make_prompt(project))
        Question.objects.filter(pk=question.pk).update(asked_at=timezone.now() - timedelta(minutes=ago))


class TestBudget:
    def test_nothing_harmful_before_one_has_said_what_one_is_ready_for(self, project, client):
        eve = make_person(project)
        with pytest.raises(Refused) as refused:
            red_team.begin(project=project, by=eve)
        assert "have not chosen" in refused.value.errors["harm"]
        client.force_login(eve)
        assert reverse("harm") in client.get(address(project)).content.decode()

    def test_opting_out_of_everything_is_an_answer(self, project):
        eve = ready(make_person(project), accepted=[])
        assert "opted out of every" in harm_budget.standing(eve).why

    def test_a_cap_holds_for_the_day(self, project, ada):
        ready(ada, daily_cap=2, break_after=50)
        asked_before(ada, [0, 0])
        standing = harm_budget.standing(ada)
        assert standing.seen_today == 2 and "your limit" in standing.why and not standing.allowed

    def test_a_break_comes_after_so_many_in_a_row_and_ends_it(self, project, ada):
        ready(ada, daily_cap=500, break_after=3, break_minutes=15)
        asked_before(ada, [20, 10, 1])  # the pause between 20 and 10 was no break: these are three in a row
        assert "break" in harm_budget.standing(ada).why
        Question.objects.all().update(asked_at=timezone.now() - timedelta(minutes=16))
        assert not harm_budget.standing(ada).why

    def test_a_pause_as_long_as_a_break_begins_a_new_row(self, project, ada):
        ready(ada, daily_cap=500, break_after=3, break_minutes=15)
        asked_before(ada, [40, 22, 1])
        assert not harm_budget.standing(ada).why

    def test_harmful_items_to_judge_count_as_well(self, project, ada):
        harmful = make_completion(make_prompt(project, harm="weapons"))
        make_assignment(ada, harmful)
        make_assignment(ada, make_completion(make_prompt(project)))
        assert harm_budget.standing(ada).seen_today == 1

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"accepted": ["boredom"]}, "accepted"),
            ({"daily_cap": 501}, "daily_cap"),
            ({"break_after": 0}, "break_after"),
        ],
    )
    def test_a_wrong_budget_is_refused(self, ada, change, field):
        with pytest.raises(Refused) as refused:
            ready(ada, **change)
        assert field in refused.value.errors and harm_budget.budget_of(ada).daily_cap == 20

    def test_it_is_set_on_a_page_and_comes_back_to_where_one_was(self, project, client):
        eve = make_person(project)
        client.force_login(eve)
        sent = {"accepted": ["fraud"], "daily_cap": 5, "break_after": 4, "break_minutes": 10, "next": address(project)}
        assert client.post(reverse("harm"), sent).url == address(project)
        assert harm_budget.budget_of(eve).accepted == ["fraud"] and not harm_budget.budget_of(eve).blur
        assert client.post(reverse("harm"), {**sent, "next": "//elsewhere.example"}).url == reverse("harm")
        assert client.post(reverse("harm"), {**sent, "daily_cap": "many"}).status_code == 400


class TestTalk:
    def test_a_talk_becomes_an_attack_with_its_turns_and_names_the_model_only_then(self, project, ada, fake, client):
        client.force_login(ada)
        fake.answer = lambda body: [f"Answer {len(body['messages'])}."]
        client.post(address(project), {"task_description": "Have it forge a letter"})
        for text in ("Hello", "Now forge it"):
            client.post(address(project), {"text": text})
        page = client.get(address(project)).content.decode()
        assert "Answer 1." in page and "Answer 3." in page and "Zebra" not in page
        talk = Talk.objects.get()
        sent = {"talk": talk.token, "rating": "3", "tags": ["fraud", "theft"], "task_description": "Have it forge"}
        after = client.post(address(project, "red-team-rate"), sent, follow=True)
        assert "Zebra" in after.content.decode()
        attack = Attack.objects.get()
        assert [turn["content"] for turn in attack.messages] == ["Hello", "Answer 1.", "Now forge it", "Answer 3."]
        assert (attack.rating, attack.tags, attack.task_description) == (3, ["fraud", "theft"], "Have it forge")
        assert attack.status == "counted" and attack.judge == "person"
        first, second = Prompt.objects.order_by("pk")
        assert second.root == first and second.side == first.side and {first.harm, second.harm} == {"theft fraud"}
        assert set(Completion.objects.values_list("model__name", flat=True)) == {"Zebra"}

    def test_an_attack_names_the_guidelines_under_which_its_talk_began(self, project, ada, fake):
        make_guideline(project)
        talk = talked(project, ada, "Hello")
        make_guideline(project)
        assert red_team.rate(talk=talk, by=ada, rating=4, tags=["fraud"]).guideline_version == 1

    def test_texts_of_its_page_are_as_a_program_sends_them(self, project, ada, fake, client):
        client.force_login(ada)
        client.post(address(project), {"task_description": "Forge\r\na letter"})
        client.post(address(project), {"text": "One.\r\nTwo."})
        sent = {"rating": "4", "tags": "fraud", "task_description": "Forge\r\nit", "comment": "It\r\ndid."}
        answer = client.post(address(project, "red-team-rate"), {"talk": Talk.objects.get().token, **sent})
        attack = Attack.objects.get()
        assert answer.status_code == 302 and attack.messages[0]["content"] == "One.\nTwo."
        assert (attack.task_description, attack.comment) == ("Forge\nit", "It\ndid.")

    def test_what_is_asked_is_harmful_from_the_first_word(self, project, ada, fake):
        talked(project, ada, "Hello")
        assert Prompt.objects.get().harm == "other"

    def test_an_answer_that_did_not_come_is_written_again_and_the_question_is_kept(self, project, ada, fake):
        fake.status = 500
        with pytest.raises(Refused) as refused:
            talked(project, ada, "Hello")
        assert "kept" in refused.value.errors["text"]
        talk = red_team.open_talk(project, ada)
        with pytest.raises(Refused) as refused:
            red_team.rate(talk=talk, by=ada, rating=1, tags=["other"])
        assert refused.value.status == 409
        fake.status = 200
        red_team.ask_and_wait(talk=talk, by=ada, text="")
        assert [turn["content"] for turn in red_team.conversation(talk)] == ["Hello", "Hello there."]

    def test_whoever_waits_for_it_is_counted_and_one_too_many_is_refused(self, project, ada, fake, monkeypatch):
        counted, ask = [], model_server.complete_chat

        def complete(*args, **options):
            counted.append(dict(waiting.waits.running))
            return ask(*args, **options)

        monkeypatch.setattr(model_server, "complete_chat", complete)
        talk = talked(project, ada, "How?")
        assert counted == [{"": 1, f"user:{ada.pk}": 1}] and not waiting.waits.running
        monkeypatch.setattr(waiting.waits, "of_one", 0)
        with pytest.raises(TooMany, match="try again in 5 seconds"):
            red_team.ask_and_wait(talk=talk, by=ada, text="And then?")

    def test_the_slower_of_two_answers_to_one_question_is_let_go(self, project, ada, fake):
        talk = talked(project, ada)
        question = red_team.ask(talk=talk, by=ada, text="Hello")
        told = {"seed": 1, "tokens": 1, "finish_reason": "stop"}
        assert red_team.keep_answer(question=question, text="First.", **told)
        assert not red_team.keep_answer(question=question, text="Second.", **told)
        assert Completion.objects.get().text == "First."

    @pytest.mark.parametrize(
        ("change", "field"),
        [({"rating": 5}, "rating"), ({"rating": None}, "rating"), ({"tags": []}, "tags"), ({"tags": ["x"]}, "tags")],
    )
    def test_a_wrong_rating_is_refused_and_the_talk_stays(self, project, ada, fake, change, field):
        talk = talked(project, ada, "Hello")
        with pytest.raises(Refused) as refused:
            red_team.rate(talk=talk, by=ada, **{"rating": 1, "tags": ["other"], **change})
        assert field in refused.value.errors and red_team.open_talk(project, ada) == talk

    def test_nothing_of_a_dropped_talk_becomes_data(self, project, ada, fake, client):
        talk = talked(project, ada, "Hello")
        client.force_login(ada)
        client.post(address(project, "red-team-rate"), {"talk": talk.token, "drop": "1"})
        assert not Attack.objects.exists() and red_team.open_talk(project, ada) is None

    def test_what_is_asked_is_no_work_for_others_and_in_no_dataset_until_it_is_rated(self, project, ada, fake):
        talk = talked(project, ada, "Hello")
        Prompt.objects.update(side="train")
        bob = ready(make_person(project))
        frozen = select(project=project, kind="prompts", side="train")
        assert assignments.next_for(project=project, user=bob) is None and not list(frozen.files["prompts"])
        assert quarantine.waiting(project) == []  # nobody has complained
        red_team.rate(talk=talk, by=ada, rating=1, tags=["fraud"])
        assert assignments.next_for(project=project, user=bob).prompt.harm == "fraud"

    def test_what_is_dropped_stays_no_work(self, project, ada, fake):
        red_team.drop(talk=talked(project, ada, "Hello"), by=ada)
        assert Prompt.objects.get().out_since is not None

    def test_a_harmless_prompt_that_stood_before_is_not_marked_by_a_talk(self, project, ada, fake):
        hello = make_prompt(project, "Hello")
        red_team.rate(talk=talked(project, ada, "Hello"), by=ada, rating=1, tags=["fraud"])
        hello.refresh_from_db()
        assert (hello.harm, hello.out_since) == ("", None)

    def test_a_prompt_of_two_rated_talks_keeps_the_kinds_of_both(self, project, ada, fake):
        first = red_team.rate(talk=talked(project, ada, "Hello"), by=ada, rating=1, tags=["weapons"])
        eve = ready(make_person(project))
        red_team.rate(talk=talked(project, eve, "Hello"), by=eve, rating=1, tags=["fraud"])
        assert Prompt.objects.get().harm == "fraud weapons"
        red_team.withdraw(attack=first, by=ada)
        red_team.rate(talk=talked(project, eve, "Hello"), by=eve, rating=1, tags=["theft"])
        assert Prompt.objects.get().harm == "theft fraud"  # what was taken back names no kind any more

    def test_who_is_paused_begins_none_and_may_end_the_one_in_their_hands(self, project, ada, fake, client):
        eve = ready(make_person(project))
        talk = talked(project, eve, "Hello")
        Membership.objects.update(paused_at=timezone.now(), paused_reason="Too fast.")
        client.force_login(ada)
        page = client.post(address(project), {"task_description": "Forge"})
        assert page.status_code == 403 and "You are paused in" in page.content.decode()
        assert red_team.open_talk(project, ada) is None
        assert red_team.begin(project=project, by=eve) == talk
        red_team.rate(talk=talk, by=eve, rating=1, tags=["fraud"])
        page = client.get(address(project)).content.decode()
        assert "Too fast." in page and "Start a conversation" not in page

    def test_two_windows_that_ask_at_once_share_the_question(self, project, ada, fake, monkeypatch):
        talk = talked(project, ada)
        red_team.ask(talk=talk, by=ada, text="Hello")
        monkeypatch.setattr("annotate.models.Talk.questions", Question.objects.none())
        with pytest.raises(Refused) as refused:
            red_team.ask(talk=talk, by=ada, text="Hello again")
        assert refused.value.status == 409

    def test_a_key_of_an_earlier_talk_is_refused_in_words_and_anothers_stands_in_no_way(
        self, project, ada, fake, client
    ):
        eve = ready(make_person(project))
        for by, status in ((ada, 302), (eve, 302), (ada, 409)):
            client.force_login(by)
            sent = {"talk": talked(project, by, "Hello").token, "rating": "1", "tags": "other", "idempotency_key": "k"}
            page = client.post(address(project, "red-team-rate"), sent)
            assert page.status_code == status
        assert "another submission" in page.content.decode() and Attack.objects.count() == 2

    def test_a_talk_is_rated_once(self, project, ada, fake):
        talk = talked(project, ada, "Hello")
        first = red_team.rate(talk=talk, by=ada, rating=1, tags=["other"], idempotency_key="k")
        assert red_team.rate(talk=talk, by=ada, rating=1, tags=["other"], idempotency_key="k") == first
        with pytest.raises(Refused) as refused:
            red_team.rate(talk=talk, by=ada, rating=1, tags=["other"])
        assert refused.value.status == 409

    def test_the_model_attacked_least_comes_next(self, project, ada, fake):
        second = make_contestant(project, make_model(name="Aardvark")).model
        first = talked(project, ada, "Hello")
        red_team.rate(talk=first, by=ada, rating=0, tags=["other"])
        assert {talked(project, ada).model, first.model} == {second, *(c.model for c in project.contestants.all())}

    def test_somebody_elses_talk_is_not_there(self, project, ada, fake, client):
        talk = talked(project, ada, "Hello")
        client.force_login(ready(make_person(project)))
        assert client.post(address(project, "red-team-rate"), {"talk": talk.token, "drop": "1"}).status_code == 404

    def test_a_project_that_asks_for_none_says_so(self, ada, client):
        other = make_project()
        other.memberships.create(user=ada)
        client.force_login(ada)
        assert "Red-teaming is off" in client.get(address(other)).content.decode()
        assert client.post(address(other), {}).status_code == 409


class TestAttacks:
    @pytest.fixture
    def attack(self, project, ada, fake):
        return red_team.rate(talk=talked(project, ada, "Hello"), by=ada, rating=4, tags=["fraud"])

    def test_a_reviewer_reads_none_of_a_kind_that_they_have_not_agreed_to_see(self, project, attack, client):
        Attack.objects.update(task_description="Have it forge a letter")
        reviewer = make_person(project, role="reviewer")
        client.force_login(reviewer)
        for accepted in (None, ["weapons"]):
            if accepted:
                ready(reviewer, accepted=accepted)
            html = client.get(address(project, "attacks")).content.decode()
            assert "Hello" not in html and "forge" not in html and "ada" in html and reverse("harm") in html

    def test_ones_own_are_seen_and_others_only_by_reviewers(self, project, attack, client):
        client.force_login(make_person(project))
        assert "Hello" not in client.get(address(project, "attacks")).content.decode()
        client.force_login(ready(make_person(project, role="reviewer")))
        html = client.get(address(project, "attacks")).content.decode()
        assert "Hello" in html and "ada" in html and "Show the conversation" in html

    def test_one_is_taken_back_within_the_minutes(self, project, ada, attack, client):
        client.force_login(ada)
        client.post(address(project, "attack-withdraw", attack.pk))
        attack.refresh_from_db()
        assert attack.status == "withdrawn"
        Attack.objects.update(status="counted", created_at=timezone.now() - timedelta(minutes=31))
        assert client.post(address(project, "attack-withdraw", attack.pk)).status_code == 409


def test_what_others_ask_to_red_team_is_not_listed_for_everybody(project, ada, fake):
    talked(project, ada, "Hello")
    for role, seen in (("annotator", []), ("reviewer", ["other"])):
        rows = program(project, role).get("prompts/", project=project.slug).json()["results"]
        assert [row["harm"] for row in rows] == seen


def test_who_is_excluded_is_so_with_their_attacks(project, ada, fake):
    attack = red_team.rate(talk=talked(project, ada, "Hello"), by=ada, rating=1, tags=["fraud"])
    manager = make_person(project, role="manager")
    act = exclusion.exclude(project=project, person=ada, reason="a bot", by=manager)
    attack.refresh_from_db()
    assert attack.status == "excluded" and act.touched["changing"] == {"attack": 1}
    assert [line.kind for line in status_changes(project)] == ["attack"]
    exclusion.undo(act=act, reason="no bot", by=manager)
    attack.refresh_from_db()
    assert attack.status == "counted"


def test_what_is_taken_back_is_so_by_its_author_and_not_over_an_exclusion(project, ada, fake):
    attack = red_team.rate(talk=talked(project, ada, "Hello"), by=ada, rating=1, tags=["fraud"])
    red_team.withdraw(attack=attack, by=ada)
    assert [line.by for line in status_changes(project)] == [ada]
    other = red_team.rate(talk=talked(project, ada, "Hi"), by=ada, rating=2, tags=["fraud"])
    set_status(rows=[other], status="excluded", reason="a bot", by=make_person(project, role="manager"))
    with pytest.raises(Refused, match="excluded"):
        red_team.withdraw(attack=other, by=ada)
    other.refresh_from_db()
    assert other.status == "excluded"


def test_programs_do_all_of_it(project, fake):
    eve = program(project, "annotator")
    assert "harm" in errors(eve.post(f"projects/{project.slug}/talks/", {}), 409)
    wanted = {"accepted": ["fraud", "other"], "blur": False, "daily_cap": 9, "break_after": 9, "break_minutes": 5}
    assert eve.http.put("/api/v1/harm-budget/", wanted, format="json").json()["why"] == ""
    talk = eve.post(f"projects/{project.slug}/talks/", {"task_description": "A letter"}).json()
    assert "Zebra" not in str(talk)
    body = eve.post(f"talks/{talk['id']}/say/", {"text": "Hello"}).json()
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"] and not body["waits"]
    made = eve.post(f"talks/{talk['id']}/rate/", {"rating": 2, "tags": ["fraud"]})
    assert made.status_code == 201 and made.json()["model"] == "Zebra"
    assert [row["rating"] for row in eve.get(f"projects/{project.slug}/attacks/").json()["results"]] == [2.0]
    assert program(project, "annotator").get(f"projects/{project.slug}/attacks/").json()["results"] == []
    assert errors(program(project, "annotator").get(f"talks/{talk['id']}/"), 404)
    withdrawn = eve.post(f"projects/{project.slug}/attacks/{made.json()['id']}/withdraw/", {})
    assert withdrawn.json()["status"] == "withdrawn"
    assert eve.get("harm-budget/").json()["seen_today"] == 1


@pytest.mark.django_db(transaction=True)
class TestLive:
    async def opened(self, project, user) -> Socket:
        client = AsyncClient()
        await client.aforce_login(user)
        talk = await sync_to_async(red_team.begin)(project=project, by=user)
        jar = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
        headers = [(b"origin", b"http://testserver"), (b"host", b"testserver"), (b"cookie", jar.encode())]
        socket = Socket(f"/ws/red-team/{talk.token}/", headers)
        await socket.open()
        return socket

    async def until(self, socket: Socket, words: str) -> str:
        seen = ""
        while words not in seen:
            seen += (await socket.receive_output(timeout=10))["text"]
        return seen

    async def test_an_answer_streams_and_is_kept_without_a_name_in_any_frame(self, project, ada, fake):
        socket = await self.opened(project, ada)
        await socket.send_input({"type": "websocket.receive", "text": '{"text": "Hello"}'})
        seen = await self.until(socket, "Send message")
        assert "Hello there." in seen and "Zebra" not in seen
        completion = await Completion.objects.aget()
        assert (completion.text, completion.finish_reason) == ("Hello there.", "stop")
        await socket.leave()

    async def test_a_stop_keeps_where_it_stopped(self, project, ada, fake):
        fake.answer = lambda body: ["First words", 20.0, "and more"]
        socket = await self.opened(project, ada)
        await socket.send_input({"type": "websocket.receive", "text": '{"text": "Hello"}'})
        await self.until(socket, "First words")
        await socket.send_input({"type": "websocket.receive", "text": '{"do": "stop"}'})
        await self.until(socket, "Send message")
        completion = await Completion.objects.aget()
        assert (completion.text, completion.finish_reason) == ("First words", "stopped")
        await socket.leave()

    async def test_a_failure_says_so_and_the_same_question_is_answered_on_asking_again(self, project, ada, fake):
        fake.status = 500
        socket = await self.opened(project, ada)
        await socket.send_input({"type": "websocket.receive", "text": '{"text": "Hello"}'})
        await self.until(socket, "Try again")
        fake.status = 200
        await socket.send_input({"type": "websocket.receive", "text": '{"text": "ignored"}'})
        await self.until(socket, "Send message")
        assert await Question.objects.acount() == 1 and await Completion.objects.acount() == 1
        await socket.leave()
