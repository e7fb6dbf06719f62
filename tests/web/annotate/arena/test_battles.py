"""The arena: who meets whom, whose battle it is, what a vote counts for, and that nothing names a model before."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.arena.battles import actions as arena
from annotate.arena.battles import pairing, votes
from annotate.arena.streaming import answer_writer
from annotate.core.errors import Refused
from annotate.language_models import actions as language_models
from annotate.language_models.model_settings import ModelSettings
from annotate.models import Battle, Comparison, LanguageModel, Project, Prompt
from common.sampling import sampling_of
from tests.support import factories
from tests.support.annotate import voting
from tests.support.annotate.keyed_api import keyed_api

NAMES = ["Aardvark-7B", "Zebra-SFT-v2"]
ME = "v" * 64
OPEN_CHOICES, CLOSED_CHOICES = '<fieldset id="choices">', '<fieldset id="choices" disabled>'

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("somebody_answers")]
writes_answers = pytest.mark.django_db(transaction=True)  # by another thread, which sees only what is committed


@pytest.fixture
def pair(project) -> list[LanguageModel]:
    models = [factories.make_model(name=name, folder=f"models/{name}", stage="Stage-" + name) for name in NAMES]
    for model in models:
        factories.make_contestant(project, model)
    return models


def eval_prompt(project: Project, models: list[LanguageModel], **fields) -> Prompt:
    """A prompt for ranking that all of `models` have answered in bulk."""
    prompt = factories.make_prompt(project, side="eval", **fields)
    for model in models:
        factories.make_completion(prompt, f"Bulk answer {model.pk}", model=model)
    return prompt


def ready_battle(project: Project, models: list[LanguageModel], **who) -> Battle:
    eval_prompt(project, models)
    return arena.start_battle(project=project, is_drawn=True, **(who or {"visitor": ME}))


def cast(battle: Battle, winner: str = "tie", **who) -> Comparison:
    """A vote with the battle's own token."""
    who = who or {"visitor": ME}
    return voting.vote(battle=battle, winner=winner, token=votes.issue_token(battle), **who)


def refusal(call, **arguments) -> Refused:
    with pytest.raises(Refused) as caught:
        call(**arguments)
    return caught.value


# Pairing


def test_sides_are_given_by_lot(project, pair):
    eval_prompt(project, pair)
    first = Counter(arena.start_battle(project=project, visitor=ME, is_drawn=True).model_a_id for _ in range(60))
    assert set(first) == {model.pk for model in pair}
    assert min(first.values()) > 10


def test_the_pair_that_was_seen_least_comes_first_where_nobody_advises(project, pair):
    third = factories.make_contestant(project).model
    models = [*pair, third]
    eval_prompt(project, models)
    member = factories.make_user(project)  # visitors are shown a stored answer once
    with pairing.PAIR_WEIGHTS.holding():
        met = Counter(
            frozenset((b.model_a_id, b.model_b_id))
            for b in (arena.start_battle(project=project, visitor="", user=member, is_drawn=True) for _ in range(9))
        )
    assert sorted(met.values()) == [3, 3, 3]


@pytest.mark.parametrize("why", ["retired", "left"])
def test_a_model_that_is_retired_or_has_left_meets_nobody(project, pair, why):
    if why == "retired":
        pair[0].retire(reason="replaced")
    else:
        language_models.leave_arena(project=project, model=pair[0])
    refused = refusal(arena.start_battle, project=project, visitor=ME, text="Why?")
    assert refused.status == 409 and "two models" in refused.errors["arena"]


def test_a_drawn_prompt_is_on_the_eval_split_and_shows_what_was_sampled_in_bulk(project, pair):
    factories.make_prompt(project, side="train")
    prompt = eval_prompt(project, pair)
    battle = arena.start_battle(project=project, visitor=ME, is_drawn=True)
    assert battle.prompt == prompt and battle.is_ready
    assert battle.completion_a.model == battle.model_a and battle.completion_b.model == battle.model_b


