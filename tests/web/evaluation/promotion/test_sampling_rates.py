"""Who meets whom: drawn where a vote teaches about what is to be decided; nobody is kept from meeting the others."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotate.arena.battles import pairing
from annotate.models import Comparison
from evaluation.models import Candidacy, PromotionRule
from evaluation.promotion import arena_sampling as sampling
from evaluation.ratings.information_gain import FLOOR
from tests.support.factories import make_completion, make_contestant, make_model, make_prompt, make_user


@pytest.fixture
def four(project, base, child, vote):
    """Base, child and two others, all met alike."""
    others = [make_contestant(project, make_model(name=f"other-{n}")).model for n in range(2)]
    models = [base, child, *others]
    for i, a in enumerate(models):
        for b in models[i + 1 :]:
            vote(a, b, "model_a", 10)
            vote(a, b, "model_b", 10)
    return models


def rate_of(rates, a, b) -> sampling.Rate:
    return next(rate for rate in rates if {rate.a, rate.b} == {a, b})


def test_what_is_published_is_what_is_drawn_by_and_sums_to_one(project, four):
    rates = sampling.rates(project)
    assert len(rates) == 6 and sum(rate.probability for rate in rates) == pytest.approx(1)
    assert pairing.PAIR_WEIGHTS.first is not None
    drawn = pairing.PAIR_WEIGHTS.first(project, pairing.contestants(project))
    assert {frozenset((r.a.pk, r.b.pk)): r.probability for r in rates} == pytest.approx(drawn)


def test_a_candidate_meets_its_parent_most_and_it_says_why(project, four, base, child):
    Candidacy.objects.create(project=project, model=child)
    first = sampling.rates(project)[0]
    assert {first.a, first.b} == {base, child} and first.why == "candidate and parent"


@pytest.mark.parametrize("always_valid", [True, False])
def test_siblings_teach_each_other_and_leave_the_pairs_that_decide_their_half(project, base, child, vote, always_valid):
    """Three siblings that have met their parent alone: votes between them would narrow the most intervals."""
    siblings = [child, *(make_contestant(project, make_model(parent=base)).model for _ in range(2))]
    for model in siblings:
        Candidacy.objects.create(project=project, model=model)
        vote(model, base, "model_a", 14)
        vote(model, base, "model_b", 8)
    PromotionRule.objects.create(project=project, always_valid=always_valid)
    rates = sampling.rates(project)
    with_parent = sum(rate.probability for rate in rates if base in (rate.a, rate.b))
    assert (with_parent >= 0.5) == always_valid
    assert sum(rate.probability for rate in rates) == pytest.approx(1)
    assert min(rate.probability for rate in rates) >= FLOOR / len(rates) - 1e-12


def test_every_pair_keeps_a_floor(project, four, child):
    Candidacy.objects.create(project=project, model=child)
    rates = sampling.rates(project)
    assert min(rate.probability for rate in rates) >= FLOOR / len(rates) - 1e-12


def test_a_decided_candidate_asks_for_no_votes_any_more(project, four, base, child):
    candidacy = Candidacy.objects.create(project=project, model=child)
    open_ = rate_of(sampling.rates(project), base, child).probability
    candidacy.state = "refused"
    candidacy.save()
    cache.clear()
    assert rate_of(sampling.rates(project), base, child).probability < open_


def test_battles_are_drawn_by_the_rates(project, four, base, child, monkeypatch):
    monkeypatch.setattr(pairing, "_lot", random.Random(1))
    Candidacy.objects.create(project=project, model=child)
    expected = rate_of(sampling.rates(project), base, child).probability
    met = Counter(frozenset(m.pk for m in pairing.choose_pair(project)) for _ in range(400))
    assert met[frozenset((base.pk, child.pk))] / 400 == pytest.approx(expected, abs=0.1)


def test_nobody_registered_falls_back_to_who_has_met_least(project, base, child):
    make_contestant(project)
    with pairing.PAIR_WEIGHTS.holding():
        assert len({frozenset(m.pk for m in pairing.choose_pair(project)) for _ in range(40)}) == 3


def test_without_a_vote_all_pairs_are_alike(project, base, child):
    make_contestant(project)
    assert {round(rate.probability, 6) for rate in sampling.rates(project)} == {round(1 / 3, 6)}


def test_one_model_alone_has_no_rates(project, base):
    assert sampling.rates(project) == []


def test_a_draw_asks_as_few_queries_of_a_hundred_models_as_of_ten(project):
    """What it takes in milliseconds is in the guide."""
    prompt, author = make_prompt(project, side="eval"), make_user()
    rng = np.random.default_rng(0)
    asked, answers = [], []
    for models, votes in ((10, 200), (90, 1800)):
        new = [make_contestant(project, make_model()).model for _ in range(models)]
        answers += [make_completion(prompt, model=model) for model in new]
        Comparison.objects.bulk_create(
            Comparison(
                project=project, prompt=prompt, author=author, judge="person", winner="model_a",
                completion_a=answers[a], completion_b=answers[b],
            )
            for a, b in (rng.choice(len(answers), 2, replace=False) for _ in range(votes))
        )  # fmt: skip
        pairing.choose_pair(project)
        with CaptureQueriesContext(connection) as queries:
            pairing.choose_pair(project)
        asked.append(len(queries))
    assert asked[0] == asked[1] <= 6, asked
