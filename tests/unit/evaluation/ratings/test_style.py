"""Style control: what is counted in a text, what a style is worth, and ratings without it."""

import math
import time

import numpy as np
import pytest

from evaluation.ratings import tally_indices
from evaluation.ratings.bradley_terry import SCALE, fit
from evaluation.ratings.style_control import Style, StyledVotes, differences, fit_style, style_of

STRENGTHS = np.array([0.5, 0.1, -0.2, -0.4])


def arena(random, votes=4000, worth=(1.5, 0.0, 0.0, 0.0), voters=None, taste=0.0):
    """Votes whose log-odds add `worth` · difference. The longer-winded a model is, the weaker it is."""
    size = len(STRENGTHS)
    voter = np.sort(random.integers(0, voters, votes)) if voters else None
    a = random.integers(0, size, votes)
    b = (a + random.integers(1, size, votes)) % size
    difference = random.uniform(-0.6, 0.6, (votes, 4)) + 0.15 * np.array([1, 0, 0, 0]) * (a - b)[:, None]
    own = random.normal(0, taste, (voters, size)) if voters else np.zeros((1, size))
    row = voter if voters else np.zeros(votes, dtype=int)
    gap = STRENGTHS[a] - STRENGTHS[b] + difference @ np.array(worth) + own[row, a] - own[row, b]
    label = np.where(random.random(votes) < 0.1, 2, np.where(random.random(votes) < 1 / (1 + np.exp(-gap)), 0, 1))
    return StyledVotes(a, b, label, difference, voter)


def part(votes: StyledVotes, rows) -> StyledVotes:
    return StyledVotes(*(None if column is None else column[rows] for column in votes))


class TestCounts:
    def test_headers_lists_and_bold_are_counted(self):
        text = (
            "# Title\n\nSome **bold words** and __more__.\n\n- one\n- two\n  * inner\n1. first\n2) second\n\n## End\n"
        )
        assert style_of(text) == Style(length=len(text), headers=2, lists=5, bold=2)

    @pytest.mark.parametrize(
        "text",
        [
            "#hashtag and #1",
            "a - b, 3.5 times, snake__case__name",
            "2 ** 3 ** 4 is 2**81",
            "---",
            "**",
            "####### seven",
            "-dash",
        ],
    )
    def test_what_only_looks_like_markdown_is_not(self, text):
        assert style_of(text) == Style(len(text), 0, 0, 0)

    @pytest.mark.parametrize("fence", ["```", "~~~", "````"])
    def test_code_counts_as_length_only(self, fence):
        text = f"# One\n{fence}python\n# a comment\n- x\ny = '**z**'\n{fence}\n- two\n"
        assert style_of(text) == Style(len(text), headers=1, lists=1, bold=0)

    def test_two_fences_hide_nothing_between_them(self):
        assert style_of("```\n# a\n```\n# Header\n```\n# b\n```\n").headers == 1

    def test_an_empty_fence_hides_nothing_after_it(self):
        assert style_of("```\n```\n# Header\n").headers == 1

    def test_a_longer_fence_holds_a_shorter_one(self):
        assert style_of("````\n```\n# a\n```\n# b\n````\n# Header\n").headers == 1

    def test_an_unclosed_fence_reaches_to_the_end(self):
        assert style_of("# One\n```\n# not\n- not\n").headers == 1

    def test_a_text_of_nothing(self):
        assert style_of("") == Style(0, 0, 0, 0)

    @pytest.mark.parametrize("piece", ["**", "```\n", "- ", "__a ", "**a", "`", "# ", " ", "1", "~~~ a\n"])
    def test_twice_the_text_takes_about_twice_the_time(self, piece):
        """No pattern may try again and again: a text of one mark only would hold a page up."""
        short, long = (min(self.seconds(piece * n) for _ in range(3)) for n in (10_000, 80_000))
        assert long < 30 * short + 0.01  # 64 times as long if it were quadratic

    @staticmethod
    def seconds(text: str) -> float:
        begun = time.process_time()
        style_of(text)
        return time.process_time() - begun


class TestDifferences:
    def test_of_counts(self):
        assert differences(np.array([2, 1, 3, 0, 5]), np.array([1, 2, 3, 0, 0])) == pytest.approx(
            [1 / 3, -1 / 3, 0, 0, 1]
        )

    def test_counts_below_zero_are_refused(self):
        with pytest.raises(ValueError, match="none below 0"):
            differences(np.array([-1]), np.array([1]))


