"""The human review from the database's side: pairs to annotators, verdicts to the recipe, and what nobody may see."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.models import Assignment, Completion
from tests.support.api_client import program
from tests.support.factories import make_comparison, make_completion, make_project, make_prompt, make_user
from tests.support.training.runs import make_run
from training import configs
from training.core.run_directory import RunDirectory
from training.models import Review, Run
from training.runs.human_review import reviews as human_review
from training.runs.queue import supervision

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return make_project(eval_percent=0)


@pytest.fixture
def run(project) -> Run:
    run = make_run(project, kind="ppo", state="running")
    run.config = dict(configs.parse("ppo", {"reward_function": "a.b"}).__dict__)
    run.save()
    return run


def row(prompt: Any, sequence: int = 1, step: int = 4, **fields: Any) -> dict[str, Any]:
    def answer(text: str, score: float) -> dict[str, Any]:
        return {"text": text, "score": score, "tokens": 5, "finish_reason": "length"}

    return {
        "sequence": sequence, "step": step, "prompt": fields.pop("messages", prompt.messages), "prompt_id": prompt.pk,
        "policy": answer(fields.pop("policy", f"the policy says {sequence}"), 1.5),
        "parent": answer(fields.pop("parent", f"the parent says {prompt.pk}"), 0.5),
        "predicted": 0.8, "sampling": {"temperature": 1.0, "max_new_tokens": 64}, **fields,
    }  # fmt: skip


def vote_for_policy(run: Run, user: Any, wins: bool = True) -> Review:
    task = assignments.next_for(project=run.project, user=user)
    assert task is not None and task.kind == "compare"
    review = Review.objects.get(policy_answer__in=[task.completion_a, task.completion_b])
    is_a = task.completion_a == review.policy_answer
    feedback.submit(assignment=task, by=user, winner="model_a" if is_a == wins else "model_b")
    return review


def test_pairs_become_completions_each_once_and_only_the_parents_have_a_model(project, run):
    prompt, other = make_prompt(project), make_prompt(project)
    rows = [row(prompt, 1), row(other, 2), row(prompt, 3, step=8)]
    human_review.take_in(run, rows[:2])
    human_review.take_in(run, rows)
    assert [r.sequence for r in run.reviews.all()] == [1, 2, 3]
    first, _, third = run.reviews.all()
    assert first.policy_answer.model is None and first.parent_answer.model == run.parent
    assert first.parent_answer == third.parent_answer  # the parent answered once
    assert Completion.objects.count() == 5
    assert first.policy_answer.sampling["temperature"] == 1.0 and f"run {run.pk}" in first.policy_answer.source


def test_they_come_before_everything_else_to_everybody_in_an_order_of_their_own(project, run):
    prompt = make_prompt(project)
    for _ in range(3):
        make_completion(prompt)
    human_review.take_in(run, [row(make_prompt(project), n) for n in range(1, 9)])
    sides = set()
    for _ in range(8):
        user = make_user(project)
        task = assignments.next_for(project=project, user=user)
        review = Review.objects.get(policy_answer__in=[task.completion_a, task.completion_b])
        assert {task.completion_a, task.completion_b} == {review.policy_answer, review.parent_answer}
        sides.add(task.completion_a == review.policy_answer)
    assert sides == {True, False}
    ordinary = assignments.next_for(project=project, user=make_user(project))  # each pair is in somebody's hands
    assert ordinary.prompt == prompt


def test_what_is_served_names_no_model_and_no_run(project, run):
    human_review.take_in(run, [row(make_prompt(project))])
    mine = program(project)
    answer = mine.post(f"projects/{project.slug}/assignments/")
    text = answer.content.decode()
    assert answer.status_code == 200 and "the policy says 1" in text
    assert run.name not in text and run.parent.name not in text and "step" not in text and "source" not in text


def test_its_answers_are_judged_in_their_pair_and_in_no_other(project, run):
    prompt = make_prompt(project)
    make_completion(prompt), make_completion(prompt)
    human_review.take_in(run, [row(prompt)])
    reserved = set(Completion.objects.filter(source__startswith="run ").values_list("pk", flat=True))
    user = make_user(project)
    vote_for_policy(run, user)
    served = []
    while task := assignments.next_for(project=project, user=user):
        served.append(task)
        fields = {"stars": 3} if task.kind == "rate" else {"winner": "tie"}
        feedback.submit(assignment=task, by=user, **fields)
    assert len(served) == 3  # two ratings and the pair of the ordinary answers
    assert not reserved & {pk for t in served for pk in (t.completion_a_id, t.completion_b_id)}


def test_pairs_of_a_run_that_has_ended_are_asked_no_more(project, run):
    human_review.take_in(run, [row(make_prompt(project))])
    Run.objects.filter(pk=run.pk).update(state="succeeded")
    assert assignments.next_for(project=project, user=make_user(project)) is None


def test_verdicts_flow_back_people_and_simulations_apart(project, run):
    human_review.take_in(run, [row(make_prompt(project)), row(make_prompt(project), 2)])
    project.overlap = 2
    project.save()
    assert [vote_for_policy(run, make_user(project), wins=wins).sequence for wins in (True, False)] == [1, 1]
    vote_for_policy(run, make_user(project, is_simulated=True), wins=False)
    run.path.mkdir(parents=True)
    directory = RunDirectory(run.path)
    human_review.tell(run, directory)
    said = {(r["sequence"], r["judge"]): (r["people"], r["votes"]) for r in directory.opinions()}
    assert said == {(1, "person"): (0.5, 2), (1, "simulation"): (0.0, 1)}


def test_an_undone_vote_is_no_opinion(project, run):
    human_review.take_in(run, [row(make_prompt(project))])
    user = make_user(project)
    vote_for_policy(run, user)
    assert human_review.reviewed_pairs(run)[0].people == 1.0
    feedback.undo(assignment=Assignment.objects.get(user=user), by=user)
    assert human_review.reviewed_pairs(run)[0].people is None


def test_comparisons_with_other_answers_are_no_opinion_of_the_pair(project, run):
    prompt = make_prompt(project)
    human_review.take_in(run, [row(prompt)])
    make_comparison(run.reviews.get().policy_answer, make_completion(prompt))
    assert human_review.opinions(run) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"policy": "  "}, "empty"),
        ({"policy": "the same", "parent": "the same "}, "are equal"),
        ({"prompt_id": None, "messages": [{"role": "user", "content": "Never heard of"}]}, "not in the project"),
    ],
)
def test_what_cannot_be_judged_says_why_and_is_not_waited_for(project, run, change, why):
    human_review.take_in(run, [row(make_prompt(project), **change)])
    assert why in run.reviews.get().not_asked
    assert human_review.is_judged(run)
    assert human_review.opinions(run)[0]["judge"] == "nobody"
    assert assignments.next_for(project=project, user=make_user(project)) is None


def test_a_prompt_of_the_eval_split_is_never_asked(project, run):
    human_review.take_in(run, [row(make_prompt(project, side="eval"))])
    assert "eval" in run.reviews.get().not_asked and Completion.objects.count() == 0


def test_a_project_that_compares_nothing_is_not_asked_to(run, project):
    project.asks_comparisons = False
    project.save()
    human_review.take_in(run, [row(make_prompt(project))])
    assert "no comparisons" in run.reviews.get().not_asked


def test_the_worker_takes_in_under_its_lease_alone(project, run):
    Run.objects.filter(pk=run.pk).update(state="queued")
    attempt = supervision.claim(worker="w", launcher="l")
    run.path.mkdir(parents=True)
    directory = RunDirectory(run.path)
    directory.ask_for_review([{k: v for k, v in row(make_prompt(project)).items() if k != "sequence"}])
    human_review.follow(attempt, directory)
    assert run.reviews.count() == 1
    supervision.conclude(attempt, supervision.Ending.lost("gone"))
    directory.ask_for_review([{k: v for k, v in row(make_prompt(project)).items() if k != "sequence"}])
    with pytest.raises(supervision.LeaseLost):
        human_review.follow(attempt, directory)
    assert run.reviews.count() == 1


def test_a_run_that_waits_goes_on_when_all_of_it_is_judged(project, run):
    human_review.take_in(run, [row(make_prompt(project)), row(make_prompt(project), 2)])
    run.path.mkdir(parents=True)
    Run.objects.filter(pk=run.pk).update(state="paused", reason_code="waiting_for_people", reason="Waiting.")
    for state in ("paused", "paused", "queued"):
        human_review.wake_waiting()
        run.refresh_from_db()
        assert run.state == state
        if state == "paused":
            vote_for_policy(run, make_user(project))
    assert len(RunDirectory(run.path).opinions()) == 2 and run.reason == ""


def test_a_run_whose_folder_is_gone_stops_no_worker_and_waits_on(project, run):
    human_review.take_in(run, [row(make_prompt(project))])
    vote_for_policy(run, make_user(project))
    Run.objects.filter(pk=run.pk).update(state="paused", reason_code="waiting_for_people")
    human_review.wake_waiting()
    run.refresh_from_db()
    assert run.state == "paused"


def test_a_file_that_a_recipe_broke_stops_no_worker(project, run):
    human_review.take_in(run, [row(make_prompt(project))])
    vote_for_policy(run, make_user(project))
    run.path.mkdir(parents=True)
    (run.path / "opinions.jsonl").write_text("no JSON\n", encoding="utf-8")
    Run.objects.filter(pk=run.pk).update(state="paused", reason_code="waiting_for_people")
    human_review.wake_waiting()
    run.refresh_from_db()
    assert run.state == "paused"


def test_a_run_that_paused_for_another_reason_is_not_woken(project, run):
    Run.objects.filter(pk=run.pk).update(state="paused", reason_code="people_disagree")
    human_review.wake_waiting()
    run.refresh_from_db()
    assert run.state == "paused"


def test_the_page_shows_both_opinions_and_keeps_open_pairs_blind(client, project, run):
    human_review.take_in(run, [row(make_prompt(project), n) for n in (1, 2)])
    vote_for_policy(run, make_user(project))
    page = client.get(reverse("run", args=[run.pk]), {"tab": "review"}).content.decode()
    assert "1 pair waits for an annotator" in page
    assert "1 of 1" in page and "80 % of 2" in page  # agreement, and what the reward model expects
    assert "the policy says" not in page  # which answer is whose is not for those who may judge it
    client.force_login(make_user(project, role="researcher"))
    page = client.get(reverse("run", args=[run.pk]), {"tab": "review"}).content.decode()
    assert "the policy says 1" in page and "the policy says 2" not in page


def test_a_program_reads_both_opinions(project, run):
    human_review.take_in(run, [row(make_prompt(project))])
    vote_for_policy(run, make_user(project), wins=False)
    [told] = program(project).get(f"runs/{run.pk}/reviews/").json()
    assert told == {
        "sequence": 1, "step": 4, "predicted": 0.8, "not_asked": "", "people": 0.0, "simulations": None,
    }  # fmt: skip


def test_what_was_thought_is_no_part_of_the_pair_and_alone_no_answer(project, run):
    prompt = make_prompt(project)
    human_review.take_in(run, [
        row(prompt, 1, policy="<think>Hmm.</think>Yes.", parent="<think>Ah.</think>No."),
        row(prompt, 2, policy="<think>Hmm.</think>Maybe.", parent="<think>Oh.</think>No."),
        row(prompt, 3, policy="<think>Hmm."),
    ])  # fmt: skip
    first, second, third = run.reviews.all()
    assert (first.policy_answer.text, first.policy_answer.reasoning) == ("Yes.", "Hmm.")
    assert first.parent_answer == second.parent_answer and "answer is empty" in third.not_asked
