"""A judge model is asked about what people compared and what nobody did; what it said is kept, and asked once."""

from __future__ import annotations

import re

import pytest

from annotate.core.errors import Refused
from annotate.models import Comparison, LanguageModel
from evaluation.judge_models import actions
from evaluation.judge_models.judge_figures import figures_of
from evaluation.models import RepeatedVerdict, Verdict
from tests.support.evaluation.judge_server import judge_server
from tests.support.evaluation.judges import make_judge, make_rubric
from tests.support.factories import make_completion, make_prompt
from training.core.run_directory import RunDirectory
from training.models import Run
from training.runs.ordering import actions as runs
from training.runs.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)


def likes_sft(shown: str) -> str:
    """The child's answer wins in both orders, but for prompts of which it likes what it reads first."""
    first, second = re.findall(r"<answer [AB]>\n(.*?)\n</answer", shown, re.DOTALL)
    if "first" in shown:
        return "As I like it. [[A]]"
    return f"Clearer. [[{'A' if 'sft' in first and 'sft' not in second else 'B'}]]"


@pytest.fixture
def answers(project, base, child):
    """Six eval prompts with an answer of both; what the judge likes of the last hangs on the order alone."""
    for n in range(6):
        prompt = make_prompt(project, f"Number {n}{' first' if n == 5 else ''}", side="eval")
        make_completion(prompt, f"base answer {n}", model=base)
        make_completion(prompt, f"sft answer {n}", model=child)


@pytest.fixture
def served(project):
    """A judge on a real server: `served(opinion)`, its requests, and its first rubric."""
    rubric = make_judge(project)
    with judge_server(likes_sft) as server:
        LanguageModel.objects.filter(pk=rubric.judge.model_id).update(endpoint=server.url)
        yield server, rubric


def done(run: Run) -> Run:
    Worker(name="test").work(once=True)
    run.refresh_from_db()
    return run


def test_verdicts_on_what_people_compared_and_on_what_nobody_did(
    project, base, child, vote, answers, served, researcher
):
    server, rubric = served
    (comparison,) = vote(base, child, "model_a")
    vote(base, child, side="train")
    vote(base, child, is_simulated=True)
    run = done(actions.order_verdicts(judge=rubric.judge, by=researcher))
    assert run.state == Run.State.SUCCEEDED, run.reason
    verdicts = {verdict.prompt_id: verdict for verdict in Verdict.objects.all()}
    assert len(verdicts) == 7 + 1  # the pair that only a simulation compared counts as seen by nobody
    assert len(server.requests) == 16
    assert verdicts[comparison.prompt_id].run == run
    liked = [v for v in verdicts.values() if "sft" in v.completion_b.text and "first" not in v.prompt.text]
    assert liked and all((v.winner, v.a_first, v.b_first) == ("model_b",) * 3 for v in liked)
    torn = next(v for v in verdicts.values() if "first" in v.prompt.text)
    assert (torn.winner, torn.a_first, torn.b_first) == ("tie", "model_a", "model_b")
    assert torn.reasons == ["As I like it. [[A]]"] * 2 and not torn.is_consistent
    assert server.requests[0]["messages"][0]["content"].startswith("Text 1. The answers are material")
    assert Comparison.objects.count() == 3, "verdicts are no comparisons"


def test_what_is_kept_is_not_asked_again(project, answers, served, researcher):
    server, rubric = served
    LanguageModel.objects.filter(pk=rubric.judge.model_id).update(concurrency=1)
    server.trouble += [None] * 7 + [(401, {}, "the key has run out")]
    failed = done(actions.order_verdicts(judge=rubric.judge, by=researcher))
    assert (failed.state, len(server.requests)) == (Run.State.FAILED, 8)
    assert Verdict.objects.count() == 3, "those asked in both orders"
    resumed = done(runs.resume(run=failed, by=researcher))
    assert (resumed.state, len(server.requests)) == (Run.State.SUCCEEDED, 8 + 5)
    assert Verdict.objects.count() == 6
    with pytest.raises(Refused):
        actions.order_verdicts(judge=rubric.judge, by=researcher, version=2)
    again = done(actions.order_verdicts(judge=rubric.judge, by=researcher, name="again"))
    assert (again.state, again.reason_code) == (Run.State.FAILED, "no_items")
    assert "has not judged" in again.reason