def test_bulk_answers_that_were_sampled_alike_are_shown_together(project, pair):
    prompt = factories.make_prompt(project, side="eval")
    for tokens in (10, 20, 30):
        factories.make_completion(prompt, model=pair[0], sampling={"max_new_tokens": tokens})
    factories.make_completion(prompt, model=pair[1], sampling={"max_new_tokens": 20})
    member = factories.make_user(project)  # visitors are shown a stored answer once
    for _ in range(6):
        battle = arena.start_battle(project=project, visitor="", user=member, is_drawn=True)
        assert battle.completion_a.sampling == battle.completion_b.sampling


def test_answers_that_were_written_for_the_arena_are_not_shown_again(project, pair):
    prompt = factories.make_prompt(project, side="eval")
    for model in pair:
        factories.make_completion(prompt, model=model, source="arena")
    assert not arena.start_battle(project=project, visitor=ME, is_drawn=True).is_ready


def test_a_visitor_draws_what_they_have_not_had_before(project, pair):
    prompts = {eval_prompt(project, pair) for _ in range(4)}
    assert {arena.start_battle(project=project, visitor=ME, is_drawn=True).prompt for _ in range(4)} == prompts


def test_what_was_voted_on_least_is_drawn_first(project, pair):
    seen = ready_battle(project, pair)
    cast(seen)
    fresh = eval_prompt(project, pair)
    assert arena.start_battle(project=project, visitor="somebody else", is_drawn=True).prompt == fresh


def test_what_a_visitor_asked_is_not_drawn_for_others(project, pair):
    factories.make_prompt(project, side="eval", source="arena")
    assert "drawn" in refusal(arena.start_battle, project=project, visitor=ME, is_drawn=True).errors


def test_without_an_eval_prompt_nothing_can_be_drawn(project, pair):
    factories.make_prompt(project, side="train")
    assert "drawn" in refusal(arena.start_battle, project=project, visitor=ME, is_drawn=True).errors


# Asking


def test_a_question_becomes_a_prompt_of_the_arena(project, pair):
    battle = arena.start_battle(project=project, visitor=ME, text=" Why is it so? ")
    assert (battle.prompt.text, battle.prompt.source, battle.is_drawn) == ("Why is it so?", "arena", False)
    assert arena.start_battle(project=project, visitor=ME, text="why is it so?").prompt == battle.prompt


@pytest.mark.parametrize(("text", "status"), [("", 400), (" \n", 400), ("x" * 20_001, 413), ("nul \x00", 400)])
def test_a_question_that_is_none_is_refused_by_name(project, pair, text, status):
    refused = refusal(arena.start_battle, project=project, visitor=ME, text=text)
    assert refused.status == status and list(refused.errors) == ["text"]
    assert not Battle.objects.exists() and not Prompt.objects.exists()


def test_asking_and_drawing_at_once_is_refused(project, pair):
    assert refusal(arena.start_battle, project=project, visitor=ME, text="Why?", is_drawn=True).status == 400


def test_a_battle_belongs_to_somebody(project, pair):
    assert refusal(arena.start_battle, project=project, visitor="", text="Why?").status == 403


# Voting


@pytest.mark.parametrize("winner", ["model_a", "model_b", "tie", "both_bad"])
def test_a_vote_keeps_what_was_shown_where(project, pair, winner):
    factories.make_guideline(project)
    battle = ready_battle(project, pair)
    vote = cast(battle, winner)
    assert (vote.completion_a, vote.completion_b, vote.winner) == (battle.completion_a, battle.completion_b, winner)
    assert (vote.judge, vote.source, vote.status, vote.visitor) == ("person", "arena", "counted", ME)
    assert vote.guideline_version == 1 and vote.seconds >= 0


def test_a_vote_names_the_guidelines_under_which_its_battle_began(project, pair):
    factories.make_guideline(project)
    battle = ready_battle(project, pair)
    factories.make_guideline(project)
    assert project.guideline.version == 2 and cast(battle).guideline_version == 1


def test_an_unknown_winner_is_refused(project, pair):
    refused = refusal(cast, battle=ready_battle(project, pair), winner="c", visitor=ME)
    assert refused.status == 400 and "both_bad" in refused.errors["winner"]


