"""The playground: who may talk with whom, what is sent to the model, the live page, and that nothing is kept."""

from __future__ import annotations

import html
import json
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.models import Completion, LanguageModel, Project, Prompt
from annotate.playground import turns as playground
from tests.support import factories
from tests.web.annotate.arena.test_streaming import Socket

pytestmark = pytest.mark.django_db


@pytest.fixture
def base(project) -> LanguageModel:
    return factories.make_contestant(project, factories.make_model(name="Aardvark", folder="models/a")).model


@pytest.fixture
def child(project, base) -> LanguageModel:
    model = factories.make_model(name="Zebra", folder="models/z", parent=base)
    return factories.make_contestant(project, model).model


@pytest.fixture
def rita(project):
    return factories.make_user(project, role="researcher")


def address(model: LanguageModel, beside: LanguageModel | None = None) -> str:
    return reverse("playground", args=[model.pk]) + (f"?beside={beside.pk}" if beside else "")


def nothing_was_kept() -> bool:
    return not Prompt.objects.exists() and not Completion.objects.exists()


@pytest.mark.parametrize(
    "sent",
    [
        {"text": "\ud800"},
        {"text": "Why?", "temperature": 10**400},
        {"text": "Why?", "conversation": "[" * 90_000},
        {"text": "Why?", "conversation": '[{"prompt": "\\ud800", "answers": []}]'},
        {"text": "Why?", "conversation": '[{"prompt": "Why?", "answers": ["\\u0000"]}]'},
    ],
)
def test_what_no_page_and_no_server_takes_is_refused_by_name(project, base, sent):
    with pytest.raises(Refused) as refused:
        playground.question_of(sent, project, base)
    assert list(refused.value.errors) == [list(sent)[-1]]


def test_another_model_comes_in_without_a_new_conversation(client, base, child, rita, fake):
    client.force_login(rita)
    told = json.dumps([{"prompt": "Why is the sky blue?", "answers": ["It scatters light.", "Nobody knows."]}])
    sent = {"do": "beside", "beside": child.pk, "conversation": told}
    page = client.post(address(base), sent)
    text = html.unescape(page.content.decode())
    assert "It scatters light." in text and "Nobody knows." not in text, "that was another model's"
    assert f'action="{address(base, child)}"' in text and not fake.requests
    client.post(address(base, child), {"text": "And at dusk?", "conversation": page.context["conversation"]})
    said = [[message["content"] for message in request["messages"]] for request in fake.requests]
    assert said == [["Why is the sky blue?", "It scatters light.", "And at dusk?"]] * 2
    alone = client.post(address(base, child), {"do": "beside", "beside": "", "conversation": told})
    assert alone.context["beside"] is None and "It scatters light." in alone.content.decode()
    assert client.post(address(base), {"do": "beside", "conversation": "{"}).status_code == 400
    assert nothing_was_kept()


class TestWho:
    @pytest.mark.parametrize("role", ["annotator", "reviewer"])
    def test_whoever_judges_blind_does_not_get_there(self, client, project, base, fake, role):
        client.force_login(factories.make_user(project, role=role))
        assert client.get(address(base)).status_code == 403
        assert client.post(address(base), {"text": "Why?"}).status_code == 403
        assert not fake.requests

    def test_a_visitor_is_asked_to_sign_in(self, client, base, fake):
        assert client.post(address(base), {"text": "Why?"}).status_code == 302
        assert not fake.requests

    def test_a_researcher_who_judges_the_model_blind_elsewhere_does_not_either(self, client, base, rita):
        elsewhere = factories.make_project(name="Elsewhere")
        factories.make_contestant(elsewhere, base)
        client.force_login(rita)
        assert client.get(address(base)).status_code == 200
        elsewhere.memberships.create(user=rita, role="annotator")
        response = client.get(address(base))
        assert response.status_code == 403 and "Elsewhere" in response.content.decode()

    def test_a_model_that_answers_nothing_has_none(self, client, project, rita):
        reward = factories.make_model(kind="reward")
        factories.make_contestant(project, reward)
        client.force_login(rita)
        assert client.get(address(reward)).status_code == 400

    def test_a_second_model_must_be_one_to_talk_with_too(self, client, base, rita):
        client.force_login(rita)
        assert client.get(address(base, factories.make_model(kind="reward"))).status_code == 400
        assert client.get(address(base) + "?beside=99999").status_code == 404
        assert client.get(address(base) + "?beside=x").status_code == 404