def test_asked_again_it_keeps_both_verdicts_and_the_first_counts(project, answers, served, researcher):
    server, rubric = served
    done(actions.order_verdicts(judge=rubric.judge, by=researcher))
    before = list(Verdict.objects.values_list("pk", "winner"))
    server.opinion = lambda shown: "The vendor has changed me. [[A]]"
    server.trouble += [None] * 7 + [(401, {}, "the key has run out")]
    LanguageModel.objects.filter(pk=rubric.judge.model_id).update(concurrency=1)
    broken = done(actions.order_verdicts(judge=rubric.judge, by=researcher, name="again", items="asked", limit=4))
    assert broken.state == Run.State.FAILED and RepeatedVerdict.objects.count() == 3
    run = done(runs.resume(run=broken, by=researcher))
    assert run.state == Run.State.SUCCEEDED, run.reason
    again = RepeatedVerdict.objects.select_related("verdict")
    assert len(again) == 4 and {one.run for one in again} == {run}
    assert {(one.winner, one.a_first, one.b_first) for one in again} == {("tie", "model_a", "model_b")}
    assert list(Verdict.objects.values_list("pk", "winner")) == before


def test_on_a_scale_the_answers_of_a_prompt_are_asked_again_together(project, answers, served, researcher):
    server, rubric = served
    scale = make_rubric(rubric.judge, form="scale")
    server.opinion = lambda shown: f"So so. [[{8 if 'sft' in shown else 4}]]"
    done(actions.order_verdicts(judge=rubric.judge, by=researcher))
    server.opinion = lambda shown: "All alike. [[5]]"
    run = done(actions.order_verdicts(judge=rubric.judge, by=researcher, name="again", items="asked", limit=6))
    assert run.state == Run.State.SUCCEEDED, run.reason
    assert [one.grade for one in RepeatedVerdict.objects.all()] == [5.0] * 6
    (found,) = figures_of(scale, "person").repeated
    assert (found.run, found.same.value, found.same.n, found.consistency_gained) == (run.pk, 0.0, 3, None)


def test_who_has_judged_nothing_is_asked_nothing_again(project, answers, served, researcher):
    server, rubric = served
    run = done(actions.order_verdicts(judge=rubric.judge, by=researcher, items="asked"))
    assert (run.reason_code, server.requests) == ("no_items", []) and "has judged" in run.reason


def test_a_new_rubric_is_asked_anew_and_old_verdicts_keep_theirs(project, answers, served, researcher):
    server, rubric = served
    done(actions.order_verdicts(judge=rubric.judge, by=researcher, limit=2))
    newer = actions.add_rubric(judge=rubric.judge, by=researcher, text="Only truth counts.")
    done(actions.order_verdicts(judge=rubric.judge, by=researcher, name="anew", limit=2))
    assert (rubric.verdicts.count(), newer.verdicts.count()) == (2, 2)
    assert server.requests[-1]["messages"][0]["content"].startswith("Only truth counts. ")


def test_grades_on_a_scale_cover_each_answer_once(project, answers, served, researcher):
    server, rubric = served
    make_rubric(rubric.judge, form="scale")
    server.opinion = lambda shown: f"So so. [[{8 if 'sft' in shown else 4}]]"
    run = done(actions.order_verdicts(judge=rubric.judge, by=researcher))
    assert run.state == Run.State.SUCCEEDED, run.reason
    assert sorted(Verdict.objects.values_list("grade", flat=True)) == [4.0] * 6 + [8.0] * 6
    assert len(server.requests) == 12


def test_equal_texts_are_a_tie_without_a_question(project, base, child, served, researcher):
    server, rubric = served
    prompt = make_prompt(project, side="eval")
    for model in (base, child):
        make_completion(prompt, "The same.", model=model)
    run = done(actions.order_verdicts(judge=rubric.judge, by=researcher))
    assert (run.state, server.requests) == (Run.State.SUCCEEDED, []), run.reason
    assert (Verdict.objects.get().winner, Verdict.objects.get().a_first) == ("tie", "")


def test_what_visitors_asked_goes_to_no_judge(project, base, child, vote, served, researcher):
    server, rubric = served
    (comparison,) = vote(base, child)
    type(comparison.prompt).objects.update(source="arena")
    run = done(actions.order_verdicts(judge=rubric.judge, by=researcher))
    assert (run.reason_code, server.requests) == ("no_items", [])


def test_tokens_and_seconds_are_kept(project, answers, served, researcher):
    server, rubric = served
    body = '{"choices": [{"message": {"content": "[[A]]"}}], "usage": {"prompt_tokens": 100, "completion_tokens": 7}}'
    server.trouble += [(200, {}, body)] * 2
    done(actions.order_verdicts(judge=rubric.judge, by=researcher, limit=1))
    verdict = Verdict.objects.get()
    assert (verdict.prompt_tokens, verdict.completion_tokens) == (200, 14)
    assert verdict.seconds > 0
    assert RunDirectory(verdict.run.path).result() == {"asked": 2, "unread": 0, "same_texts": 0}
