"""What feedback means, and when it is enough to learn from."""

from __future__ import annotations

import pytest

from annotate.data.datasets import preferences
from annotate.data.datasets.preferences import Comparison, Pair, Rating, Tie


def telling_pairs(count: int, prompts: int) -> list[Comparison]:
    return [Comparison(i % prompts, 2 * i, 2 * i + 1, "model_a") for i in range(count)]


def test_a_winner_makes_a_pair_with_the_strength_the_judge_gave():
    comparisons = [Comparison(1, 10, 11, "model_b", strength=3), Comparison(1, 10, 12, "model_a")]
    assert preferences.pairs(comparisons) == [Pair(1, 11, 10, 3), Pair(1, 10, 12, None)]


def test_a_tie_makes_no_preference_pair():
    comparisons = [Comparison(1, 10, 11, "tie"), Comparison(1, 10, 12, "both_bad")]
    assert preferences.pairs(comparisons) == []
    assert preferences.ties(comparisons) == [Tie(1, 10, 11), Tie(1, 10, 12, both_bad=True)]


def test_thumbs_make_no_pairs_but_the_rarer_ones_tell_something():
    ratings = [Rating(i, thumbs=i == 0) for i in range(10)]
    informativeness = preferences.informativeness([], ratings, {i: i // 2 for i in range(10)})
    assert (
        informativeness.pairs,
        informativeness.informative,
        informativeness.prompts,
        informativeness.prompts_telling,
    ) == (0, 1, 5, 1)


def test_stars_tell_something_where_they_leave_their_authors_habit():
    mild = [Rating(i, stars=5, author=1) for i in range(3)] + [Rating(3, stars=4, author=1)]
    harsh = [Rating(i, stars=2, author=2) for i in range(3)] + [Rating(3, stars=2, author=2)]
    informativeness = preferences.informativeness([], mild + harsh, dict.fromkeys(range(4), 7))
    assert informativeness.uncommon_stars == 1
    assert informativeness.prompts_telling == 1


def test_one_persons_five_and_anothers_two_do_not_make_a_prompt_differ():
    informativeness = preferences.informativeness(
        [], [Rating(1, stars=5, author=1), Rating(2, stars=2, author=2)], {1: 1, 2: 1}
    )
    assert informativeness.prompts_telling == 0


def test_a_taste_that_few_answers_fit_is_refused_in_words():
    """720 answers of which 2 % fit: nearly every comparison is level and nearly every thumb is down."""
    level = [Comparison(i % 120, 2 * i, 2 * i + 1, "both_bad") for i in range(345)]
    won = telling_pairs(15, 15)
    thumbs = [Rating(i, thumbs=i < 15) for i in range(720)]
    informativeness = preferences.informativeness(level + won, thumbs, {i: i % 120 for i in range(720)})
    assert not informativeness.enough
    assert "30 of 1,080 annotations separate one answer from another" in informativeness.sentence
    assert "15 comparisons with a winner" in informativeness.sentence
    assert "345 of them with both bad" in informativeness.sentence
    assert str(preferences.ENOUGH) in informativeness.reason
    assert "Sample more answers per prompt" in informativeness.reason


def test_enough_telling_annotations_on_too_few_prompts_are_refused():
    informativeness = preferences.informativeness(
        telling_pairs(preferences.ENOUGH, preferences.ENOUGH_PROMPTS - 1), [], {}
    )
    assert not informativeness.enough
    assert "prompts" in informativeness.reason


def test_enough_is_enough():
    informativeness = preferences.informativeness(telling_pairs(preferences.ENOUGH, preferences.ENOUGH_PROMPTS), [], {})
    assert informativeness.enough
    assert informativeness.reason == ""


def test_no_annotations_at_all_are_said_so():
    assert preferences.informativeness([], [], {}).reason.startswith("There are no annotations yet.")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"winner": "model_c"}, "winner 'model_c'"),
        ({"winner": "tie", "strength": 4}, "strength"),
        ({"winner": "tie", "completion_b": 1}, "the same"),
    ],
)
def test_a_bad_comparison_names_its_field(row, named):
    with pytest.raises(ValueError, match=named):
        preferences.comparisons_from([{"prompt_id": 1, "completion_a": 1, "completion_b": 2, **row}])


@pytest.mark.parametrize(("row", "named"), [({"stars": 6}, "stars"), ({"thumbs": "yes"}, "thumbs")])
def test_a_bad_rating_names_its_field(row, named):
    with pytest.raises(ValueError, match=named):
        preferences.ratings_from([{"completion": 1, **row}])


def test_the_pairs_of_a_ranking_tell_as_much_as_one_annotation():
    pairs = [Comparison(1, a, b, "model_a", weight=1 / 3) for a, b in ((1, 2), (1, 3), (2, 3))]
    counted = preferences.informativeness([*pairs, Comparison(2, 4, 5, "tie")], [], {})
    assert (counted.judgements, counted.pairs, counted.ties, counted.informative) == (2, 1, 1, 1)


@pytest.mark.parametrize("weight", [0, -1, 1.5, "1", True, None, float("nan")])
def test_a_weight_is_above_0_and_at_most_1(weight):
    row = {"prompt_id": 1, "completion_a": 1, "completion_b": 2, "winner": "tie", "weight": weight}
    with pytest.raises(ValueError, match="comparison 1: weight"):
        preferences.comparisons_from([row])