class TestWithoutJavaScript:
    def test_the_whole_answer_comes_with_the_page(self, client, base, rita, fake):
        client.force_login(rita)
        given = {"text": "Why?", "temperature": "0.3", "top_p": "0.8", "max_new_tokens": "12", "seed": "5"}
        page = client.post(address(base), given | {"system": "Be brief."}).content.decode()
        assert "Hello there." in page and "seed 5" in page
        sent = fake.requests[0]
        assert (sent["temperature"], sent["top_p"], sent["max_tokens"], sent["seed"]) == (0.3, 0.8, 12, 5)
        assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
        assert nothing_was_kept()

    def test_two_models_go_on_each_from_its_own_answers(self, client, base, child, rita, fake):
        fake.answer = lambda body: [f"I am {body['model'][-1]}."]
        client.force_login(rita)
        first = client.post(address(child, base), {"text": "Who?"})
        second = client.post(address(child, base), {"text": "And?", "conversation": first.context["conversation"]})
        assert second.content.decode().count("I am z.") >= 2
        by_model = {body["model"][-1]: body["messages"] for body in fake.requests[2:]}
        for letter in "az":
            assert [m["content"] for m in by_model[letter]] == ["Who?", f"I am {letter}.", "And?"]

    def test_what_is_wrong_is_said_by_field_and_nothing_is_asked(self, client, base, rita, fake):
        client.force_login(rita)
        response = client.post(address(base), {"text": "Why?", "temperature": "3", "max_new_tokens": "1.5"})
        page = response.content.decode()
        assert response.status_code == 400 and not fake.requests
        assert "Enter a number from 0 to 2" in page and "Enter a whole number from 1 to 4,096" in page
        assert ">Why?</textarea>" in page

    def test_a_server_that_fails_is_told_in_the_answers_place(self, client, base, rita, fake):
        fake.status, fake.error = 500, "no such folder"
        client.force_login(rita)
        page = client.post(address(base), {"text": "Why?"}).content.decode()
        assert "The model server failed at this answer" in page and "no such folder" in page


class TestQuestion:
    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"text": " "}, "text"),
            ({"text": "x" * 20_001}, "text"),
            ({"text": "x", "temperature": "nan"}, "temperature"),
            ({"text": "x", "top_p": "0"}, "top_p"),
            ({"text": "x", "max_new_tokens": "0"}, "max_new_tokens"),
            ({"text": "x", "seed": "-1"}, "seed"),
            ({"text": "x", "seed": ["1"]}, "seed"),
            ({"text": "x", "conversation": "{"}, "conversation"),
            ({"text": "x", "conversation": '[{"prompt": 1}]'}, "conversation"),
            ({"text": "x", "conversation": "[1]"}, "conversation"),
            ({"text": "x", "conversation": json.dumps([{"prompt": "a", "answers": []}] * 41)}, "conversation"),
            ({"text": "x", "conversation": " " * 100_001}, "conversation"),
        ],
    )
    def test_what_cannot_be_asked_is_refused_by_field(self, given, field):
        with pytest.raises(Refused) as caught:
            playground.question_of(given, Project(), LanguageModel())
        assert list(caught.value.errors) == [field]

    def test_without_a_seed_each_question_gets_another(self):
        assert (
            playground.question_of({"text": "x"}, Project(), LanguageModel()).seed
            != playground.question_of({"text": "x"}, Project(), LanguageModel()).seed
        )

    def test_a_question_that_failed_is_not_part_of_what_was_said(self):
        said = json.dumps([{"prompt": "lost", "answers": [""]}, {"prompt": "a", "answers": ["b"]}])
        messages = playground.question_of({"text": "c", "conversation": said}, Project(), LanguageModel()).messages(0)
        assert [m["content"] for m in messages] == ["a", "b", "c"]


class TestKeeping:
    def test_a_question_is_kept_as_a_prompt_when_asked_to(self, client, project, base, rita):
        client.force_login(rita)
        url = reverse("playground-keep", args=[base.pk])
        page = client.post(url, {"text": "Why is it so?"}, headers={"HX-Request": "true"}).content.decode()
        prompt = Prompt.objects.get()
        assert (prompt.project, prompt.source, prompt.created_by) == (project, "playground", rita)
        assert f"prompt {prompt.pk}" in page and f"{prompt.side} split" in page
        assert client.post(url, {"text": "Why is it so?"}).status_code == 302

    def test_an_empty_one_is_not_and_others_may_not(self, client, project, base, rita):
        url = reverse("playground-keep", args=[base.pk])
        client.force_login(factories.make_user(project))
        client.post(url, {"text": "Why?"})
        client.force_login(rita)
        assert "error" in client.post(url, {"text": " "}, headers={"HX-Request": "true"}).content.decode()
        assert not Prompt.objects.exists()


