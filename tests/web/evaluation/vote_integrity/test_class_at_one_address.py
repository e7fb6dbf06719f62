"""A class of thirty at one address, each of whom votes twenty times, where no class has ever been: it must count."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from annotate.models import Comparison
from evaluation.leaderboard import rating_intervals as intervals
from evaluation.vote_integrity.bursts import AGREED, agreement_log_e
from tests.support.evaluation import attack
from tests.support.sampling_of_cases import plain_run_tries

PUPILS, EACH = 30, 20


@pytest.mark.django_db
@pytest.mark.parametrize("minutes", plain_run_tries(12, of=(12, 40)))
def test_the_first_class_of_a_quiet_arena_counts(monkeypatch, minutes):
    monkeypatch.setattr(intervals, "EXACT", 10**6)
    monkeypatch.setattr(attack, "CLASS_SHARE", 0.0)
    arena, random = attack.open_arena(), np.random.default_rng(5)
    pupil = np.repeat(np.arange(PUPILS), EACH)
    some = attack.honest_votes(arena.strengths, random, len(pupil))
    liked = arena.strengths + attack.TASTE * random.standard_normal((PUPILS, attack.MODELS))
    chance = attack.sigmoid(liked[pupil, some.a] - liked[pupil, some.b])
    seconds = (attack.DAYS - 0.3) * 86_400 + random.uniform(0, 60 * minutes, len(pupil))
    lesson = replace(
        some,
        visitor=pupil,
        address=np.zeros(len(pupil), dtype=np.int64),
        seconds=seconds,
        label=attack.draw_labels(chance, attack.TIES, random),
    )
    ids = attack.store(arena, lesson, "pupil", random)
    attack.defend(arena.project)
    assert Comparison.objects.filter(pk__in=ids, status="counted").count() > 0.95 * len(ids)


def test_what_knows_nothing_of_the_models_hardly_ever_agrees_and_what_does_soon_agrees():
    random = np.random.default_rng(2)
    odds = random.normal(0, 1, (2_000, 400))
    blind = random.choice([0.0, 0.5, 1.0], odds.shape)
    assert sum(agreement_log_e(*pair) >= math.log(100) for pair in zip(odds, blind, strict=True)) <= 20 + 3 * 4.5
    seeing = (random.random(odds.shape) < attack.sigmoid(odds)).astype(float)
    assert np.mean([agreement_log_e(*pair) >= math.log(AGREED) for pair in zip(odds, seeing, strict=True)]) > 0.99
    for_one = np.where(np.arange(odds.size).reshape(odds.shape) % 2, 1.0, 0.0)
    assert np.mean([agreement_log_e(*pair) for pair in zip(odds, for_one, strict=True)]) < 0
