"""A policy that a run has made enters by itself, once, whatever is killed in between."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotate.core.periodic_tasks import PERIODIC_TASKS
from annotate.data.datasets import freezing
from annotate.data.datasets.actions import freeze
from annotate.language_models.actions import leave_arena
from annotate.models import Contestant, Dataset
from evaluation.models import Candidacy, Decision
from evaluation.promotion import actions, candidate_review, disputed_items, enrolment
from evaluation.promotion import run_receivers as receivers
from tests.support.factories import make_completion, make_contestant, make_model, make_prompt, make_user
from tests.support.training.runs import make_weights
from training.models import Run
from training.runs.ordering.end_events import tell_finished


@pytest.fixture
def run(project, base, researcher) -> Run:
    made = make_weights(name="tide-new", parent=base, stage="SFT")
    return Run.objects.create(
        kind="sft", name="tide-new", project=project, parent=base, output_model=made, state="succeeded",
        created_by=researcher, finished_at=timezone.now(),
    )  # fmt: skip


def in_arena(project, model) -> bool:
    return Contestant.objects.filter(project=project, model=model, left_at=None).exists()


def test_the_end_of_a_run_enrols_its_model_against_parent_and_champion(project, base, run):
    champion = make_contestant(project, make_model(name="tide-champion")).model
    manager = make_user(project, role="manager")
    actions.promote(project=project, model=champion, reason="the first", by=manager)
    Contestant.objects.filter(model=base).delete()
    tell_finished(run)
    candidacy = Candidacy.objects.get()
    assert (candidacy.model, candidacy.run, candidacy.champion) == (run.output_model, run, champion)
    assert in_arena(project, run.output_model) and in_arena(project, base)
    line = Decision.objects.filter(candidacy=candidacy).get()
    assert line.what == "enrolled" and f"against {base} and {champion}" in line.sentence


def test_twice_is_once(run):
    for _ in range(2):
        tell_finished(run)
    candidate_review.periodic_task()
    assert Candidacy.objects.count() == Decision.objects.count() == 1


def test_it_is_enrolled_once_many_eval_prompts_are_frozen(project, run, monkeypatch):
    monkeypatch.setattr(freezing, "SMALL", 2)
    for _ in range(3):
        make_prompt(project, side="eval")
    tell_finished(run)
    assert not Candidacy.objects.exists() and freezing.freezer().do_now()
    for _ in range(2):
        candidate_review.periodic_task()
    assert Candidacy.objects.get().model == run.output_model and not freezing.freezer().do_now()
    assert project.runs.filter(kind="sample").first().dataset.prompts.count() == 3


def test_the_background_worker_finds_what_no_signal_reached(run):
    assert {candidate_review.periodic_task, receivers.periodic_task, disputed_items.periodic_task} <= {
        task.do for task in PERIODIC_TASKS.values()
    }
    candidate_review.periodic_task()
    assert Candidacy.objects.get().model == run.output_model


def test_one_that_cannot_be_enrolled_holds_up_no_other(project, base, run, researcher, monkeypatch):
    other = make_weights(name="tide-other", parent=base, stage="SFT")
    Run.objects.create(
        kind="sft", name="tide-other", project=project, parent=base, output_model=other, state="succeeded",
        created_by=researcher, finished_at=timezone.now(),
    )  # fmt: skip
    enter = enrolment._enter
    monkeypatch.setattr(enrolment, "_enter", lambda c: 1 / 0 if c.model == run.output_model else enter(c))
    candidate_review.periodic_task()
    assert [c.model for c in Candidacy.objects.all()] == [other]


def test_what_is_served_already_stands_as_promoted(project, run):
    make_contestant(project, run.output_model)
    actions.promote(project=project, model=run.output_model, reason="first", by=make_user(project, role="manager"))
    assert enrolment.enrol(run).state == "promoted"


def test_a_failure_in_the_middle_leaves_nothing_behind(run, monkeypatch):
    monkeypatch.setattr(Decision.objects, "create", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        enrolment.enrol(run)
    assert not Candidacy.objects.exists() and not in_arena(run.project, run.output_model)
    monkeypatch.undo()
    candidate_review.periodic_task()
    assert Candidacy.objects.count() == 1


@pytest.mark.parametrize("why", ["failed", "reward", "retired", "no model"])
def test_nothing_else_is_enrolled(run, why):
    if why == "failed":
        run.state = "failed"
    elif why == "no model":
        run.output_model = None
    elif why == "reward":
        run.output_model.kind = "reward"
        run.output_model.save()
    else:
        run.output_model.retire(reason="bad")
    run.save()
    tell_finished(run)
    candidate_review.periodic_task()
    assert not Candidacy.objects.exists()


def test_a_parent_that_was_taken_out_of_the_arena_stays_out_and_it_is_said(project, base, run):
    leave_arena(project=project, model=base)
    enrolment.enrol(run)
    assert not in_arena(project, base)
    assert f"{base} is out of the arena and does not return" in Decision.objects.first().sentence


def test_a_parent_that_answers_nothing_is_no_opponent(project, run):
    run.output_model.parent = make_model(kind="tokenizer")
    run.output_model.save()
    candidacy = enrolment.enrol(run)
    assert enrolment.opponents(candidacy) == []


class TestSampling:
    def test_answers_are_sampled_where_the_eval_prompts_are_few(self, project, base, run):
        prompts = [make_prompt(project, side="eval") for _ in range(3)]
        make_prompt(project, side="eval", source="arena")  # what a visitor asked is put before nobody
        make_completion(prompts[0], model=base)
        enrolment.enrol(run)
        queued = Run.objects.get(kind="sample")
        assert queued.parent == run.output_model
        assert set(queued.dataset.prompts.all()) == set(prompts)
        assert "being answered by tide-new" in Decision.objects.first().sentence

    def test_answers_are_sampled_though_whoever_ordered_the_run_has_left(self, project, base, run, researcher):
        make_completion(make_prompt(project, side="eval"), model=base)
        project.memberships.filter(user=researcher).delete()
        enrolment.enrol(run)
        assert Run.objects.get(kind="sample").created_by == researcher

    def test_an_opponent_without_answers_is_sampled_too_and_in_the_same_way(self, project, run, researcher):
        prompt = make_prompt(project, side="eval")
        parent = make_weights(name="tide-old")
        run.output_model.parent = parent
        run.output_model.save()
        enrolment.enrol(run)
        queued = Run.objects.filter(kind="sample")
        assert {r.parent for r in queued} == {run.output_model, parent}
        assert len({str(r.config) for r in queued}) == 1 and len({r.dataset_id for r in queued}) == 1
        assert Dataset.objects.get().prompts.get() == prompt

    def test_many_prompts_are_not_answered_unasked(self, project, run, monkeypatch):
        monkeypatch.setattr(enrolment, "FEW_PROMPTS", 2)
        for _ in range(3):
            make_prompt(project, side="eval")
        enrolment.enrol(run)
        assert not Run.objects.filter(kind="sample").exists()
        assert "3 eval prompts, more than 2" in Decision.objects.first().sentence

    def test_a_sibling_waits_for_answers_that_are_being_given(self, project, run, researcher):
        make_prompt(project, side="eval")
        parent = run.parent = run.output_model.parent = make_weights(name="tide-parent")
        run.output_model.save()
        enrolment.enrol(run)
        run.output_model = make_weights(name="tide-sibling", parent=parent, stage="SFT")
        sentence = enrolment.enrol(run).decisions.get().sentence
        assert "are being answered by tide-sibling." in sentence
        assert Run.objects.filter(kind="sample", parent=parent).count() == 1

    @pytest.mark.parametrize(("sampling", "runs"), [("never", 0), ("always", 1)])
    def test_the_rule_may_say_never_or_always(self, project, base, run, monkeypatch, sampling, runs):
        monkeypatch.setattr(enrolment, "FEW_PROMPTS", 0)
        prompt = make_prompt(project, side="eval")
        make_completion(prompt, model=base)
        actions.set_rule(project=project, by=make_user(project, role="manager"), sampling=sampling)
        enrolment.enrol(run)
        assert Run.objects.filter(kind="sample").count() == runs

    def test_a_site_that_was_upgraded_answers_nothing_anew(self, project, run):
        make_prompt(project, side="eval")
        run.finished_at = timezone.now() - timedelta(days=30)
        run.save()
        candidate_review.periodic_task()
        assert Candidacy.objects.count() == 1
        assert not Run.objects.filter(kind="sample").exists()

    def test_frozen_prompts_with_a_visitors_question_among_them_are_not_answered(self, project, base, run, researcher):
        mine, asked = make_prompt(project, side="eval"), make_prompt(project, side="eval", source="arena")
        freeze(project=project, kind="prompts", name="all", by=researcher, side="eval")
        make_completion(mine, model=base)
        enrolment.enrol(run)
        queued = Run.objects.get(kind="sample")
        assert asked not in queued.dataset.prompts.all() and mine in queued.dataset.prompts.all()