class TestControl:
    def test_what_the_style_is_worth_is_found_and_taken_out(self):
        style_fit = fit_style(range(4), [arena(np.random.default_rng(1), votes=40_000)])
        length, *others = style_fit.coefficients
        truth = 1000 + SCALE * 0.9 * (STRENGTHS - STRENGTHS.mean())  # ties, a tenth, pull it together
        assert length.feature == "length"
        assert length.value / length.deviation == pytest.approx(1.5 * 0.9, abs=0.1)
        assert all(other.lower < 0.02 and other.upper > -0.02 for other in others)
        assert style_fit.controlled.rating == pytest.approx(truth, abs=10)
        assert style_fit.plain.rating[3] > truth[3] + 40  # length had lifted the weakest model

    def test_the_plain_ratings_are_those_of_the_leaderboard(self):
        votes = arena(np.random.default_rng(2))
        style_fit = fit_style(range(4), [votes])
        tally = style_fit.plain.tally
        assert np.array_equal(tally.cells, tally_indices(votes.a, votes.b, votes.label, 4))
        assert np.array_equal(style_fit.plain.rating, fit(tally).rating)

    def test_where_nothing_differs_control_changes_nothing(self):
        votes = arena(np.random.default_rng(3))
        same = votes._replace(difference=np.zeros_like(votes.difference))
        style_fit = fit_style(range(4), [same])
        assert style_fit.controlled.rating == pytest.approx(style_fit.plain.rating, abs=1e-6)
        assert style_fit.controlled.covariance == pytest.approx(style_fit.plain.covariance, rel=1e-6)
        assert all(math.isnan(c.value) and math.isnan(c.chance(1.0)[0]) for c in style_fit.coefficients)

    def test_turning_a_vote_round_changes_nothing(self):
        votes = arena(np.random.default_rng(4))
        turn = np.random.default_rng(5).random(len(votes.a)) < 0.5
        turned = StyledVotes(
            np.where(turn, votes.b, votes.a),
            np.where(turn, votes.a, votes.b),
            np.where(turn & (votes.label < 2), 1 - votes.label, votes.label),
            np.where(turn[:, None], -votes.difference, votes.difference),
        )
        one, other = (fit_style(range(4), [v]) for v in (votes, turned))
        per_difference = [[c.value / c.deviation for c in found.coefficients] for found in (one, other)]
        assert one.controlled.rating == pytest.approx(other.controlled.rating, abs=1e-6)
        assert per_difference[0] == pytest.approx(per_difference[1], abs=1e-8)

    def test_where_blocks_are_cut_does_not_matter(self):
        votes = arena(np.random.default_rng(6), votes=1000, voters=30, taste=0.6)
        whole = fit_style(range(4), [votes])
        pieces = fit_style(range(4), [part(votes, slice(i, i + 7)) for i in range(0, 1000, 7)])
        assert pieces.controlled.rating == pytest.approx(whole.controlled.rating, abs=1e-6)
        assert pieces.controlled.covariance == pytest.approx(whole.controlled.covariance, rel=1e-6)
        assert [c.lower for c in pieces.coefficients] == pytest.approx([c.lower for c in whole.coefficients], abs=1e-8)

    def test_voters_with_tastes_of_their_own_widen_the_intervals(self):
        votes = arena(np.random.default_rng(7), voters=40, taste=0.8)
        by_voters = fit_style(range(4), [votes]).controlled
        by_votes = fit_style(range(4), [votes._replace(voter=None)]).controlled
        assert by_voters.rating == pytest.approx(by_votes.rating)
        assert (by_voters.standard_error > 1.3 * by_votes.standard_error).all()
        assert by_voters.critical > by_votes.critical

    def test_of_one_voters_votes_alone_nothing_is_beyond_doubt(self):
        style_fit = fit_style(range(4), [arena(np.random.default_rng(7), voters=1)])
        assert np.isinf([style_fit.controlled.lower, style_fit.controlled.upper]).all()
        value, *ends = style_fit.coefficients[0].chance(1 / 3)
        assert 0.5 < value < 1 and ends == [0, 1]

    def test_in_plain_terms(self):
        """How often an answer twice as long is chosen over one just as good."""
        length = fit_style(range(4), [arena(np.random.default_rng(8), votes=40_000)]).coefficients[0]
        chance, low, high = length.chance(1 / 3)
        assert low < chance < high
        assert chance == pytest.approx(1 / (1 + math.exp(-1.5 * 0.9 / 3)), abs=0.01)
        assert length.chance(-1 / 3)[0] == pytest.approx(1 - chance)
        assert length.chance(-1 / 3)[1:] == pytest.approx((1 - high, 1 - low))

    @pytest.mark.slow
    def test_95_percent_intervals_hold_the_truth_95_percent_of_the_time(self):
        random = np.random.default_rng(9)
        target = fit_style(range(4), [arena(random, votes=400_000)])  # what ties as half make of the truth
        held = 0
        for _ in range(150):
            style_fit = fit_style(range(4), [arena(random, votes=500)])
            for c, aim in zip(style_fit.coefficients, target.coefficients, strict=True):
                held += c.lower <= aim.value / aim.deviation * c.deviation <= c.upper
        assert 0.92 <= held / 600 <= 0.98