def test_a_second_vote_is_refused_and_the_same_key_gets_the_first_again(project, pair):
    battle = ready_battle(project, pair)
    token = votes.issue_token(battle)
    vote = cast(battle, visitor=ME, idempotency_key="k")
    assert voting.vote(battle=battle, winner="model_a", token=token, visitor=ME, idempotency_key="k") == vote
    assert refusal(voting.vote, battle=battle, winner="model_a", token=token, visitor=ME).status == 409
    assert refusal(voting.vote, battle=battle, winner="tie", token=token, visitor=ME, idempotency_key="o").status == 409
    assert list(Comparison.objects.values_list("winner", flat=True)) == ["tie"]


def test_a_key_of_another_vote_is_refused(project, pair):
    cast(ready_battle(project, pair), visitor=ME, idempotency_key="k")
    other = ready_battle(project, pair)
    refused = refusal(cast, battle=other, visitor=ME, idempotency_key="k")
    assert refused.status == 409 and "idempotency_key" in refused.errors


def test_only_whoever_started_a_battle_votes_in_it(project, pair):
    user, other = factories.make_user(), factories.make_user()
    of_visitor, of_user = ready_battle(project, pair), ready_battle(project, pair, visitor=ME, user=user)
    for battle, visitor, who in [
        (of_visitor, "x", None),
        (of_visitor, "", None),
        (of_user, ME, None),
        (of_user, ME, other),
    ]:
        assert arena.own_battle(token=battle.token, visitor=visitor, user=who) is None
    assert arena.own_battle(token=of_visitor.token, visitor=ME, user=None) == of_visitor
    assert arena.own_battle(token=of_user.token, visitor="", user=user) == of_user
    assert cast(of_user, visitor="", user=user).author == user


def test_nobody_votes_before_both_answers_stand(project, pair):
    battle = arena.start_battle(project=project, visitor=ME, text="Why?")
    battle.completion_a = factories.make_completion(battle.prompt, model=battle.model_a)
    battle.save()
    assert refusal(cast, battle=battle, winner="model_a").status == 409
    assert not Comparison.objects.exists()


def test_a_simulated_judge_is_marked_as_one(project, pair):
    robot = factories.make_user(is_simulated=True)
    battle = ready_battle(project, pair, visitor="", user=robot)
    vote = cast(battle, visitor="", user=robot)
    assert vote.judge == "simulation"
    assert votes.counting(vote).ranks and "simulated" in votes.counting(vote).words


@pytest.mark.parametrize(("side", "ranks"), [("eval", True), ("train", False)])
def test_only_votes_on_the_eval_split_rank(project, pair, side, ranks):
    battle = ready_battle(project, pair)
    Prompt.objects.update(side=side)
    vote = cast(battle)
    counting = votes.counting(vote)
    assert counting.ranks is ranks and vote.status == "counted"
    assert ("training split" in counting.words) is not ranks
    assert counting.tag == ("counted" if ranks else "for training") and counting.is_of_use


def test_a_vote_that_counts_for_nothing_does_not_say_counted(client, project, pair):
    """On the training split, where the two conversations had gone apart."""
    user = factories.make_user(project)
    battle = ready_battle(project, pair, visitor="", user=user)
    vote = cast(battle, visitor="", user=user)
    vote.completion_b.prompt = factories.make_prompt(project)
    vote.completion_b.save()
    Prompt.objects.update(side="train")
    client.force_login(user)
    for page in (("arena-battle", project.slug, battle.token), ("arena-history", project.slug)):
        html = client.get(reverse(page[0], args=page[1:])).content.decode()
        assert '<span class="tag bad">saved, does not count</span>' in html and ">counted<" not in html


def test_a_vote_that_is_held_says_why(project, pair):
    vote = cast(ready_battle(project, pair))
    vote.status, vote.status_reason = "held", "cast within a second"
    assert votes.counting(vote) == votes.Counting(
        False, "Not counted: this vote is held: cast within a second.", "held"
    )


# Pages


def start(client: Client, project: Project, **data) -> str:
    response = client.post(reverse("arena", args=[project.slug]), data or {"draw": "1"})
    assert response.status_code == 302, response.content.decode()
    return response["Location"]


