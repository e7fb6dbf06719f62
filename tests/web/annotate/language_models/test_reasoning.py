"""What a model thinks before it answers is kept apart: not judged, not trained on, and never taken for an answer."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from annotate.arena.battles import actions as arena
from annotate.arena.streaming import live_battles
from annotate.core.errors import Refused
from annotate.data.prompts.actions import NewCompletion, add_completions
from annotate.language_models import model_server
from annotate.language_models.model_server_errors import ModelServerError
from annotate.models import Battle, Completion, LanguageModel, Project
from tests.support import factories
from tests.support.annotate.openai_server import FakeServer
from tests.support.api_client import Program
from tests.support.training.runs import make_dataset, make_run

QUESTION = [{"role": "user", "content": "Why?"}]
SAMPLING = {"max_new_tokens": 20, "temperature": 0.5, "top_p": 0.9}
writes_answers = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project() -> Project:
    made = factories.make_project()
    for _ in range(2):
        factories.make_contestant(made)
    return made


def delta(**fields) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": fields, "finish_reason": None}]}).encode() + b"\n\n"


async def streamed(fake: FakeServer, pieces: list) -> tuple[str, str]:
    """(answer, reasoning) as whoever reads the stream puts them together."""
    fake.answer = lambda body: pieces
    model, text, piece = LanguageModel(name="m", endpoint=fake.url, served_name="s"), "", model_server.Piece()
    async for piece in model_server.stream_chat(model, QUESTION, **SAMPLING):
        text = piece.after(text)
    return text, piece.reasoning


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (["<think>Hm", "m.</think>", "\n\nBecause."], ("Because.", "Hmm.")),
        (["<th", "ink>\nHmm.\n</thi", "nk>\n", "\nBe", "cause."], ("Because.", "Hmm.")),
        ([delta(reasoning_content="Hm"), delta(reasoning_content="m."), "Because."], ("Because.", "Hmm.")),
        ([delta(reasoning="Hmm."), "Because."], ("Because.", "Hmm.")),
        (["Hmm.\n", "</think>\n\n", "Because."], ("Because.", "Hmm.")),
        (["<think>Hmm"], ("", "Hmm")),
        (["<thin", " ice> Because."], ("<thin ice> Because.", "")),
        (["Use the </think> tag."], ("Use the </think> tag.", "")),
        (["Because", " I <think> so."], ("Because I <think> so.", "")),
    ],
)
async def test_a_stream_keeps_reasoning_and_answer_apart(fake, pieces, told):
    assert await streamed(fake, pieces) == told


@pytest.mark.parametrize(
    "event",
    ['{"choices": {"0": 1}}', '{"choices": [5]}', '{"choices": [{"delta": [1]}]}', '{"usage": [1]}', '{"a": ' * 3000],
)
async def test_a_stream_that_is_not_in_the_format_is_an_error_in_words(fake, event):
    with pytest.raises(ModelServerError, match="not in OpenAI's format"):
        await streamed(fake, [f"data: {event}\n\n".encode()])


async def test_half_a_character_of_a_stream_becomes_a_question_mark(fake):
    assert await streamed(fake, [delta(content="a \ud83d", reasoning="\ud83d")]) == ("a ?", "?")


async def test_no_piece_of_a_stream_shows_what_is_between_the_marks(fake):
    fake.answer = lambda body: ["<", "think>secret", "</", "think>", "open"]
    model = LanguageModel(name="m", endpoint=fake.url, served_name="s")
    pieces = [piece async for piece in model_server.stream_chat(model, QUESTION, **SAMPLING)]
    assert "".join(piece.text for piece in pieces) == "open"


def test_a_whole_answer_keeps_them_apart(fake):
    fake.answer = lambda body: ["<think>Hmm.</think>Because."]
    model = LanguageModel(name="m", endpoint=fake.url, served_name="s")
    reply = model_server.complete_chat(model, QUESTION, **SAMPLING)
    assert (reply.text, reply.reasoning) == ("Because.", "Hmm.")


@writes_answers
def test_the_arena_shows_and_keeps_the_answer_alone(client, project, fake):
    fake.answer = lambda body: ["<think>secret thought</think>", "Because."]
    battle = arena.start_battle(project=project, visitor="a" * 64, text="Why?")
    live_battles.write_now(battle, seconds=20)
    assert (battle.completion_a.text, battle.completion_a.reasoning) == ("Because.", "secret thought")
    client.post(reverse("arena", args=[project.slug]), {"text": "Why?"})
    mine = Battle.objects.latest("pk")
    page = client.get(reverse("arena-battle", args=[project.slug, mine.token]), {"wait": "1"}).content.decode()
    text = client.get(f"/api/v1/battles/{mine.token}/").content.decode()
    assert "Because." in page and "secret" not in page + text


@writes_answers
def test_a_model_that_was_cut_while_it_thought_has_given_no_answer(project, fake):
    fake.answer = lambda body: ["<think>secret thought"]
    fake.reason = lambda body: "length"
    battle = arena.start_battle(project=project, visitor="a" * 64, text="Why?")
    scene = live_battles.write_now(battle, seconds=20)
    assert "still reasoning" in scene.problem and "secret" not in scene.problem
    assert not Completion.objects.exists() and not any(side.text for side in scene.sides)


@writes_answers
def test_the_playground_shows_a_researcher_both(client, project, fake):
    client.force_login(factories.make_user(project, role="researcher"))
    address = reverse("playground", args=[project.contestants.first().model.pk])
    fake.answer = lambda body: ["<think>Hmm.</think>Because."]
    response = client.post(address, {"text": "Why?"})
    page = response.content.decode()
    assert "Because." in page and "Hmm." in page and "think&gt;" not in page
    assert "Hmm." not in response.context["conversation"]
    fake.answer = lambda body: ["<think>Hmm."]
    fake.reason = lambda body: "length"
    assert "still reasoning" in client.post(address, {"text": "Why?"}).content.decode()


@pytest.mark.django_db
def test_whatever_comes_in_keeps_them_apart(project):
    prompt = factories.make_prompt(project)
    [made] = add_completions(rows=[NewCompletion(prompt, None, "<think>Hmm.</think>Because.")])
    assert (made.text, made.reasoning) == ("Because.", "Hmm.")
    with pytest.raises(Refused) as refused:
        add_completions(rows=[NewCompletion(prompt, None, "<think>Hmm.")])
    assert "reasoning" in refused.value.errors["0.text"]


@pytest.mark.django_db
def test_an_imported_answer_keeps_them_apart(project):
    from annotate.data.formats.items import NewComparison
    from annotate.data.imports.preparing import prepare

    ready = prepare(
        NewComparison(messages=QUESTION, a="<think>Hmm.</think>Because.", b="No.", winner="model_a"),
        line=1, eval_percent=25,
    )  # fmt: skip
    assert [(answer.text, answer.reasoning) for answer in ready.answers] == [("Because.", "Hmm."), ("No.", "")]


@pytest.mark.django_db
def test_judges_do_not_see_it_and_researchers_may(client, project):
    completion = factories.make_completion(factories.make_prompt(project), "Because.", reasoning="secret thought")
    ada, rita = factories.make_user(project), factories.make_user(project, role="researcher")
    assignment = factories.make_assignment(ada, completion)
    client.force_login(ada)
    seen = client.get(reverse("annotate", args=[project.slug])).content.decode()
    seen += client.get(f"/api/v1/assignments/{assignment.pk}/").content.decode()
    assert "Because." in seen and "secret" not in seen
    reviewer = factories.make_user(project, role="reviewer")
    client.force_login(reviewer)
    assert client.get(f"/api/v1/completions/{completion.pk}/").json()["reasoning"] == ""
    client.force_login(rita)
    assert client.get(f"/api/v1/completions/{completion.pk}/").json()["reasoning"] == "secret thought"


@pytest.mark.django_db
def test_a_list_of_it_costs_no_query_for_each(project, django_assert_max_num_queries):
    """A list that is written is told within its transaction: on SQLite nobody else writes meanwhile."""
    rita = Program(factories.make_user(project, role="researcher"))
    asked = [factories.make_prompt(project).pk for _ in range(30)]
    sent = [{"prompt": pk, "text": f"<think>Hmm.</think>Because {pk}."} for pk in asked]
    with django_assert_max_num_queries(25):
        made = rita.post("completions/", sent)
    assert made.status_code == 201 and made.json()[0]["reasoning"] == "Hmm."
    with django_assert_max_num_queries(25):
        assert all(row["reasoning"] for row in rita.get("completions/").json()["results"])


@pytest.mark.django_db
def test_a_sampling_run_records_them_apart_and_counts_what_was_only_thought(project, tmp_path):
    from training.runs.queue.outputs import _record_completions

    run = make_run(project, kind="sample", dataset=make_dataset(project))
    prompt = factories.make_prompt(project)
    row = {"prompt_id": prompt.pk, "sampling": SAMPLING, "seed": 1, "tokens": 3, "finish_reason": "length"}
    _record_completions(
        run, [row | {"text": "Because.", "reasoning": "Hmm."}, row | {"text": "", "reasoning": "Hm"}], run.parent
    )
    made = run.completions.get()
    assert (made.text, made.reasoning) == ("Because.", "Hmm.")
    assert (run.result["empty_completions"], run.result["only_reasoning"]) == (1, 1)
