"""What annotators disagree about, the widest first, and how it goes back to annotators without leaving its split."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from annotate.core.errors import Refused
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling.queue.priorities import Uncertain, of_probability
from annotate.models import Assignment, Status
from evaluation.models import AskedAgain
from evaluation.promotion import disagreements, disputed_items, reward_model_uncertainty
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_prompt,
    make_rating,
    make_user,
)
from tests.support.training.runs import make_weights
from training.models import Review, Run


@pytest.fixture
def pair(project, base):
    prompt = make_prompt(project, "Why is the sea salty?")
    return make_completion(prompt, "Rivers bring salt.", model=base), make_completion(prompt, "Tears.", model=base)


def judged(pair, *winners, **fields):
    """As people judge: each their own assignment, done."""
    for winner in winners:
        person = make_user(pair[0].prompt.project)
        done = make_assignment(person, *pair, state=Assignment.State.SUBMITTED)
        make_comparison(*pair, winner, person, assignment=done, **fields)


def key_of(pair) -> str:
    return f"compare:{pair[0].pk}:{pair[1].pk}"


class TestWidth:
    def test_an_even_split_is_widest_and_one_mind_has_none(self):
        assert disagreements.width_of([1, 0, 1, 0]) == pytest.approx(0.8)
        assert disagreements.width_of([1, 1, 1, 1]) == 0

    def test_more_votes_of_the_same_split_say_more(self):
        assert disagreements.width_of([1, 0] * 5) > disagreements.width_of([1, 0])

    def test_one_opinion_is_no_disagreement(self):
        assert disagreements.width_of([1]) == disagreements.width_of([]) == 0

    def test_stars_have_a_wider_span(self):
        assert disagreements.width_of([1, 5], span=4) == disagreements.width_of([0, 1])


class TestBetweenJudges:
    def test_a_split_pair_is_found_with_its_reason_whichever_way_it_was_shown(self, project, pair):
        judged(pair, "model_a", "model_a", "tie")
        make_comparison(pair[1], pair[0], "model_a")
        [found] = disputed_items.disputes(project, "train", "person")
        assert found.completions == pair and found.judged == 4
        assert found.reason == "2 for one answer, 1 for the other, 1 for neither"

    def test_the_wider_comes_first(self, project, base, pair):
        other = make_prompt(project)
        answers = [make_completion(other, model=base) for _ in range(2)]
        judged(pair, "model_a", "model_a", "model_a", "model_b")
        judged(answers, "model_a", "model_b", "model_a", "model_b")
        assert [found.prompt for found in disputed_items.disputes(project, "train", "person")] == [
            other,
            pair[0].prompt,
        ]

    def test_what_does_not_count_is_no_opinion(self, project, pair):
        judged(pair, "model_a")
        judged(pair, "model_b", status=Status.EXCLUDED)
        assert disputed_items.disputes(project, "train", "person") == []

    def test_a_second_opinion_of_the_same_person_is_none_of_another(self, project, pair):
        """A repeat measures one annotator against themselves, and a gold item against its right answer."""
        person = make_user(project)
        first = make_assignment(person, *pair, state=Assignment.State.SUBMITTED)
        make_comparison(*pair, "model_a", person, assignment=first)
        make_rating(pair[0], stars=5)
        tests = {name: (make_user(project), {"purpose": name}) for name in ("gold", "tutorial")}
        tests["repeat"] = person, {"purpose": "repeat", "repeats": first}
        for tested, fields in tests.values():
            again = make_assignment(tested, *pair, state=Assignment.State.SUBMITTED, **fields)
            make_comparison(*pair, "model_b", tested, assignment=again)
            make_rating(pair[0], tested, stars=1, assignment=again)
        assert disputed_items.disputes(project, "train", "person") == []

    def test_people_and_simulations_are_kept_apart(self, project, pair):
        judged(pair, "model_a")
        make_comparison(*pair, "model_b", make_user(is_simulated=True))
        assert disputed_items.disputes(project, "train", "person") == []

    def test_stars_of_one_answer_far_apart(self, project, pair):
        make_rating(pair[0], stars=1)
        make_rating(pair[0], stars=5)
        [found] = disputed_items.disputes(project, "train", "person")
        assert found.completions == (pair[0],) and found.reason == "stars 1, 5" and found.key == f"rate:{pair[0].pk}"

    def test_sides_are_kept_apart(self, project, child, base, vote):
        [first] = vote(child, base, "model_a")
        make_comparison(first.completion_a, first.completion_b, "model_b")
        assert disputed_items.disputes(project, "train", "person") == []
        assert len(disputed_items.disputes(project, "eval", "person")) == 1


class TestWithTheRewardModel:
    def test_a_pair_of_the_human_review_where_people_said_the_opposite(self, project, pair, base):
        reward = make_weights(kind="reward", name="tide-judge")
        run = Run.objects.create(kind="ppo", name="p", project=project, parent=base, reward_model=reward)
        Review.objects.create(
            run=run, sequence=1, step=1, prompt=pair[0].prompt, policy_answer=pair[0], parent_answer=pair[1],
            predicted=0.9, policy_score=2, parent_score=0,
        )  # fmt: skip
        judged(pair, "model_b", "model_b", "model_b")
        [found] = disputed_items.disputes(project, "train", "person")
        assert found.between == disagreements.REWARD_MODEL
        assert found.width == pytest.approx(0.81 * 3 / 4)
        assert "tide-judge expected 90 % of votes for one answer, but it got 0 %" in found.reason

    @pytest.fixture
    def scored(self, project):
        """A finished accuracy run whose items say that the model prefers the second answer by two points."""
        reward = make_weights(kind="reward", name="tide-judge")
        run = Run.objects.create(
            kind="evaluate", name="r", project=project, parent=reward, state="succeeded",
            config={"measure": "reward_accuracy"},
        )  # fmt: skip
        run.path.mkdir(parents=True)

        def write(first, second, several=False):
            told = {
                "chosen": first.text,
                "rejected": second.text,
                "score": -1.0,
                "other score": 1.0,
                "verdict": "wrong",
            }
            shown = {"prompt": first.prompt.messages, **({"pairs": [told, told]} if several else told)}
            line = {"id": f"{first.prompt_id} arena", "group": "", "counts": {}, "shown": shown}
            (run.path / "items.jsonl").write_text(json.dumps(line) + "\n")

        return write

    @pytest.mark.parametrize("several", [False, True])
    def test_where_an_evaluation_of_a_reward_model_has_scored_the_other_answer_higher(
        self, project, child, base, vote, scored, several
    ):
        [cast] = vote(child, base, "model_a")
        scored(cast.completion_a, cast.completion_b, several)
        [found] = disputed_items.disputes(project, "eval", "person")
        expected = 1 / (1 + math.exp(2))
        assert found.width == pytest.approx((1 - expected) ** 2 / 2) and found.between == disagreements.REWARD_MODEL
        assert "tide-judge expected 12 % of votes for one answer, but it got 100 %" in found.reason
        assert disputed_items.disputes(project, "train", "person") == []  # it stays where it is

    def test_items_are_read_as_the_recipe_writes_them(self, project, child, base, vote, scored, tmp_path):
        from evaluation.recipes.judging.judged_answers import Judgements, Pair
        from evaluation.recipes.reward_accuracy import measured_of

        [cast] = vote(child, base, "model_a")
        first, prompt, odd = cast.completion_a, cast.prompt, "A line\u2028and another."  # which splitlines() splits
        given = Judgements(
            prompts=[prompt.messages], prompt_ids=[str(prompt.pk)], answers=[(0, first.text), (0, odd)],
            pairs=[Pair(0, "arena", 1, 0, 1, "a"), Pair(0, "arena", 2, 0, 1, "")],
        )  # fmt: skip
        [item] = measured_of(given, np.array([0.5, 2.5]), seed=0, draws=100).items
        path = tmp_path / "items.jsonl"
        shown = {"id": item.id, "group": item.group, "counts": {}, "shown": item.shown}
        path.write_text(json.dumps(shown, ensure_ascii=False) + "\n")
        pairs = disagreements.scored_pairs(path)
        assert {(pair.prompt, pair.first, pair.second) for pair in pairs} == {(prompt.pk, first.text, odd)}
        assert [pair.probability for pair in pairs] == pytest.approx([1 / (1 + math.exp(2))] * 2)

    def test_many_scored_pairs_take_no_more_queries_than_one(
        self, project, child, base, vote, scored, tmp_path, django_assert_max_num_queries
    ):
        path, lines = None, ""
        for _ in range(8):
            [cast] = vote(child, base, "model_a")
            scored(cast.completion_a, cast.completion_b)
            path = Run.objects.get(kind="evaluate").path / "items.jsonl"
            lines += path.read_text()
        path.write_text(lines)
        with django_assert_max_num_queries(10):
            assert len(disputed_items.disputes(project, "eval", "person")) == 8

    def test_the_queue_learns_how_unsure_reward_models_are_of_pairs_that_train(self, project, pair, scored):
        first, second = pair
        scored(first, second)
        [unsure] = reward_model_uncertainty.of_reward_models(project)
        p = 1 / (1 + math.exp(2))
        p = p if first.pk < second.pk else 1 - p
        assert unsure == Uncertain(
            first.prompt_id, tuple(sorted((first.pk, second.pk))), of_probability(p),
            f"tide-judge gives {100 * p:.0f} % to one answer",
        )  # fmt: skip
        type(first.prompt).objects.filter(pk=first.prompt_id).update(side="eval")
        assert list(reward_model_uncertainty.of_reward_models(project)) == []

    def test_a_run_whose_files_are_gone_says_nothing(self, project, child, base, vote, scored):
        vote(child, base, "model_a")
        assert disputed_items.disputes(project, "eval", "person") == []


class TestAskingAgain:
    def test_it_comes_first_for_somebody_who_has_not_judged_it_and_until_enough_have(
        self, project, pair, base, researcher
    ):
        for _ in range(3):  # more to judge, untouched so far
            prompt = make_prompt(project)
            make_completion(prompt, model=base), make_completion(prompt, model=base)
        judged(pair, *["model_a", "model_b"] * project.overlap)
        disputed_items.ask_again(project=project, keys=[key_of(pair)], by=researcher, more=2)
        for _ in range(2):
            person = make_user(project)
            assignment = assignments.next_for(project=project, user=person)
            assert assignment.item == key_of(pair)
            assignment_lifecycle.close(assignment, Assignment.State.SUBMITTED)
        assert assignments.next_for(project=project, user=make_user(project)).item != key_of(pair)
        assert disputed_items.waiting(project) == 0 and not AskedAgain.objects.get().is_open

    def test_nobody_is_asked_the_same_twice(self, project, pair, researcher):
        person = make_user(project)
        make_assignment(person, *pair, state=Assignment.State.SUBMITTED)
        disputed_items.ask_again(project=project, keys=[key_of(pair)], by=researcher)
        assignment = assignments.next_for(project=project, user=person)
        assert assignment is None or assignment.item != key_of(pair)

    def test_a_rating_goes_back_as_a_rating(self, project, pair, researcher):
        disputed_items.ask_again(project=project, keys=[f"rate:{pair[0].pk}"], by=researcher)
        assert assignments.next_for(project=project, user=make_user(project)).item == f"rate:{pair[0].pk}"

    def test_its_answers_are_asked_about_in_other_pairs_as_before(self, project, pair, base, researcher):
        third = make_completion(pair[0].prompt, "Rocks.", model=base)
        disputed_items.ask_again(project=project, keys=[key_of(pair)], by=researcher, more=1)
        judged(pair, "tie")
        items = set()
        for _ in range(6):
            assignment = assignments.next_for(project=project, user=make_user(project), kind="compare")
            if assignment is not None:
                items.add(assignment.item)
        assert any(str(third.pk) in item for item in items)

    def test_asking_again_twice_is_one_row_with_more_places(self, project, pair, researcher):
        disputed_items.ask_again(project=project, keys=[key_of(pair)], by=researcher, more=1)
        judged(pair, "tie")
        disputed_items.ask_again(project=project, keys=[key_of(pair)], by=researcher, more=2)
        assert AskedAgain.objects.get().places == 3

    def test_a_pair_that_rounds_asked_for_once_more_can_be_asked_again(self, project, pair, researcher):
        for _ in range(2):
            ids = {"completion_a": pair[0], "completion_b": pair[1]}
            AskedAgain.objects.create(project=project, prompt=pair[0].prompt, **ids, places=1, is_open=False)
        disputed_items.ask_again(project=project, keys=[key_of(pair)], by=researcher, more=1)
        assert AskedAgain.objects.get(is_open=True).places == 1

    def test_the_eval_split_is_refused(self, project, child, base, vote, researcher):
        [cast] = vote(child, base)
        with pytest.raises(Refused, match="eval split"):
            disputed_items.ask_again(
                project=project, keys=[f"compare:{cast.completion_a_id}:{cast.completion_b_id}"], by=researcher
            )
        assert not AskedAgain.objects.exists()

    @pytest.mark.parametrize("key", ["", "compare:1", "rate:1:2", "flag:1", "compare:x:y", "rate:99999999"])
    def test_what_is_no_item_is_named(self, project, researcher, key):
        with pytest.raises(Refused) as refused:
            disputed_items.ask_again(project=project, keys=[key], by=researcher)
        assert list(refused.value.errors) == ["chosen"]

    def test_answers_of_two_prompts_are_no_item(self, project, pair, base, researcher):
        other = make_completion(make_prompt(project), model=base)
        with pytest.raises(Refused):
            disputed_items.ask_again(project=project, keys=[f"compare:{pair[0].pk}:{other.pk}"], by=researcher)

    def test_annotators_may_not(self, project, pair):
        with pytest.raises(Refused) as refused:
            disputed_items.ask_again(project=project, keys=[key_of(pair)], by=make_user(project))
        assert refused.value.status == 403