@pytest.mark.django_db(transaction=True)
class TestLive:
    @pytest.fixture
    async def talk(self, base, child, rita, fake) -> AsyncIterator[Talk]:
        client = AsyncClient()
        await client.aforce_login(rita)
        talk = Talk(client, f"/ws/models/{child.pk}/playground/{base.pk}/")
        await talk.open()
        yield talk
        await talk.socket.leave()

    async def test_both_answers_come_as_they_are_written_and_can_be_gone_on_from(self, talk, fake):
        fake.answer = lambda body: ["One ", 0.25, f"from {body['model'][-1]}."]
        frames = await talk.ask(text="Who?", seed="3")
        assert '<div id="turns" hx-swap-oob="beforeend">' in frames[0] and "Stop" in frames[0]
        assert any("One " in frame and "from z." not in frame for frame in frames)
        written = "".join(frames)
        assert "from z." in written and "from a." in written and "seed 3" in written
        conversation = await talk.conversation(frames)
        assert conversation == [{"prompt": "Who?", "answers": ["One from z.", "One from a."]}]
        await talk.ask(text="And?", conversation=json.dumps(conversation))
        contents = {body["model"][-1]: [m["content"] for m in body["messages"]] for body in fake.requests[2:]}
        assert contents == {x: ["Who?", f"One from {x}.", "And?"] for x in "az"}
        assert await sync_to_async(nothing_was_kept)()

    async def test_stopping_keeps_what_was_written(self, talk, fake):
        fake.answer = lambda body: ["One ", 20.0, "late"]
        await talk.tell(text="Who?")
        frames = []
        while "One " not in "".join(frames):
            frames.append(await talk.next())
        await talk.tell(do="stop")
        frames = await talk.until_done()
        assert "stopped by you" in "".join(frames)
        assert [a.strip() for a in (await talk.conversation(frames))[0]["answers"]].count("One") >= 1

    async def test_one_question_at_a_time(self, talk, fake):
        fake.answer = lambda body: ["One ", 0.4, "two."]
        await talk.tell(text="First?")
        await talk.tell(text="Second?")
        await talk.until_done()
        assert {body["messages"][-1]["content"] for body in fake.requests} == {"First?"}

    async def test_what_cannot_be_asked_is_said_and_the_page_goes_on(self, talk, fake):
        await talk.tell(text="x", temperature="9")
        assert "Enter a number from 0 to 2" in await talk.next()
        await talk.socket.send_input({"type": "websocket.receive", "text": "not json"})
        await talk.socket.send_input({"type": "websocket.receive", "text": "[1]"})
        assert "there." in "".join(await talk.ask(text="Who?"))

    async def test_a_server_that_fails_on_one_side_leaves_the_other(self, talk, fake):
        fake.answer = lambda body: [b'data: {"error": "no memory"}\n\n'] if body["model"][-1] == "a" else ["Fine."]
        frames = "".join(await talk.ask(text="Who?"))
        assert "Fine." in frames and "no memory" in frames

    async def test_an_annotator_is_shown_the_door(self, base, project, fake):
        client = AsyncClient()
        await client.aforce_login(await sync_to_async(factories.make_user)(project))
        for who in (client, AsyncClient()):
            talk = Talk(who, f"/ws/models/{base.pk}/playground/")
            await talk.open()
            assert (await talk.socket.receive_output(timeout=5))["type"] == "websocket.close"


class Talk:
    """A page's websocket, as htmx speaks on it."""

    def __init__(self, client: AsyncClient, path: str) -> None:
        jar = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
        headers = [(b"origin", b"http://testserver"), (b"host", b"testserver"), (b"cookie", jar.encode())]
        self.socket = Socket(path, headers)

    async def open(self) -> None:
        await self.socket.open()

    async def tell(self, **fields: str) -> None:
        await self.socket.send_input({"type": "websocket.receive", "text": json.dumps({**fields, "HEADERS": {}})})

    async def next(self) -> str:
        return (await self.socket.receive_output(timeout=10))["text"]

    async def until_done(self) -> list[str]:
        frames = [await self.next()]
        while 'id="conversation"' not in frames[-1]:
            frames.append(await self.next())
        return frames

    async def ask(self, **fields: str) -> list[str]:
        await self.tell(**fields)
        return await self.until_done()

    async def conversation(self, frames: list[str]) -> list[dict]:
        """What the hidden field of the page holds at the end."""
        return json.loads(html.unescape(frames[-1].split('name="conversation" value="')[1].split('"')[0]))
