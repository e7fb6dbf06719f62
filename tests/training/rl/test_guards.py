import pytest

from training.rl.guards import Behaviour, Bounds, distinct_pairs, distinct_share, drift

PARENT = Behaviour(length=60, distinct=1.0, distinct_2=0.9)
BOUNDS = Bounds(kl=8.0, shortest=0.5, longest=2.0, distinct=0.6)


@pytest.mark.parametrize(
    ("now", "code", "used"),
    [
        (Behaviour(60, 1.0, 0.9, kl=4.0), "kl_limit", 0.5),
        (Behaviour(4, 1.0, 0.9, kl=1.0), "length_collapse", (1 - 4 / 60) / 0.5),
        (Behaviour(150, 1.0, 0.9), "length_runaway", 1.5),
        (Behaviour(60, 0.2, 0.9), "answers_alike", 2.0),
        (Behaviour(60, 1.0, 0.45), "answers_alike", 1.25),
    ],
)
def test_the_nearest_bound_is_named_with_the_share_of_it_used_up(now: Behaviour, code: str, used: float):
    found = drift(now, PARENT, BOUNDS)
    assert found.code == code
    assert found.used == pytest.approx(used)


def test_the_parent_itself_has_used_up_nothing():
    assert drift(PARENT, PARENT, BOUNDS).used == 0


def test_a_bound_on_kl_can_be_switched_off():
    assert drift(Behaviour(60, 1.0, 0.9, kl=99), PARENT, Bounds(None, 0.5, 2.0, 0.6)).used == 0


def test_one_word_answers_of_the_first_trial_are_out_of_bounds():
    assert drift(Behaviour(4, 0.3, 0.0, kl=6), Behaviour(44, 1.0, 0.9), BOUNDS).used > 1


def test_a_parent_of_single_words_has_no_pairs_to_compare():
    assert drift(Behaviour(1, 1.0, 0.0), Behaviour(1, 1.0, 0.0), BOUNDS).used == 0


def test_texts_that_differ_in_case_and_space_are_one():
    assert distinct_share(["A b", "a  B ", "c"]) == pytest.approx(2 / 3)


def test_word_pairs_are_counted_over_all_texts():
    assert distinct_pairs(["a b c", "a b d"]) == pytest.approx(3 / 4)
    assert distinct_pairs(["one", ""]) == 0