class TestWhatCannotBeTold:
    def test_a_feature_that_decides_every_vote_is_left_out_and_says_so(self):
        votes = arena(np.random.default_rng(16), worth=(0, 1.0, 0, 0))
        won = np.where(votes.difference[:, 0] > 0, 0, 1)
        length, headers, *_ = fit_style(range(4), [votes._replace(label=won)]).coefficients
        assert math.isnan(length.value)
        assert length.reason == "decides every vote in which it differs"
        assert math.isfinite(headers.value) and headers.reason == ""

    def test_a_rare_feature_that_always_won_is_not_worth_all(self):
        """Thirty votes about one pair of answers, one with a header: 30 wins, and no upper end to what it is worth."""
        votes = arena(np.random.default_rng(17))
        votes.difference[:, 1] = np.where(np.arange(len(votes.a)) < 30, 1.0, 0.0)
        votes.label[:30] = 0
        style_fit = fit_style(range(4), [votes])
        assert "decides" in style_fit.coefficients[1].reason
        without = votes.difference.copy()
        without[:, 1] = 0
        assert style_fit.controlled.rating == pytest.approx(
            fit_style(range(4), [votes._replace(difference=without)]).controlled.rating
        )

    @pytest.mark.parametrize(
        ("differing", "why"), [(0, "never differs"), (1, "in 1 vote only"), (9, "in 9 votes only")]
    )
    def test_a_feature_in_few_votes_is_left_out(self, differing, why):
        votes = arena(np.random.default_rng(18))
        votes.difference[differing:, 3] = 0
        bold = fit_style(range(4), [votes]).coefficients[3]
        assert why in bold.reason
        assert math.isnan(bold.value)


class TestRefusals:
    def test_a_source_that_can_be_read_only_once(self):
        with pytest.raises(ValueError, match="several times"):
            fit_style(range(4), iter([arena(np.random.default_rng(10))]))

    def test_no_votes(self):
        with pytest.raises(ValueError, match="nothing to rate"):
            fit_style(range(4), [])

    def test_a_difference_of_the_wrong_shape(self):
        votes = arena(np.random.default_rng(11))
        with pytest.raises(ValueError, match="4 features"):
            fit_style(range(4), [votes._replace(difference=votes.difference[:, :3])])

    def test_a_difference_that_is_no_number(self):
        votes = arena(np.random.default_rng(12))
        votes.difference[3, 1] = np.nan
        with pytest.raises(ValueError, match="not a number"):
            fit_style(range(4), [votes])

    def test_voters_told_in_some_blocks_only(self):
        votes = arena(np.random.default_rng(13), voters=20)
        with pytest.raises(ValueError, match="in all, or in none"):
            fit_style(range(4), [votes, votes._replace(voter=None)])

    def test_features_that_always_go_together(self):
        votes = arena(np.random.default_rng(14))
        votes.difference[:, 2] = 2 * votes.difference[:, 1]
        with pytest.raises(ValueError, match="go together"):
            fit_style(range(4), [votes])

    def test_a_feature_that_is_only_the_models_own(self):
        """Each model always as long: its length and its strength are one."""
        votes = arena(np.random.default_rng(15))
        votes.difference[:, 0] = (votes.a - votes.b) / 10
        with pytest.raises(ValueError, match="go together"):
            fit_style(range(4), [votes])