def token_on(page: str) -> str:
    """The vote's token, as the page's form would send it."""
    return page.partition('name="token" value="')[2].partition('"')[0]


def vote_on(client: Client, url: str, winner: str = "tie", **more):
    token = token_on(client.get(url).content.decode())
    return client.post(f"{url}vote/", {"winner": winner, "token": token, **more.pop("data", {})}, **more)


def everything(response) -> str:
    return response.content.decode() + str(response.headers) + str(response.cookies)


def assert_nameless(text: str, models: list[LanguageModel]) -> None:
    for model in models:
        for telling in (model.name, model.stage, model.folder, f"models/{model.pk}", f"/{model.pk}/"):
            assert telling not in text


def test_a_visitor_draws_votes_and_sees_the_names(client, project, pair):
    eval_prompt(project, pair)
    url = start(client, project)
    before = client.get(url)
    assert_nameless(everything(before), pair)
    battle = Battle.objects.get()
    assert battle.completion_a.text in before.content.decode() and OPEN_CHOICES in before.content.decode()
    after = vote_on(client, url, "model_a", follow=True).content.decode()
    assert all(name in after for name in NAMES)
    assert "Your vote: A is better" in after and "Counted for the ranking." in after
    assert after.index(battle.model_a.name) < after.index(battle.model_b.name)


@writes_answers
def test_nothing_names_a_model_from_the_first_page_to_the_last_before_the_vote(client, project, pair, fake):
    fake.status, fake.error = 500, f"cannot load {pair[0].name} from {pair[1].folder}"
    page = client.get(reverse("arena", args=[project.slug]))
    started = client.post(reverse("arena", args=[project.slug]), {"text": "Why?"})
    url = started["Location"]
    responses = [page, started, client.get(url), client.get(url, {"wait": "1"})]
    responses += [client.get(reverse("arena-history", args=[project.slug]))]
    responses += [client.post(f"{url}vote/", {"winner": "model_a"}), client.post(f"{url}vote/", {"winner": "c"})]
    assert "You cannot vote on this battle" in responses[3].content.decode()
    for response in responses:
        assert_nameless(everything(response), pair)


@writes_answers
def test_without_javascript_the_page_waits_until_both_answers_stand(client, project, pair, fake):
    url = start(client, project, text="Why?")
    first = client.get(url).content.decode()
    assert '<noscript><meta http-equiv="refresh" content="0; url=?wait=1"></noscript>' in first
    assert CLOSED_CHOICES in first
    second = client.get(url, {"wait": "1"}).content.decode()
    assert second.count("Hello there.") == 2 and OPEN_CHOICES in second and "http-equiv" not in second
    assert {request["model"] for request in fake.requests} == {model.server_name for model in pair}


@writes_answers
def test_an_answer_keeps_its_true_sampling_settings(client, project, pair, fake):
    client.get(start(client, project, text="Why?"), {"wait": "1"})
    completion = Battle.objects.get().completion_a
    sent = next(r for r in fake.requests if r["model"] == completion.model.server_name)
    assert completion.seed == sent["seed"] and completion.sampling == sampling_of(project)
    assert completion.sampling["max_new_tokens"] == sent["max_tokens"]
    assert (completion.tokens, completion.finish_reason, completion.source) == (2, "stop", "arena")


@writes_answers
def test_models_behind_keys_answer_battles_each_with_its_own_settings(client, project):
    with keyed_api(finish="length", answer=lambda body: "Fine.") as api:
        for name, room in (("small", 7), ("large", 9)):
            settings = ModelSettings(
                max_new_tokens=room, system_prompt=f"Take {room}.", template_options={"deep": room}
            )
            asked = {"endpoint": api.url, "served_name": name, "key": api.key, "settings": settings}
            factories.make_contestant(
                project, language_models.register_model(name=f"model {name}", project=project, **asked)
            )
        page = client.get(start(client, project, text="Why?"), {"wait": "1"}).content.decode()
    assert page.count("Fine.") == 2 and "Cut at its length limit" in page, "7 or 9 would tell one from the other"
    assert {sent["Authorization"] for sent in api.headers} == {f"Bearer {api.key}"}
    assert {body["max_tokens"]: body["chat_template_kwargs"] for body in api.requests} == {
        7: {"deep": 7},
        9: {"deep": 9},
    }
    battle = Battle.objects.get()
    for completion in (battle.completion_a, battle.completion_b):
        room = completion.model.max_new_tokens
        assert completion.sampling["max_new_tokens"] == room
        assert completion.sampling["system_prompt"] == f"Take {room}."


