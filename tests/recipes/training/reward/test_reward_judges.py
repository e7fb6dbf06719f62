"""Annotators who differ: a harsh and a random one are found, good ones raise no alarm, few annotations change
nothing."""

from __future__ import annotations

import math
import random

import pytest
import torch

from annotate.data.datasets.preferences import Comparison, Rating
from training.recipes.reward import annotator_effects, head_fit
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.designs.design import Design
from training.recipes.reward.feedback_likelihood import TODAY, Priors
from training.recipes.reward.reward_accuracy import spearman

pytestmark = pytest.mark.usefixtures("one_thread")

PER_PROMPT, FEATURES = 4, 60
HARSH, RANDOM = 10, 11


class World:
    """Answers whose true score is linear in what is seen of them, five annotators, and what the recipe makes of it."""

    def __init__(self, seed: int, *, prompts: int = 100, judges: int = 5, is_bad: bool = True) -> None:
        generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
        count = prompts * PER_PROMPT
        self.x = torch.randn(count, FEATURES, generator=generator)
        truth = self.x @ torch.randn(FEATURES, generator=generator)
        self.truth = (1.5 * truth / truth.std()).double()
        self.prompts = torch.arange(count) // PER_PROMPT
        comparisons, ratings = [], []

        def says_yes(logit: float, judge: int) -> bool:
            return rng.random() < 1 / (1 + math.exp(0.0 if is_bad and judge == RANDOM else -logit))

        for prompt in range(prompts):
            ids = [prompt * PER_PROMPT + i for i in range(PER_PROMPT)]
            for a, b in ((ids[0], ids[1]), (ids[2], ids[3])):
                judge = 10 + rng.randrange(judges)
                won = says_yes((self.truth[a] - self.truth[b]).item(), judge)
                comparisons.append(Comparison(prompt, a, b, "model_a" if won else "model_b", author=judge))
            for i in ids:
                judge = 10 + rng.randrange(judges)
                shift = -1.5 if is_bad and judge == HARSH else 0.0
                ratings.append(Rating(i, thumbs=says_yes(self.truth[i].item() + shift, judge), author=judge))
        self.observed = likelihood.observe(comparisons, ratings, {i: i for i in range(count)})
        self.training = self.prompts >= prompts // 5
        self.folds = torch.full((count,), -1)
        self.folds[self.training] = head_fit.folds_by_prompt(self.prompts[self.training], 5, seed)
        self.design = Design.of(self.x, torch.nonzero(self.training)[:, 0])
        self.ridge = 0.3  # the prior of scores that spread as these do
        self.priors, self.trials = annotator_effects.choose_priors(
            self.design, self.observed, self.prompts, self.folds, self.ridge
        )

    def head(self, priors: Priors) -> head_fit.Head:
        return head_fit.fit(self.design, self.observed.among(self.training), self.ridge, priors=priors)

    def judges(self) -> dict[int, annotator_effects.Annotator]:
        judged = self.observed.among(self.training)
        annotators = annotator_effects.annotators(self.design, judged, self.head(self.priors), self.ridge, self.priors)
        return {judge.author: judge for judge in annotators}

    def correlation(self, priors: Priors) -> float:
        """With the truth, on prompts that were held out."""
        unseen = ~self.training
        return spearman(self.design.scores(self.head(priors))[unseen].numpy(), self.truth[unseen].numpy())


@pytest.fixture(scope="module")
def noisy() -> list[World]:
    return [World(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def sound() -> list[World]:
    return [World(seed, is_bad=False) for seed in range(2)]


def test_a_harsh_and_a_random_judge_are_found(noisy):
    remarks = [{author: judge.remark for author, judge in world.judges().items()} for world in noisy]
    assert sum("harsh" in found[HARSH] for found in remarks) >= 2
    assert sum("agrees less than others" in found[RANDOM] for found in remarks) >= 2
    assert all(found[author] == "" for found in remarks for author in (12, 13, 14))


@pytest.mark.thorough
def test_severity_is_near_what_was_simulated_and_shrinks_towards_nothing(noisy):
    traits = [world.judges()[HARSH].severity_thumbs for world in noisy]
    assert 0.7 < sum(trait.value for trait in traits) / len(traits) < 1.5
    assert all(trait.lower < trait.value < trait.upper for trait in traits)
    others = [world.judges()[author].severity_thumbs for world in noisy for author in (12, 13, 14)]
    assert sum(trait.lower < 0 < trait.upper for trait in others) >= 0.8 * len(others)


def test_the_score_is_nearer_to_the_truth_when_a_random_judge_counts_for_less(noisy):
    with_judges = [world.correlation(world.priors) for world in noisy]
    without = [world.correlation(TODAY) for world in noisy]
    assert sum(with_judges) > sum(without) + 0.03
    assert min(a - b for a, b in zip(with_judges, without, strict=True)) > -0.01


@pytest.mark.thorough
def test_good_judges_raise_no_alarm_and_cost_nothing(sound):
    assert [judge.remark for world in sound for judge in world.judges().values()] == [""] * 10
    lost = [world.correlation(TODAY) - world.correlation(world.priors) for world in sound]
    assert max(lost) < 0.02


@pytest.mark.thorough
def test_one_judge_is_compared_with_nobody(sound):
    world = World(0, judges=1, prompts=40, is_bad=False)
    assert (world.priors, world.trials, world.judges()) == (TODAY, [], {})


def test_few_annotations_of_each_leave_the_fit_as_it_was():
    world = World(0, judges=60, prompts=30)
    assert (world.priors, world.trials) == (TODAY, [])
    assert all(judge.reliability is None for judge in world.judges().values())


def test_a_judge_is_never_taken_to_mean_the_contrary():
    """Two answers, ten judges who agree and one who says the opposite: that one is not listened to."""
    comparisons = [Comparison(1, 0, 1, "model_a", author=a) for a in range(10) for _ in range(10)]
    comparisons += [Comparison(1, 0, 1, "model_b", author=99) for _ in range(40)]
    observed = likelihood.observe(comparisons, [], {0: 0, 1: 1})
    design = Design.of(torch.eye(2), torch.arange(2))
    head = head_fit.fit(design, observed, 1e-3, priors=Priors(1.0, 5.0))
    reads = 1 + likelihood.split_cuts(head.cuts, observed).reliability
    assert reads[-1].item() == pytest.approx(0.0, abs=1e-6)
    assert reads[:-1].min() > 0.5


@pytest.mark.thorough
def test_the_standard_errors_are_those_of_the_whole_hessian():
    world = World(1, prompts=20)
    judged = world.observed.among(world.training)
    priors = Priors(1.0, 0.5)
    head = head_fit.fit(world.design, judged, world.ridge, priors=priors)
    problem = head_fit.Problem(world.design, judged, world.ridge, priors)
    flat = problem.flat(head)
    bend = torch.autograd.functional.hessian(problem.loss, flat)
    low = torch.tensor([-torch.inf if b[0] is None else b[0] for b in problem.bounds])
    high = torch.tensor([torch.inf if b[1] is None else b[1] for b in problem.bounds])
    free = torch.nonzero((flat > low + 1e-9) & (flat < high - 1e-9))[:, 0]
    contrast = torch.zeros(len(flat)).double()
    block = len(flat) - 3 * judged.authors
    contrast[block : block + judged.authors] = -1 / judged.authors
    contrast[block + 2] += 1
    wanted = (contrast[free] @ torch.linalg.solve(bend[free][:, free], contrast[free])).sqrt().item()
    found = annotator_effects._standard_errors(world.design, judged, head, world.ridge, priors)[0][2]
    assert found == pytest.approx(wanted, rel=0.01)
