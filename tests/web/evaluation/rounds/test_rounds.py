"""Rounds from their order to the rule that stops them: each on the newest answers, once, and as the plan says."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from annotate.arena.battles import pairing
from annotate.core.errors import Refused
from annotate.data.datasets import freezing
from annotate.data.prompts.retirement import retire
from annotate.labelling.actions import set_status
from annotate.labelling.assigning import next_for
from annotate.models import Comparison, Completion, Dataset, DatasetFreeze, Prompt
from annotate.projects.actions import remove_member
from evaluation.experiments.experiment_start import hash_of
from evaluation.models import AskedAgain, Candidacy, Notice, Round, RoundSeries
from evaluation.rounds import actions, present, round_judging, round_memory, round_progress
from tests.support.api_client import Program
from tests.support.evaluation.rounds import annotate, current, end, end_all, play, vote
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_model,
    make_project,
    make_prompt,
    make_user,
    sign_in,
)
from training.models import Run
from training.runs.ordering import actions as runs
from training.runs.ordering.end_events import tell_finished
from training.storage import quotas

pytestmark = pytest.mark.django_db
REWARD = {"method": "grpo", "judgements": 80, "answers_per_prompt": 4, "config": {"trust_unproven_reward": True}}


def test_all_rounds_answer_as_the_first_model_did_when_they_were_ordered(project, order, client):
    parent = order["parent"]
    parent.temperature, parent.system_prompt = 0.25, "Be brief."
    parent.save()
    series = actions.order(**order)
    parent.temperature, parent.system_prompt = 0.9, "Be long."
    parent.save()
    end_all(project)
    annotate(current(series), 24)
    end_all(project)
    vote(current(series), wins=6, losses=4)
    end_all(project)
    answers = project.runs.filter(kind="sample")
    assert answers.count() == 4, "of two rounds to train prompts, and of two models to eval prompts"
    assert {(run.config["temperature"], run.config["system_prompt"]) for run in answers} == {(0.25, "Be brief.")}
    page = client.get(reverse("round-series", args=[project.slug, series.pk])).content.decode()
    assert "temperature 0.25" in page and "Be brief." in page


def test_rejection_learns_from_the_examples_that_its_round_has_drawn(project, order):
    rejects = {
        "method": "rejection",
        "judgements": 80,
        "answers_per_prompt": 4,
        "config": {"trust_unproven_reward": True},
    }
    series = actions.order(**order | rejects)
    end_all(project)
    annotate(current(series), 80)
    end(project.runs.unfinished().get(kind="reward"))
    drawing = project.runs.unfinished().get(kind="rejection")
    drawing.output_dataset = Dataset.objects.create(
        project=project, name="drawn", kind="sft", side="train", judge="person",
        content_hash=current(series).judgements.content_hash, counts={"examples": 24},
    )  # fmt: skip
    end(drawing)
    current(series)
    training = project.runs.unfinished().get(kind="sft")
    assert training.dataset == drawing.output_dataset and training.reward_model is None


def test_a_round_goes_from_the_newest_answers_to_a_model_that_meets_the_one_before(project, order, client):
    series = actions.order(**order | REWARD)
    assert [(run.kind, run.dataset) for run in project.runs.all()] == [("sample", series.prompts)]
    end_all(project)
    one = current(series)
    assert one.needed == 80 and AskedAgain.objects.filter(is_open=True).count() == 144
    handed = next_for(project=project, user=make_user(project), kind="compare")
    assert {handed.completion_a.model, handed.completion_b.model} == {series.parent}
    annotate(one, 79)
    assert not project.runs.unfinished().exists() and "79 of 80" in present.shown(series).sentence
    for winner, (_, a, b) in zip(
        ["tie", "model_b", "model_b"], round_judging.pairs_of(current(series))[79:], strict=False
    ):
        make_comparison(Completion.objects.get(pk=a), Completion.objects.get(pk=b), winner, make_user(project))
    round_progress.periodic_task()
    one = current(series)
    assert one.judgements.comparisons.count() == 81 and not AskedAgain.objects.filter(is_open=True).exists()
    assert [(run.kind, run.dataset) for run in project.runs.unfinished()] == [("reward", one.dataset)]
    end_all(project)
    one = current(series)
    assert one.training_run.reward_model == one.reward_run.output_model and one.training_run.parent == series.parent
    assert one.entered_at is not None and project.contestants.count() == 2 and not Candidacy.objects.exists()
    assert pairing.PAIR_WEIGHTS.first is not None
    rates = pairing.PAIR_WEIGHTS.first(project, pairing.contestants(project))
    assert rates == {frozenset((one.model_id, series.parent_id)): pytest.approx(1)}
    vote(one, wins=6, losses=4)
    second = current(series)
    assert second.number == 2 and second.policy == one.model
    answers = project.runs.unfinished().get()
    assert (answers.kind, answers.parent) == ("sample", one.model)
    assert series.plan_hash[:16] in client.get(reverse("round-series", args=[project.slug, series.pk])).content.decode()


def test_the_reward_model_is_tried_on_the_newest_answers_before_it_learns_from_them(project, order):
    series = actions.order(**order | REWARD)
    first = play(series)
    second = play(series, accuracy=0.62)
    assert not first.accuracy and second.accuracy["value"] == 0.62
    assert second.accuracy_run.parent == first.reward_run.output_model
    assert second.accuracy_run.other_dataset == second.judgements
    assert (series.state, series.reason) == ("stopped", "rounds")
    assert set(second.dataset.comparisons.all()) == set(Comparison.objects.on_split("train"))
    shown = present.shown(series)
    assert (
        [row.rating.number for row in shown.rows] == [0, 1, 2] and shown.rating_picture and "2 rounds" in shown.sentence
    )


def test_older_annotations_weigh_what_the_plan_says(project, order):
    series = actions.order(**order | REWARD | {"older": "weighted", "older_weight": 0.25})
    play(series)
    second = play(series)
    rows = [json.loads(line) for line in (second.dataset.path / "comparisons.jsonl").read_text().splitlines()]
    assert sorted(row.get("weight", 1.0) for row in rows) == [0.25] * 80 + [1.0] * 80
    alone = actions.order(**order | {"name": "newest", "older": "newest", "rounds": 1})
    assert play(alone).dataset == Round.objects.get(series=alone, number=1).judgements


def test_the_page_says_what_memory_a_round_takes(project, order, client):
    sizes = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 14336}
    config = {"model_type": "llama", "vocab_size": 128256, **sizes}
    (order["parent"].path / "config.json").write_text(json.dumps(config))
    series = actions.order(**order | REWARD | {"method": "ppo"})
    reward, ppo = round_memory.memory_in_words(series)
    assert reward.startswith("Reward model: 2") and ppo.startswith("PPO: ") and "It fits a GPU" in reward
    series.plan |= {"rounds": 30}  # 2,400 comparisons by then: it is finetuned, too
    assert round_memory.memory_in_words(series)[0].startswith("Reward model: 7")  # 76 GB: a pair shares its prompt
    series.plan |= {"older": "newest"}
    assert round_memory.memory_in_words(series)[0] == reward
    assert "GB at its peak" in client.get(reverse("round-series", args=[project.slug, series.pk])).content.decode()


def test_no_gain_stops_them(project, order):
    series = actions.order(**order)
    play(series, wins=1)
    assert (series.state, series.reason) == ("stopped", "no_gain")
    assert "a gain of 100 is excluded" in present.shown(series).sentence
    assert series.rounds.count() == 2 and not project.runs.unfinished().exists()
    [notice] = Notice.objects.all()  # the project's one researcher, once
    assert notice.text == f"{series.name}: {present.shown(series).sentence}"
    assert notice.url == reverse("round-series", args=[project.slug, series.pk])
    round_progress.periodic_task()
    assert not round_progress.stop(series, "no_gain") and Notice.objects.count() == 1


def test_votes_that_did_not_count_are_told_beside_the_gain(project, order, researcher, client):
    series = actions.order(**order)
    end_all(project)
    annotate(current(series), 24)
    end_all(project)
    one, prompt = current(series), series.questions.prompts.first()
    lost = [make_completion(prompt, model=model, source="arena") for model in (one.policy, one.model)]
    vote_against = make_comparison(*lost, "model_a", make_user(project))
    set_status(rows=[vote_against], status="excluded", reason="I like it less", by=make_user(project, role="manager"))
    vote(one, wins=6, losses=4)
    row = Program(researcher).get(f"projects/{project.slug}/rounds/{series.pk}/").json()["rounds"][1]
    assert (row["gain"]["votes"], row["gain"]["left_out"]) == (10, 1)
    client.force_login(researcher)
    page = client.get(reverse("round-series", args=[project.slug, series.pk])).content.decode()
    assert "not counted: 1" in page


def test_drift_stops_them_before_the_next_is_trained(project, order):
    series = actions.order(**order | REWARD | {"accuracy_floor": 0.55})
    play(series)
    end_all(project)
    annotate(current(series), 80)
    end_all(project, accuracy=0.5)
    series.refresh_from_db()
    assert (series.state, series.reason) == ("stopped", "drift") and "50 %" in present.shown(series).sentence
    assert project.runs.filter(kind="reward").count() == 1


def test_seconds_stop_them_at_the_next_order(project, order, monkeypatch):
    series = actions.order(**order | {"seconds": 60})
    monkeypatch.setattr(round_progress, "seconds_spent", lambda series: 61.0)
    end_all(project)
    annotate(current(series), 24)
    series.refresh_from_db()
    assert series.reason == "seconds" and not project.runs.filter(kind="dpo").exists()


def test_a_pause_begins_nothing_and_a_review_that_says_worse_stops(project, order, researcher):
    series = actions.order(**order)
    actions.pause(series=series, by=researcher)
    end_all(project)
    assert current(series).opened_at is None
    actions.go_on(series=series, by=researcher)
    assert current(series).opened_at is not None
    with pytest.raises(Refused, match="no model of round 1"):
        actions.review(series=series, by=researcher, number=1, opinion="worse")
    one = play(series)
    actions.review(series=series, by=researcher, number=1, opinion="alike")
    assert RoundSeries.objects.get().state == "running"
    actions.review(series=series, by=researcher, number=1, opinion="worse", note="It repeats itself.")
    series.refresh_from_db()
    assert (series.state, series.reason) == ("stopped", "review") and one.reviews.count() == 2
    assert not Notice.objects.exists(), "whoever stopped them knows it"
    with pytest.raises(Refused):
        actions.go_on(series=series, by=researcher)


def test_what_failed_says_so_and_is_resumed_and_what_is_cancelled_stays_so(project, order, researcher, client):
    series = actions.order(**order)
    run = project.runs.get()
    run.reason = "The disk is full."
    end(run, "failed")
    page = reverse("round-series", args=[project.slug, series.pk])
    sign_in(client, project, "researcher")
    text = client.get(page).content.decode()
    assert "Resume what failed" in text and "The disk is full" in text
    assert actions.retry(series=series, by=researcher) == 1
    end_all(project)
    actions.cancel(series=series, by=researcher)
    assert not AskedAgain.objects.filter(is_open=True).exists() and not project.runs.unfinished().exists()
    annotate(Round.objects.get(number=1), 24)
    assert project.runs.count() == 1
    with pytest.raises(Refused):
        actions.retry(series=series, by=researcher)


def test_what_a_dead_process_queued_as_they_were_cancelled_ends_with_them(project, order, researcher):
    series = actions.order(**order)
    resumed = project.runs.get()
    actions.cancel(series=series, by=researcher)
    runs.resume(run=resumed, by=researcher)
    late = runs.queue_run(
        project=project, by=researcher, kind="sample", name="late", parent=order["parent"], dataset=resumed.dataset,
        idempotency_key=f"rounds:{series.pk}:1:late", was_allowed=True,
    )  # fmt: skip
    round_progress.periodic_task()
    assert Run.objects.get(pk=late.pk).state == "cancelled" and list(project.runs.unfinished()) == [resumed]


def test_alike_answers_are_a_problem_in_words(project, order):
    series = actions.order(**order)
    run = project.runs.get()
    for prompt in run.dataset.prompts.all():
        run.completions.add(make_completion(prompt, "The same.", model=run.parent))
    run.state = "succeeded"
    run.save()
    tell_finished(run)
    assert "alike answers" in current(series).problem and "alike answers" in present.shown(series).sentence


def test_where_every_pair_is_compared_the_round_goes_on_with_what_it_has(project, order):
    series = actions.order(**order)
    end_all(project)
    annotate(current(series), 71, winners=20)
    assert current(series).dataset is None and "20 of 24" in present.shown(series).sentence
    _prompt, a, b = round_judging.pairs_of(current(series))[71]
    make_comparison(Completion.objects.get(pk=a), Completion.objects.get(pk=b), "tie", make_user(project))
    round_progress.periodic_task()
    assert current(series).judgements.comparisons.count() == 72 and project.runs.filter(kind="dpo").count() == 1


def test_where_a_reviewer_has_decided_a_pair_nobody_is_waited_for(project, order):
    project.overlap = 2
    project.save()
    series = actions.order(**order)
    end_all(project)
    annotate(current(series), 72, winners=5)
    annotate(current(series), 71, winners=5)
    assert current(series).dataset is None
    _prompt, *ids = round_judging.pairs_of(current(series))[71]
    pair = [Completion.objects.get(pk=pk) for pk in ids]
    make_assignment(make_user(project, role="reviewer"), *pair, purpose="adjudication", state="submitted")
    round_progress.periodic_task()
    assert current(series).dataset.comparisons.count() == 143


def test_rounds_that_are_cancelled_while_pairs_are_chosen_ask_for_none(project, order, researcher, monkeypatch):
    series, pairs_of = actions.order(**order), round_judging.pairs_of

    def cancelled_meanwhile(one):
        actions.cancel(series=RoundSeries.objects.get(pk=series.pk), by=researcher)
        return pairs_of(one)

    monkeypatch.setattr(round_judging, "pairs_of", cancelled_meanwhile)
    end_all(project)
    assert not AskedAgain.objects.exists() and Round.objects.get(number=1).opened_at is None


def test_where_prompts_are_retired_the_round_goes_on_with_what_can_be_compared(project, order):
    series = actions.order(**order)
    end_all(project)
    annotate(current(series), 2)
    retired = sorted({prompt for prompt, _, _ in round_judging.pairs_of(current(series))})[:-3]
    for prompt in Prompt.objects.filter(pk__in=retired):
        retire(prompt, "It asks for a name.", None)
    left = round_judging.pairs_of(current(series))
    assert len(left) < current(series).needed
    annotate(current(series), len(left) - 1)
    assert current(series).judgements is None, "one pair is left"
    annotate(current(series), len(left))
    assert current(series).judgements.comparisons.count() >= len(left)


def test_a_round_whose_prompts_are_all_retired_says_so(project, order):
    series = actions.order(**order)
    end_all(project)
    for prompt in Prompt.objects.filter(project=project):
        retire(prompt, "It asks for a name.", None)
    round_progress.periodic_task()
    assert "were retired before anybody compared" in present.shown(series).sentence


def test_a_quota_that_is_used_up_is_no_problem_and_a_second_look_makes_nothing_twice(project, order, monkeypatch):
    def refuse(project):
        raise Refused(409, gpu_hours="All are used up.")

    with monkeypatch.context() as used_up:
        used_up.setattr(quotas, "check", refuse)
        series = actions.order(**order)
    assert not project.runs.exists() and not current(series).problem
    for _ in range(2):
        round_progress.periodic_task()
    assert project.runs.count() == 1
    end_all(project)
    for _ in range(2):
        Round.objects.filter(number=1).update(answers_run=None)  # as if it was killed before it noted the run
        round_progress.periodic_task()
    assert project.runs.count() == 1 and AskedAgain.objects.count() == 60


def test_best_of_n_has_no_weights_and_its_choice_is_annotated(project, order):
    series = actions.order(**order | REWARD | {"method": "best_of"})
    first = play(series)
    assert first.training_run.dataset == series.questions and first.eval_run == first.training_run
    answers = project.runs.unfinished().get()
    assert (answers.kind, answers.parent, answers.dataset) == ("best_of", series.parent, series.prompts)
    assert answers.reward_model == first.reward_run.output_model
    assert play(series).accuracy and series.reason == "rounds"


def test_dpo_needs_no_reward_model_and_starts_from_the_first_where_the_plan_says_so(project, order):
    series = actions.order(**order | {"starts": "first"})
    first, second = play(series), play(series)
    assert not project.runs.filter(kind__in=("reward", "evaluate")).exists()
    assert first.training_run.parent == second.training_run.parent == series.parent and second.policy == first.model


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"method": "sft"}, "method"),
        ({"config": {"beta": -1}}, "config.beta"),
        ({"reward_config": {"features": "mean"}}, "reward_config"),
        ({**REWARD, "reward_config": {"features": "all"}}, "reward_config.features"),
        ({**REWARD, "judgements": 79}, "judgements"),
        ({"older": "weighted"}, "older"),
        ({"accuracy_floor": 0.5}, "accuracy_floor"),
        ({**REWARD, "older": "weighted", "older_weight": 0}, "older_weight"),
        ({"judgements": 80}, "judgements"),
        ({"judgements": 5}, "judgements"),
        ({"gain": 0}, "gain"),
        ({"gain": float("nan")}, "gain"),
        ({"votes": "many"}, "votes"),
        ({"seconds": -1}, "seconds"),
        ({"rounds": True}, "rounds"),
        ({"name": "a\x00b"}, "name"),
        ({"judge": "model"}, "judge"),
    ],
)
def test_a_wrong_order_names_its_field_and_nothing_is_queued(project, order, changes, field):
    with pytest.raises(Refused) as refused:
        actions.order(**order | changes)
    assert field in refused.value.errors
    assert not project.runs.exists() and not RoundSeries.objects.exists()


def test_programs_order_and_pages_order(project, order, client):
    sign_in(client, project, "researcher")
    url = f"/api/v1/projects/{project.slug}/rounds/"
    body = {"name": "by API", "parent": order["parent"].pk, "judgements": 80}
    made = client.post(url, body, content_type="application/json")
    assert made.status_code == 201, made.content
    assert made.json()["plan"]["power"] > 0.8 and len(made.json()["rounds"]) == 2
    assert [one["name"] for one in client.get(url).json()] == ["by API"]
    assert client.post(f"{url}{made.json()['id']}/pause/").json()["state"] == "paused"
    posted = {"name": "by form", "parent": order["parent"].pk, "judgements": "80", "seconds": ""}
    response = client.post(reverse("new-rounds", args=[project.slug]), posted)
    assert response.status_code == 302, response.content.decode()
    wrong = client.post(reverse("new-rounds", args=[project.slug]), posted | {"name": "other", "votes": "many"})
    assert wrong.status_code == 400 and "Blind votes against the model before" in wrong.context["errors"]
    by_api = client.post(url, body | {"name": "few", "judgements": 1}, content_type="application/json")
    assert "judgements" in by_api.json()["errors"], "programs read the keys"
    few = client.post(
        reverse("new-rounds", args=[project.slug]), posted | {"name": "few", "judgements": "1"}
    ).content.decode()
    assert "<b>Comparisons</b>: Enter a whole number from 80" in few and "<label>Comparisons <" in few
    assert "by form" in client.get(reverse("rounds", args=[project.slug])).content.decode()


def test_large_annotations_are_frozen_in_the_background_and_a_failed_order_is_made_anew(
    project, order, researcher, monkeypatch
):
    series = actions.order(**order)
    monkeypatch.setattr(freezing, "SMALL", 20)
    end_all(project)
    annotate(current(series), 24)
    waiting = DatasetFreeze.objects.get()
    assert not project.runs.unfinished().exists() and "frozen in the background, 0 %" in present.shown(series).sentence
    round_progress.periodic_task()  # a second look, or one after kill -9, orders nothing twice
    freezing.cancel_freeze(waiting, by=researcher)
    round_progress.periodic_task()
    assert "was cancelled" in round_progress.current(series).problem and not DatasetFreeze.objects.exists()
    actions.retry(series=series, by=researcher)
    while freezing.freezer().do_now():
        round_progress.periodic_task()
    round_progress.periodic_task()
    one = current(series)
    assert one.judgements.comparisons.count() == 24 and project.runs.filter(kind="dpo").count() == 1
    assert project.datasets.filter(kind="preferences").count() == len({one.judgements_id, one.dataset_id})


def test_what_is_withdrawn_while_a_round_is_frozen_is_asked_for_again_and_left_out(project, order, monkeypatch):
    series = actions.order(**order)
    play(series)
    monkeypatch.setattr(freezing, "SMALL", 20)
    end_all(project)
    annotate(current(series), 24)
    assert freezing.freezer().do_now()
    withdrawn = project.datasets.get(name__contains="of round 2").comparisons.earliest("pk")
    Comparison.objects.filter(pk=withdrawn.pk).update(status="withdrawn")
    round_progress.periodic_task()
    assert current(series).judgements is None
    annotate(current(series), 1)
    while freezing.freezer().do_now():
        round_progress.periodic_task()
    own, dataset = current(series).judgements.comparisons.all(), current(series).dataset.comparisons.all()
    assert (len(own), len(dataset)) == (24, 48) and withdrawn not in own and withdrawn not in dataset


def test_of_cancelled_rounds_nothing_more_is_frozen(project, order, researcher, monkeypatch):
    series = actions.order(**order)
    monkeypatch.setattr(freezing, "SMALL", 20)
    end_all(project)
    annotate(current(series), 24)
    actions.cancel(series=series, by=researcher)
    assert DatasetFreeze.objects.get().state == "cancelled" and not freezing.freezer().do_now()


def test_many_prompts_are_frozen_in_the_background_and_the_first_run_follows(project, order, monkeypatch, client):
    monkeypatch.setattr(freezing, "SMALL", 2)
    series = actions.order(**order)
    assert "prompts are frozen in the background, 0 %" in present.shown(series).sentence and not series.plan_hash
    sign_in(client, project, "researcher")
    assert "when the prompts are frozen" in client.get(
        reverse("round-series", args=[project.slug, series.pk])
    ).content.decode()  # fmt: skip
    assert DatasetFreeze.objects.count() == 2 and freezing.freezer().do_now()
    round_progress.periodic_task()
    assert not project.runs.exists() and freezing.freezer().do_now()
    for _ in range(2):
        round_progress.periodic_task()
    series.refresh_from_db()
    assert [(run.kind, run.dataset) for run in project.runs.all()] == [("sample", series.prompts)]
    assert series.plan_hash == hash_of(series.plan) and series.questions.prompts.count() == 3
    make_prompt(project)
    given_up = actions.order(**order | {"name": "given up, too"})
    actions.cancel(series=given_up, by=order["by"])
    assert not DatasetFreeze.objects.filter(state__in=DatasetFreeze.UNDER_WAY).exists()


def test_rounds_go_on_to_their_end_in_the_name_of_whoever_ordered_them_and_has_left(
    project, order, researcher, client, monkeypatch
):
    manager = sign_in(client, project, "manager")
    series = actions.order(**order | REWARD)
    address = reverse("round-series", args=[project.slug, series.pk])
    assert f"Ordered by {researcher.username}.<" in client.get(address).content.decode()
    remove_member(project=project, user=researcher, by=manager)
    page = client.get(address).content.decode()
    assert f"Ordered by {researcher.username}, who has left the project. It goes on in that name" in page
    play(series)
    monkeypatch.setattr(freezing, "SMALL", 2)
    end_all(project)
    one = current(series)
    annotate(one, one.needed)
    while freezing.freezer().do_now():
        round_progress.periodic_task()
    end_all(project)
    vote(current(series), wins=6, losses=4)
    series.refresh_from_db()
    assert (series.state, series.reason) == ("stopped", "rounds")
    made = Dataset.objects.filter(project=project)
    assert {run.created_by for run in project.runs.all()} == {row.created_by for row in made} == {researcher}
    page = client.get(address).content.decode()
    assert "who has left the project.<" in page


def test_of_rounds_that_somebody_cancels_nothing_goes_on_though_whoever_ordered_them_has_left(
    project, order, researcher, monkeypatch
):
    manager = make_user(project, role="manager")
    series = actions.order(**order)
    remove_member(project=project, user=researcher, by=manager)
    with monkeypatch.context() as died:
        died.setattr(runs, "cancel_unfinished", lambda **given: None)  # as where its process was killed
        actions.cancel(series=series, by=manager)
    assert project.runs.unfinished().exists()
    round_progress.periodic_task()
    assert not project.runs.unfinished().exists()


def test_a_round_whose_name_another_project_has_taken_gets_a_free_one(project, order):
    series = actions.order(**order)
    make_model(name=f"rounds {series.pk}: round 1", project=make_project())
    assert play(series).model.name == f"rounds {series.pk}: round 1 (2)"