@writes_answers
@pytest.mark.parametrize("bad", [0, 1])
def test_a_battle_with_a_side_that_failed_takes_no_vote_and_does_not_say_which(client, project, pair, fake, bad):
    name = pair[bad].server_name
    fake.answer = lambda body: ["  "] if body["model"] == name else ["Fine."]
    url = start(client, project, text="Why?")
    page = client.get(url, {"wait": "1"}).content.decode()
    assert "One of the two models gave an empty answer" in page and "You cannot vote on this battle" in page
    assert CLOSED_CHOICES in page and "Try again with two other models" in page and not token_on(page)
    assert client.post(f"{url}vote/", {"winner": "tie", "token": "x"}).status_code == 409
    assert not Comparison.objects.exists()
    again = client.post(reverse("arena", args=[project.slug]), {"text": "Why?"})
    assert again.status_code == 302 and again["Location"] != url


def test_a_stranger_finds_no_battle(project, pair):
    eval_prompt(project, pair)
    owner, stranger = Client(), Client()
    url = start(owner, project)
    start(stranger, project)
    assert stranger.get(url).status_code == 404
    assert stranger.post(f"{url}vote/", {"winner": "tie"}).status_code == 404
    assert not Comparison.objects.exists()


def test_a_second_vote_on_the_page_is_a_conflict_but_a_double_click_is_not(client, project, pair):
    eval_prompt(project, pair)
    url = start(client, project)
    key = str(uuid.uuid4())
    ballot = {"winner": "tie", "key": key, "token": token_on(client.get(url).content.decode())}
    assert client.post(f"{url}vote/", ballot).status_code == 302
    assert client.post(f"{url}vote/", ballot).status_code == 302
    assert client.post(f"{url}vote/", ballot | {"key": "other"}).status_code == 409


def test_a_vote_by_htmx_is_answered_with_the_reveal_alone(client, project, pair):
    eval_prompt(project, pair)
    url = start(client, project)
    reply = vote_on(client, url, headers={"HX-Request": "true"}).content.decode()
    assert reply.strip().startswith('<section id="battle"') and all(name in reply for name in NAMES)


def test_bad_questions_are_shown_beside_the_field_and_kept(client, project, pair):
    long = client.post(reverse("arena", args=[project.slug]), {"text": "x" * 20_001})
    assert long.status_code == 413 and "the limit is 20,000" in long.content.decode()
    assert client.post(reverse("arena", args=[project.slug]), {"text": " "}).status_code == 400


def test_too_many_battles_are_refused_for_a_while(client, project, pair, monkeypatch):
    monkeypatch.setattr("annotate.core.visitors.BATTLES_PER_PERSON", 2)
    eval_prompt(project, pair)
    for _ in range(2):
        start(client, project)
    third = client.post(reverse("arena", args=[project.slug]), {"draw": "1"})
    assert third.status_code == 429 and third["Retry-After"] and "wait" in third.content.decode()
    assert Battle.objects.count() == 2


def test_an_arena_with_fewer_than_two_models_says_what_to_do(client, project):
    page = client.get(reverse("arena", args=[project.slug]))
    assert "A battle needs two models" in page.content.decode()


def test_a_private_arena_asks_a_visitor_to_sign_in(client, pair):
    project = factories.make_project(is_public=False)
    assert "sign-in" in client.get(reverse("arena", args=[project.slug]))["Location"]


def test_the_history_shows_ones_own_votes_and_what_became_of_them(client, project, pair):
    eval_prompt(project, pair)
    url = start(client, project)
    vote_on(client, url, "model_b")
    Comparison.objects.update(status="excluded", status_reason="the same answer every time")
    page = client.get(reverse("arena-history", args=[project.slug])).content.decode()
    assert "excluded" in page and "the same answer every time" in page and NAMES[0] in page
    other = Client().get(reverse("arena-history", args=[project.slug])).content.decode()
    assert "No battle yet" in other


