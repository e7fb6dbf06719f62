"""A model behind somebody's API: its key, how it is asked, and one question that says what is wrong."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from django.core import management
from django.db import connection

from annotate.core.errors import Refused
from annotate.language_models import model_keys, model_server
from annotate.language_models.actions import enter_arena, register_model
from annotate.language_models.endpoint_check import ask_one_question
from annotate.language_models.model_settings import ModelSettings, options_of_lines, sampling_for, system_prompt_for
from annotate.models import AuditEntry, LanguageModel
from tests.support.annotate.keyed_api import Trouble, keyed_api, throttle
from tests.support.api_client import errors, program
from tests.support.factories import make_model, make_project, make_user

pytestmark = pytest.mark.django_db
KEY = "sk-secret-of-a-laboratory"
HELLO = [{"role": "user", "content": "Hello"}]
SAMPLING = {"max_new_tokens": 20, "temperature": 0.0, "top_p": 1.0}


def behind(api, project=None, **fields) -> LanguageModel:
    values = {"name": "theirs", "endpoint": api.url, "served_name": "small", "key": api.key}
    return register_model(project=project, **{**values, **fields})


def test_a_model_may_have_weights_and_an_endpoint(data_folder):
    (data_folder / "models" / "ours").mkdir()
    model = register_model(name="ours", folder="models/ours", endpoint="http://127.0.0.1:9/v1", served_name="ours")
    assert model.path == data_folder / "models" / "ours" and model.server_url == "http://127.0.0.1:9/v1"


def test_a_key_opens_for_its_own_address_alone():
    model = register_model(name="theirs", endpoint="https://api.example.org/v1", served_name="x", key=KEY)
    assert KEY not in model.sealed_key and model_keys.key_of(model) == KEY
    for elsewhere in ("https://evil.example.org/v1", "http://api.example.org/v1", "https://api.example.org:8443/v1",
                      "https://api.example.org/evil/v1"):  # fmt: skip
        model.endpoint = elsewhere
        with pytest.raises(model_keys.KeyLost):
            model_keys.key_of(model)
    model.endpoint = "https://api.example.org:443/v1/"
    assert model_keys.key_of(model) == KEY


def test_keys_outlive_a_new_secret(settings):
    settings.KEY_SECRETS = ["first"]
    model = register_model(name="theirs", endpoint="https://api.example.org/v1", served_name="x", key=KEY)
    settings.KEY_SECRETS = ["second", "first"]
    management.call_command("reseal_keys")
    settings.KEY_SECRETS = ["second"]
    model.refresh_from_db()
    assert model_keys.key_of(model) == KEY
    settings.KEY_SECRETS = ["third"]
    with pytest.raises(management.CommandError, match="theirs"):
        management.call_command("reseal_keys")


def test_a_key_is_sent_to_the_endpoint_whole_and_streamed():
    with keyed_api() as api:
        model = behind(api)
        assert model_server.complete_chat(model, HELLO, **SAMPLING).text == "Answer to Hello"

        async def streamed() -> str:
            text = ""
            async for piece in model_server.stream_chat(model, HELLO, **SAMPLING):
                text = piece.after(text)
            return text

        assert asyncio.run(streamed()).strip() == "Answer to Hello"
        assert {sent["Authorization"] for sent in api.headers} == {f"Bearer {api.key}"}
        assert model_server.served_models(model.endpoint, api.key) == ["small", "large"]


def test_template_options_go_along_and_are_left_out_where_there_are_none():
    with keyed_api() as api:
        model_server.complete_chat(behind(api), HELLO, **SAMPLING)
        settings = ModelSettings(template_options={"enable_thinking": False})
        model_server.complete_chat(behind(api, name="calm", settings=settings), HELLO, **SAMPLING)
        assert "chat_template_kwargs" not in api.requests[0]
        assert api.requests[1]["chat_template_kwargs"] == {"enable_thinking": False}


def test_what_a_server_does_not_take_is_left_out_from_then_on():
    with keyed_api(refuses=("max_tokens", "temperature")) as api:
        model = behind(api)
        for _ in range(2):
            model_server.complete_chat(model, HELLO, **SAMPLING)
        assert len(api.requests) == 4  # both refused once
        assert api.requests[-1]["max_completion_tokens"] == 20 and "temperature" not in api.requests[-1]


def test_an_option_stays_when_leaving_it_out_did_not_help():
    bad = Trouble(400, '{"error": {"message": "Unsupported parameter: \'temperature\'."}}')
    with keyed_api() as api:
        model = behind(api)
        api.trouble += [bad, bad]
        with pytest.raises(model_server.model_server_errors.ModelServerError):
            model_server.complete_chat(model, HELLO, **SAMPLING)
        model_server.complete_chat(model, HELLO, **SAMPLING)
        assert "temperature" in api.requests[-1]


def test_an_answer_that_no_reader_or_file_takes_is_no_crash():
    with keyed_api() as api:
        model = behind(api)
        api.trouble.append(Trouble(200, '{"choices": ' + "[" * 100_000))
        with pytest.raises(model_server.model_server_errors.ModelServerError):
            model_server.complete_chat(model, HELLO, **SAMPLING)
        half = '{"choices": [{"message": {"content": "a \\ud800", "reasoning": "\\ud800"}, "finish_reason": "stop"}]}'
        api.trouble.append(Trouble(200, half))
        reply = model_server.complete_chat(model, HELLO, **SAMPLING)
        assert (reply.text, reply.reasoning) == ("a ?", "?")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_server_that_throttles_for_a_moment_is_waited_for(streamed):
    with keyed_api() as api:
        model, found = behind(api), []
        api.trouble += [throttle("0.1"), throttle("0.1")]

        async def stream() -> None:
            async for piece in model_server.stream_chat(model, HELLO, **SAMPLING):
                found.append(piece.text)

        if streamed:
            asyncio.run(stream())
        else:
            found.append(model_server.complete_chat(model, HELLO, **SAMPLING).text)
        assert "".join(found).strip() == "Answer to Hello" and len(api.requests) == 3


def test_no_more_requests_than_its_concurrency_are_under_way():
    with keyed_api(seconds=0.1) as api:
        model = behind(api, settings=ModelSettings(concurrency=2))

        async def all_at_once() -> None:
            async def one() -> None:
                async for _ in model_server.stream_chat(model, HELLO, **SAMPLING):
                    pass

            await asyncio.gather(*(one() for _ in range(6)))

        asyncio.run(all_at_once())
        assert len(api.billed) == 6 and api.most_at_once == 2


def test_what_a_model_says_of_itself_comes_before_its_project():
    project = make_project(temperature=0.7, system_prompt="Be brief.")
    plain, own = make_model(), make_model(temperature=0.0, max_new_tokens=50, system_prompt="Think.")
    assert sampling_for(project, plain)["temperature"] == 0.7 and system_prompt_for(project, plain) == "Be brief."
    assert sampling_for(project, own) == {"temperature": 0.0, "max_new_tokens": 50, "top_p": project.top_p}
    assert system_prompt_for(project, own) == "Think."


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"temperature": 9}, "temperature"),
        ({"concurrency": 0}, "concurrency"),
        ({"prompt_price": -1}, "prompt_price"),
        ({"template_options": {"enable_thinking": {"deep": 1}}}, "template_options"),
        ({"key": "two\nlines"}, "key"),
        ({"endpoint": "http://me:secret@127.0.0.1/v1"}, "endpoint"),
    ],
)
def test_wrong_settings_are_refused_by_name(wrong, field):
    project = make_project()
    sent = {"name": "theirs", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x", **wrong}
    assert field in errors(program(project, "researcher").post("models/", sent))
    assert not LanguageModel.objects.exists()


def test_a_key_for_weights_alone_is_refused(data_folder):
    (data_folder / "models" / "ours").mkdir()
    with pytest.raises(Refused) as refused:
        register_model(name="ours", folder="models/ours", key=KEY)
    assert "key" in refused.value.errors


def test_template_options_are_written_as_lines():
    assert options_of_lines("enable_thinking = false\n\neffort=low") == {"enable_thinking": False, "effort": "low"}
    with pytest.raises(ValueError, match="enable_thinking = false"):
        options_of_lines("nonsense")


@pytest.mark.parametrize("value", ["NaN", "1e999", '"\\u0000"', '"\\ud800"', "[" * 5000])
def test_a_template_option_that_cannot_be_kept_is_refused(value):
    assert "template_options" in ModelSettings(template_options=options_of_lines(f"x = {value}")).errors()
    assert "system_prompt" in ModelSettings(system_prompt="a\x00b").errors()


def test_a_program_registers_a_model_with_its_key_and_never_reads_it_again():
    project = make_project()
    researcher = program(project, "researcher")
    sent = {"name": "theirs", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x", "key": KEY,
            "prompt_price": "2.5", "completion_price": 10, "concurrency": 8,
            "template_options": {"enable_thinking": False}}  # fmt: skip
    answer = researcher.post("models/", sent)
    assert answer.status_code == 201
    told = researcher.get(f"models/{answer.json()['id']}/settings/")
    assert told.json()["has_key"] and told.json()["concurrency"] == 8 and told.json()["prompt_price"] == "2.500000"
    assert told.json()["template_options"] == {"enable_thinking": False}
    model = LanguageModel.objects.get()
    assert model_keys.key_of(model) == KEY
    everything = [answer.content, told.content, repr(model).encode(), str(model.__dict__).encode()]
    everything += [str(entry.__dict__).encode() for entry in AuditEntry.objects.all()]
    everything += [json.dumps(dump(), default=str).encode()]
    assert all(KEY.encode() not in text for text in everything)


def dump() -> list[object]:
    """Every row of every table."""
    rows: list[object] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            rows += cursor.fetchall()
    return rows


def test_a_model_with_a_key_is_shared_only_where_that_is_asked_for():
    project, number = make_project(), iter(range(9))

    def registered(who, **sent) -> bool:
        named = {"name": f"m{next(number)}", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x", **sent}
        answer = who.post("models/", named)
        assert answer.status_code == 201, answer.content
        return answer.json()["is_shared"]

    staff, manager = program(is_staff=True), program(project, "manager")
    assert registered(staff) and not registered(staff, key=KEY) and registered(staff, key=KEY, is_shared=True)
    assert not registered(staff, is_shared=False)
    assert not registered(manager) and registered(manager, is_shared=True)
    sent = {"name": "m", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x", "is_shared": True}
    assert "is_shared" in errors(program(project, "researcher").post("models/", sent), 403)


def test_a_key_does_not_move_to_another_address():
    project = make_project()
    researcher = program(project, "researcher")
    sent = {"name": "theirs", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x", "key": KEY}
    path = f"models/{researcher.post('models/', sent).json()['id']}/settings/"
    assert researcher.patch(path, {"temperature": 0.5}).json()["has_key"]
    assert researcher.patch(path, {"endpoint": "http://127.0.0.1:9/v1/"}).json()["has_key"]
    moved = researcher.patch(path, {"endpoint": "http://127.0.0.1:10/v1"})
    assert moved.status_code == 200 and not moved.json()["has_key"] and moved.json()["temperature"] == 0.5
    assert LanguageModel.objects.get().sealed_key == ""
    first, moved = (entry.changes for entry in AuditEntry.objects.filter(action="model.changed").order_by("pk"))
    assert first == {"temperature": [None, 0.5]}
    assert moved == {"endpoint": ["…", "http://127.0.0.1:10/v1"], "key": ["…", None]}


def test_a_password_in_an_address_of_before_is_shown_to_nobody(client):
    project = make_project()
    model = make_model(folder="", endpoint="http://me:hunter2@127.0.0.1:9/v1", served_name="x", project=project)
    told = program(project, "researcher").get(f"models/{model.pk}/settings/")
    assert told.json()["endpoint"] == "http://127.0.0.1:9/v1"
    client.force_login(make_user(project, role="researcher"))
    assert b"hunter2" not in client.get(f"/models/{model.pk}/settings/").content


def test_a_key_is_replaced_and_forgotten():
    project = make_project()
    researcher = program(project, "researcher")
    sent = {"name": "theirs", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x", "key": KEY}
    path = f"models/{researcher.post('models/', sent).json()['id']}/settings/"
    researcher.patch(path, {"key": "another"})
    assert model_keys.key_of(LanguageModel.objects.get()) == "another"
    assert not researcher.patch(path, {"key": ""}).json()["has_key"]


def test_only_researchers_of_its_project_and_staff_change_a_model(settings):
    project, other = make_project(), make_project()
    model = behind_nobody(project)
    path = f"models/{model.pk}/settings/"
    assert errors(program(project).patch(path, {"temperature": 0}), 403)
    assert errors(program(other, "researcher").patch(path, {"temperature": 0}), 403)  # it is shared, not theirs
    assert program(project, "researcher").patch(path, {"temperature": 0}).status_code == 200
    settings.PRIVATE_ENDPOINTS = ()
    inside = {"endpoint": "http://169.254.169.254/v1"}
    assert "link-local" in errors(program(project, "researcher").patch(path, inside))["endpoint"]
    settings.MODEL_SERVER_URL = "http://127.0.0.1:8001/v1"
    own = {"endpoint": "http://127.0.0.1:8001/v1"}
    assert errors(program(project, "researcher").patch(path, own), 403)


@pytest.fixture
def lookups(monkeypatch) -> list[int]:
    """How many transactions were open, beside those of the test, at each look-up of a name."""
    outside, found, look_up = len(connection.savepoint_ids), [], socket.getaddrinfo

    def looked_up(*args, **kwargs):
        found.append(len(connection.savepoint_ids) - outside)
        return look_up(*args, **kwargs)

    monkeypatch.setattr("annotate.core.network.outbound.socket.getaddrinfo", looked_up)
    return found


@pytest.mark.parametrize("key", [None, "once"])
def test_no_name_is_looked_up_while_the_database_is_locked(lookups, key):
    project = make_project()
    researcher = program(project, "researcher")
    sent = {"name": "theirs", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x", "key": KEY}
    answer = researcher.post("models/", sent, key=key)
    assert answer.status_code == 201 and lookups
    path = f"models/{answer.json()['id']}/settings/"
    assert researcher.patch(path, {"endpoint": "http://127.0.0.1:10/v1"}).status_code == 200
    assert researcher.patch(path, {"served_name": "y"}).status_code == 200
    assert set(lookups) == {0}


def test_an_address_that_is_none_is_refused_in_words(client):
    project = make_project()
    sent = {"name": "theirs", "endpoint": "http://[", "served_name": "x"}
    assert "endpoint" in errors(program(project, "researcher").post("models/", sent))
    model = behind_nobody(project)
    path = f"models/{model.pk}/settings/"
    assert "endpoint" in errors(program(project, "manager").patch(path, {"endpoint": "http://["}))
    client.force_login(make_user(project, role="researcher"))
    assert client.post(f"/p/{project.slug}/models/new/", {**sent, "concurrency": 16}).status_code == 400


@pytest.mark.parametrize("field", ["endpoint", "served_name"])
def test_a_text_that_no_column_holds_is_refused_by_name(field):
    sent = {"name": "theirs", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x"}
    sent[field] += "/" + "x" * 500
    with pytest.raises(Refused) as refused:
        register_model(**sent, project=make_project(), by=make_user(is_staff=True))
    assert "500" in refused.value.errors[field]


@pytest.mark.parametrize(("new", "field"), [({"key": "another"}, "key"), ({"temperature": 0.5}, "name")])
def test_a_second_registration_drops_no_key_and_no_settings(new, field):
    project = make_project()
    researcher = program(project, "researcher")
    sent = {"name": "theirs", "endpoint": "http://127.0.0.1:9/v1", "served_name": "x", "key": KEY, "prompt_price": "2"}
    first = researcher.post("models/", sent)
    assert researcher.post("models/", sent).json()["id"] == first.json()["id"]
    bare = {name: sent[name] for name in ("name", "endpoint", "served_name")}
    assert researcher.post("models/", bare).json()["id"] == first.json()["id"]
    assert "settings" in errors(researcher.post("models/", sent | new), 409)[field]
    assert model_keys.key_of(LanguageModel.objects.get()) == KEY


@pytest.mark.parametrize("new", [{"endpoint": "http://127.0.0.1:10/v1"}, {"served_name": "y"}, {"key": "sk-mine"}])
def test_a_shared_model_is_pointed_elsewhere_by_managers_alone_and_all_its_projects_see_it(new):
    project, user = make_project(), make_project()
    model = behind_nobody(project)
    enter_arena(project=user, model=model)
    path = f"models/{model.pk}/settings/"
    assert "shared" in errors(program(project, "researcher").patch(path, new), 403)["endpoint"]
    assert program(project, "manager").patch(path, new).status_code == 200
    found = AuditEntry.objects.filter(action="model.changed")
    assert {entry.project for entry in found} == {project, user}


def behind_nobody(project) -> LanguageModel:
    return register_model(
        name="theirs", endpoint="http://127.0.0.1:9/v1", served_name="x", project=project, is_shared=True,
        by=make_user(project, role="researcher"),
    )  # fmt: skip


# One question


def test_one_question_is_answered_with_its_price():
    project = make_project()
    with keyed_api(reasoning="Blue, I think.") as api:
        model = behind(api, project, settings=ModelSettings(prompt_price=2, completion_price=10))
        checked = ask_one_question(model, project, "What is blue?")
    assert checked.is_ok and checked.answer == "Answer to What is blue?" and checked.reasoning == "Blue, I think."
    assert (checked.prompt_tokens, checked.tokens) == (3, 5)
    assert float(checked.cost) == (3 * 2 + 5 * 10) / 1e6


def test_what_is_wrong_is_said_in_words(settings):
    project = make_project()
    settings.MODEL_SERVER_TIMEOUT = 0.3
    with keyed_api() as api:
        found = {
            "key": ask_one_question(behind(api, name="a", key="wrong"), project),
            "no key": ask_one_question(behind(api, name="b", key=""), project),
            "name": ask_one_question(behind(api, name="c", served_name="smal"), project),
            "path": ask_one_question(behind(api, name="d", endpoint=api.url + "/more"), project),
        }
        api.context = 10
        found["context"] = ask_one_question(behind(api, name="e"), project)
        api.context = 10_000
        for name, trouble in (
            ("throttled", throttle("60")),
            ("quota", Trouble(429, '{"error": {"code": "insufficient_quota"}}')),
            ("template", Trouble(500, '{"error": {"message": "Jinja: Conversation roles must alternate"}}')),
            ("time-out", Trouble(hang_seconds=1.5)),
            ("cut", Trouble(cut=True)),
            ("protocol", Trouble(200, "<html>Welcome</html>")),
            ("failed", Trouble(500)),
        ):
            api.trouble[:] = [trouble]
            found[name] = ask_one_question(behind(api, name=name), project)
    found["address"] = ask_one_question(behind(api, name="f", endpoint="http://127.0.0.1:9/v1"), project)
    with keyed_api() as api:
        secure = api.url.replace("http://", "https://")
        found["tls"] = ask_one_question(behind(api, name="g", endpoint=secure), project)
        settings.PRIVATE_ENDPOINTS = ()
        found["private"] = ask_one_question(behind(api, name="h"), project)
    problems = {name: str(checked.problem) for name, checked in found.items()}
    assert problems == {name: name for name in found} | {"no key": "key", "path": "address"}
    assert "needs a key" in found["no key"].what
    assert found["name"].offered == ("small", "large")
    assert "ASSAY_PRIVATE_ENDPOINTS" in found["private"].remedy
    assert len({checked.what for checked in found.values()}) == len(found) - 1


def test_an_answer_that_was_only_thought_is_a_problem():
    project = make_project()
    with keyed_api(answer=lambda body: "", reasoning="Hmm.", finish="length") as api:
        checked = ask_one_question(behind(api, project), project)
    assert checked.problem == "empty" and "while reasoning" in checked.what and checked.reasoning == "Hmm."


def test_a_program_asks_one_question():
    project = make_project()
    with keyed_api() as api:
        model = behind(api, project)
        answer = program(project, "researcher").post(f"models/{model.pk}/ask/", {"question": "Well?"})
        assert answer.json()["is_ok"] and answer.json()["answer"] == "Answer to Well?"
        assert errors(program(project).post(f"models/{model.pk}/ask/", {}), 403)


def test_a_server_that_repeats_the_key_has_it_in_no_log(caplog):
    project = make_project()
    with keyed_api(key="sk-right") as api:
        ask_one_question(behind(api, project, key=KEY), project)
    assert "Incorrect API key provided" in caplog.text and KEY not in caplog.text