# The lease on a battle that is being written


def test_a_battle_is_taken_up_by_one_at_a_time_and_again_when_its_lease_has_run_out(project, pair):
    battle = arena.start_battle(project=project, visitor=ME, text="Why?")
    assert answer_writer._claim(battle.pk, uuid.uuid4())
    assert answer_writer._claim(battle.pk, uuid.uuid4()) is None
    Battle.objects.update(claimed_until=timezone.now() - timezone.timedelta(seconds=1))
    assert answer_writer._claim(battle.pk, uuid.uuid4())


# Models


def test_entering_twice_changes_nothing_and_who_left_comes_back(project, pair):
    language_models.leave_arena(project=project, model=pair[0])
    for _ in range(2):
        assert language_models.enter_arena(project=project, model=pair[0]).left_at is None
    assert project.contestants.count() == 2


def test_a_reward_model_and_a_retired_one_cannot_enter(project):
    reward = factories.make_model(kind="reward")
    assert refusal(language_models.enter_arena, project=project, model=reward).status == 400
    gone = factories.make_model(retired_at=timezone.now(), retired_reason="old")
    assert refusal(language_models.enter_arena, project=project, model=gone).status == 409


def test_the_same_model_is_registered_once_and_another_of_its_name_refused(data_folder):
    (data_folder / "models/one").mkdir()
    facts = {"name": "One", "folder": "models/one", "content_hash": "a" * 64}
    model = language_models.register_model(**facts)
    assert language_models.register_model(**facts) == model
    assert refusal(language_models.register_model, **facts | {"content_hash": "b" * 64}).status == 409


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"name": " ", "endpoint": "http://x/v1", "served_name": "x"}, "name"),
        ({"name": "x"}, "folder"),
        ({"name": "x", "folder": "models/nowhere"}, "folder"),
        ({"name": "x", "endpoint": "ftp://x", "served_name": "x"}, "endpoint"),
        ({"name": "x", "endpoint": "http://x/v1"}, "served_name"),
        ({"name": "x", "endpoint": "http://x/v1", "served_name": "x", "kind": "judge"}, "kind"),
    ],
)
def test_a_model_that_cannot_be_is_refused_by_field(facts, field):
    refused = refusal(language_models.register_model, **facts)
    assert refused.status == 400 and field in refused.errors
    assert not LanguageModel.objects.exists()


def test_the_model_page_links_parent_and_children(client, project, pair):
    child = factories.make_model(name="Child", parent=pair[0])
    factories.make_contestant(project, child)
    page = client.get(reverse("model", args=[child.pk])).content.decode()
    assert reverse("model", args=[pair[0].pk]) in page
    assert reverse("model", args=[child.pk]) in client.get(reverse("model", args=[pair[0].pk])).content.decode()
    assert reverse("playground", args=[child.pk]) not in page


def test_a_model_of_private_projects_is_not_there_for_others(client):
    model = factories.make_contestant(factories.make_project(is_public=False)).model
    assert client.get(reverse("model", args=[model.pk])).status_code == 404


def test_researchers_enter_models_and_visitors_do_not(client, project, pair):
    model = factories.make_model()
    url = reverse("arena-entry", args=[project.slug, model.pk])
    client.post(url, {"do": "enter"})
    assert not model.contests.exists()
    client.force_login(factories.make_user(project, role="researcher"))
    client.post(url, {"do": "enter"})
    assert model.contests.filter(left_at=None).exists()
    assert model.name in client.get(reverse("models", args=[project.slug])).content.decode()


def test_a_key_that_no_database_could_keep_is_refused(project, pair):
    battle = ready_battle(project, pair, visitor="v")
    for key in ("k" * 5000, "a\x00b"):
        refused = refusal(cast, battle=battle, visitor="v", idempotency_key=key)
        assert list(refused.errors) == ["idempotency_key"]
    assert not Comparison.objects.exists()
