"""Win rates against an opponent: by votes, by a reward model, by a judge behind an endpoint, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.urls import reverse

from annotate.models import Status
from evaluation.measures import answer_rows
from evaluation.models import Evaluation
from evaluation.recipes import evaluate
from evaluation.recipes.judging import endpoint_judge
from evaluation.recipes.win_rate import LENGTH_CONTROLLED
from tests.support import tiny_model
from tests.support.evaluation import reward_models
from tests.support.evaluation.judge_server import judge_server
from tests.support.evaluation.recipe_runs import result_of
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_prompt,
    make_user,
)
from tests.support.training.runs import make_run
from training.configs.evaluate import EvaluateConfig
from training.core import run_secrets
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec, read_lines
from training.models import Run
from training.recipes.common import entry
from training.recipes.reward.reward_model import RewardModel
from training.runs.ordering.actions import queue_run
from training.runs.worker import Worker

WARM, COLD = {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 64}, {"temperature": 0.0, "max_new_tokens": 64}


@pytest.fixture(scope="module")
def reward(tmp_path_factory) -> Path:
    return reward_models.make(tmp_path_factory.mktemp("models"))


@pytest.fixture
def run_of(project, base, child):
    """A run that sets the child against its parent."""

    def made(**fields):
        config = {"measure": "win_rate", "opponent": base.name, **fields.pop("config", {})}
        return make_run(
            project,
            **{"kind": "evaluate", "parent": child, **fields, "config": {**EvaluateConfig().__dict__, **config}},
        )

    return made


@pytest.fixture
def answer(project, base, child):
    """`answer(prompt, base, "text")`; a new prompt for each call without one."""

    def made(*texts: tuple, prompt=None, sampling=WARM, **fields):
        prompt = prompt or make_prompt(project, side=fields.pop("side", "eval"), **fields)
        for model, text in texts:
            make_completion(prompt, text, model=model, sampling=sampling)
        return prompt

    return made


def carry_out(
    folder: Path, data: dict[str, list[dict]], reward: Path | str = "", endpoints: dict | None = None, **config
) -> RunDirectory:
    run = RunDirectory(folder)
    config = {"measure": "win_rate", "opponent": "tide-base", **config}
    common = {"seed": 1, "parent": str(folder), "reward_model": str(reward), "parent_hash": "f" * 64}
    spec = RunSpec("evaluate", config, endpoints=endpoints or {}, **common)
    run.create(spec, {name: iter(rows) for name, rows in data.items()})
    entry.attempt(evaluate.main, run)
    return run


# By votes


def test_counted_votes_of_people_between_the_two_on_the_eval_split_make_the_rate(
    tmp_path, base, child, vote, run_of, project
):
    vote(child, base, "model_a", 2)
    vote(base, child, "model_b")
    vote(base, child, "model_a", 2)
    vote(base, child, "tie")
    vote(child, base, "both_bad")
    vote(child, base, status=Status.WITHDRAWN)
    vote(child, base, side="train")
    vote(child, base, is_simulated=True)
    vote(child, make_contestant(project).model)
    rows = answer_rows.win_rate_rows(run_of())
    assert [row["winner"] for row in rows["votes"]] == ["ours", "ours", "ours", "theirs", "theirs", "tie", "both_bad"]
    assert [row["ours_first"] for row in rows["votes"]] == [True, True, False, False, False, False, True]
    assert [row["voter"] for row in rows["votes"]] == [1, 1, 2, 3, 3, 4, 5]
    run = carry_out(tmp_path / "run", rows)
    result = result_of(run)
    figure = result["metrics"]["win rate"]
    assert (figure["value"], figure["n"]) == (pytest.approx(4 / 7), 7)
    assert 0 < figure["lower"] < 4 / 7 < figure["upper"] < 1
    assert result["task"] == "win rate against tide-base, by people"
    assert "3 won, 2 tied, 2 lost, on 5 prompts." in result["notes"]
    item = next(read_lines(run.path / "items.jsonl"))
    assert item["shown"]["verdict"] == "its answer" and {"answer", "other", "voter"} <= item["shown"].keys()
    assert "person" not in str(item), "voters are numbers"


def test_the_answer_shown_first_is_watched(tmp_path, base, child, vote, run_of):
    for _ in range(4):
        vote(child, base, "model_a")
        vote(base, child, "model_a")
    figures = result_of(carry_out(tmp_path / "run", answer_rows.win_rate_rows(run_of())))["metrics"]
    assert figures["win rate"]["value"] == 0.5
    assert figures["preferred when shown first"]["value"] == 1.0


def test_length_is_controlled_for_or_it_is_said_why_not(tmp_path, project, base, child, run_of):
    for n in range(40):  # mostly longer, and the longer it is the oftener preferred
        prompt = make_prompt(project, side="eval")
        ours = make_completion(prompt, "x" * (40 + 10 * (n % 7)), model=child)
        theirs = make_completion(prompt, "x" * (20 + 10 * (n % 5)), model=base)
        is_won = (len(ours.text) > len(theirs.text) + 10) != (n % 6 == 0)
        make_comparison(ours, theirs, "model_a" if is_won else "model_b")
    rows = answer_rows.win_rate_rows(run_of())
    figures = result_of(carry_out(tmp_path / "run", rows))["metrics"]
    assert figures[LENGTH_CONTROLLED]["value"] < figures["win rate"]["value"] - 0.1
    assert (
        figures[LENGTH_CONTROLLED]["lower"] < figures[LENGTH_CONTROLLED]["value"] < figures[LENGTH_CONTROLLED]["upper"]
    )
    alone = [row for row in rows["votes"] if row["winner"] == "ours"]
    won = result_of(carry_out(tmp_path / "won", {**rows, "votes": alone}))
    assert LENGTH_CONTROLLED not in won["metrics"]
    assert any(
        note.startswith("No length-controlled win rate: the model or the length alone predicts every vote")
        for note in won["notes"]
    )


def test_one_voter_alone_and_all_ties_are_said(tmp_path, base, child, vote, run_of):
    author = make_user()
    for _ in range(6):
        vote(child, base, "tie", author=author)
    result = result_of(carry_out(tmp_path / "run", answer_rows.win_rate_rows(run_of())))
    figure = result["metrics"]["win rate"]
    assert figure["value"] == 0.5 and figure["upper"] - figure["lower"] > 0.5
    assert "All votes are ties." in result["notes"]
    assert any(note.startswith("There is only one voter") for note in result["notes"])
    assert LENGTH_CONTROLLED not in result["metrics"]


def test_a_limit_cuts_answers_and_says_so_but_no_votes(base, child, vote, answer, run_of):
    for n in range(5):
        vote(child, base)
        answer((child, f"a{n}"), (base, f"b{n}"))
    assert len(answer_rows.win_rate_rows(run_of(config={"limit": 3}))["votes"]) == 5
    rows = answer_rows.win_rate_rows(run_of(config={"judged_by": "reward", "limit": 3}))
    assert len({row["prompt_id"] for row in rows["answers"]}) == 3
    assert rows["about"][0]["left_out"] == {"prompts that both answered, above the limit": 2}


def test_categories_have_rates_of_their_own(tmp_path, project, base, child, run_of):
    for category, winner in (("poems", "model_a"), ("sums", "model_b")):
        for _ in range(3):
            prompt = make_prompt(project, side="eval", category=category)
            make_comparison(make_completion(prompt, model=child), make_completion(prompt, model=base), winner)
    groups = result_of(carry_out(tmp_path / "run", answer_rows.win_rate_rows(run_of())))["groups"]
    assert {name: row["win rate"]["value"] for name, row in groups.items()} == {"poems": 1.0, "sums": 0.0}


@pytest.mark.parametrize("votes", [0, 1])
def test_too_few_votes_are_refused(base, child, vote, run_of, votes):
    vote(child, base, n=votes)
    with pytest.raises(RecipeFailure, match=f"^{votes} counted vote.* by people on eval prompts compare tide-sft with"):
        answer_rows.win_rate_rows(run_of())


@pytest.mark.parametrize("opponent, code", [("nobody", "unknown_opponent"), ("tide-sft", "own_opponent")])
def test_an_opponent_that_is_none_is_refused(run_of, opponent, code):
    with pytest.raises(RecipeFailure) as caught:
        answer_rows.win_rate_rows(run_of(config={"opponent": opponent}))
    assert caught.value.code == code


# By a reward model


def test_answers_are_matched_by_prompt_and_by_settings(base, child, answer, run_of):
    for n in range(3):
        prompt = answer((child, f"warm {n}"), (child, f"warm too {n}"), (base, f"base {n}"))
        answer((child, f"cold {n}"), prompt=prompt, sampling=COLD)
    answer((child, "alone"))
    answer((child, "c"), (base, "b"), sampling=COLD)
    answer((child, "train"), (base, "train"), side="train")
    rows = answer_rows.win_rate_rows(run_of(config={"judged_by": "reward"}))
    assert rows["about"][0]["settings"] == WARM
    assert sorted((row["whose"], row["text"]) for row in rows["answers"]) == sorted(
        [("ours", f"warm {n}") for n in range(3)]
        + [("ours", f"warm too {n}") for n in range(3)]
        + [("theirs", f"base {n}") for n in range(3)]
    )


def test_scores_decide_and_several_answers_are_averaged_over_pairs(tmp_path, reward, base, child, answer, run_of):
    for n in range(6):
        answer((child, f"one {n}"), (child, f"another {n * 3}"), (base, f"base {n * 7}"), (base, "b" * (n + 1)))
    rows = answer_rows.win_rate_rows(run_of(config={"judged_by": "reward"}))
    run = carry_out(tmp_path / "run", rows, reward, judged_by="reward")
    result, model, expected, margins = result_of(run), RewardModel.load(reward), [], []
    for pk in {row["prompt_id"] for row in rows["answers"]}:
        here = [row for row in rows["answers"] if row["prompt_id"] == pk]
        scores = model.score([row["prompt"] for row in here], [row["text"] for row in here]).tolist()
        ours, theirs = (
            [s for s, row in zip(scores, here, strict=True) if row["whose"] == w] for w in ("ours", "theirs")
        )
        expected.append(sum((a > b) + 0.5 * (a == b) for a in ours for b in theirs) / 4)
        margins.append((sum(ours) - sum(theirs)) / 2 / 2.0)
    assert result["metrics"]["win rate"]["value"] == pytest.approx(sum(expected) / 6, abs=1e-9)
    assert result["metrics"]["score margin"]["value"] == pytest.approx(sum(margins) / 6, abs=1e-4)
    assert result["metrics"]["win rate"]["n"] == 6
    assert "12 of its answers against 12 on 6 prompts, sampled with" in " ".join(result["notes"])
    assert next(read_lines(run.path / "items.jsonl"))["shown"]["pairs"] == 4


def test_a_reward_model_that_taught_one_of_them_is_no_independent_judge(
    tmp_path, reward, base, child, answer, run_of, project
):
    scorer = make_model(name="taste", kind="reward")
    made = make_run(project, kind="ppo", reward_model=scorer)
    made.output_model = child
    made.save()
    for n in range(3):
        answer((child, f"a{n}"), (base, f"b{n}"))
    rows = answer_rows.win_rate_rows(run_of(config={"judged_by": "reward"}, reward_model=scorer))
    assert rows["about"][0]["taught"] == ["tide-sft"]
    notes = result_of(carry_out(tmp_path / "run", rows, reward, judged_by="reward"))["notes"]
    assert any("tide-sft was trained with this reward model" in note for note in notes)


def test_who_lacks_answers_is_named_with_the_remedy(base, child, answer, run_of):
    for n in range(3):
        answer((child, f"a{n}"))
    with pytest.raises(RecipeFailure) as caught:
        answer_rows.win_rate_rows(run_of(config={"judged_by": "reward"}))
    assert "tide-base has no answers to eval prompts." in caught.value.message
    assert "tide-sft has answers to 3 eval prompts (3 with max_new_tokens 64, temperature 0.7" in caught.value.message
    assert "sample run of tide-base" in caught.value.remedy


def test_answers_of_other_settings_are_no_match(base, child, answer, run_of):
    for n in range(3):
        prompt = answer((child, f"a{n}"))
        answer((base, f"b{n}"), prompt=prompt, sampling=COLD)
    with pytest.raises(RecipeFailure, match="0 prompts have answers of both with the same settings"):
        answer_rows.win_rate_rows(run_of(config={"judged_by": "reward"}))


# By a judge behind an endpoint


def prefers_ours(shown: str) -> str:
    """Whichever place it has, the answer that says "ours"; where both or none do, the first."""
    answers = dict(re.findall(r"<answer ([AB])>\n(.*?)\n</answer", shown, re.DOTALL))
    names = [name for name in "AB" if "ours" in answers[name]]
    return f"Because.\n[[{names[0] if len(names) == 1 else 'A'}]]"


def endpoint(tmp_path, rows, judge, **config) -> RunDirectory:
    config = {"judged_by": "endpoint", "judge_url": judge.url, "judge_model": "judge-1", **config}
    return carry_out(tmp_path / "run", rows, **config)


@pytest.fixture
def three(base, child, answer, run_of):
    """Three prompts: one won, one where the order decides, one with the same text twice."""
    answer((child, "ours is good"), (base, "worse"))
    answer((child, "one thing"), (base, "another thing"))
    answer((child, "the same"), (base, "the same"))
    return answer_rows.win_rate_rows(run_of(config={"judged_by": "endpoint"}))


def test_a_win_needs_both_orders_and_a_disagreement_is_a_tie_and_said(tmp_path, three):
    with judge_server(prefers_ours) as judge:
        run = endpoint(tmp_path, three, judge)
        assert len(judge.requests) == 4
    result = result_of(run)
    assert result["metrics"]["win rate"]["value"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert result["metrics"]["orders disagree"]["value"] == 0.5
    assert result["metrics"]["orders disagree"]["higher_is_better"] is False
    assert any(
        "in 1 of 2 pairs it chose the same position in both orders, 1 times the first" in n for n in result["notes"]
    )
    assert any("1 pairs have equal texts" in n for n in result["notes"])
    assert "assay-pair-1 in both orders by judge-1 at http://127.0.0.1" in result["signature"]
    by_verdict = {row["shown"]["verdict"]: row["shown"] for row in read_lines(run.path / "items.jsonl")}
    won, level = by_verdict["its answer"], [row for row in by_verdict.values() if row["verdict"] == "a tie"]
    assert (won["with its answer first"], won["with the opponent's first"]) == ("its answer", "its answer")
    assert level


def test_a_registered_judge_is_asked_with_its_key_options_and_concurrency(tmp_path, three, monkeypatch):
    monkeypatch.setenv(run_secrets.BY_HAND, "sk-of-the-judge")
    with judge_server(prefers_ours) as judge:
        judge.key = "sk-of-the-judge"
        told = {"url": judge.url, "model": "judge-2", "concurrency": 2, "allowed": ["127.0.0.1"],
                "template_options": {"enable_thinking": False}}  # fmt: skip
        run = carry_out(tmp_path / "run", three, judged_by="endpoint", judge="the judge", endpoints={"judge": told})
        assert judge.most_at_once <= 2 and len(judge.requests) == 4
    assert "by judge-2 at http://127.0.0.1" in result_of(run)["signature"]
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in judge.requests)
    assert all(b"sk-of-the-judge" not in path.read_bytes() for path in run.path.rglob("*") if path.is_file())


def test_a_resumed_run_asks_only_what_is_missing(tmp_path, three, monkeypatch):
    monkeypatch.setattr(endpoint_judge, "BACKOFF", 0.001)
    with judge_server(prefers_ours) as judge:
        first = endpoint(tmp_path, three, judge, judge_at_once=1)
        assert first.result() is not None
        kept = (first.path / "verdicts.jsonl").read_text().splitlines(keepends=True)
        (first.path / "result.json").unlink()
        (first.path / "verdicts.jsonl").write_text("".join(kept[:3]))
        judge.requests.clear()
        assert entry.attempt(evaluate.main, first) == 0
        assert len(judge.requests) == 1
    assert result_of(first)["metrics"]["win rate"]["value"] == pytest.approx(2 / 3)


def test_too_many_replies_without_a_verdict_give_no_figure(tmp_path, three, capfd):
    replies = iter(["[[A]]", "I cannot say.", "[[B]]", "[[B]]"])
    with judge_server(lambda shown: next(replies)) as judge:
        failure = endpoint(tmp_path, three, judge, judge_at_once=1).failure()
    assert failure is not None and failure["code"] == "judge_unreadable"
    assert "1 of 4 replies" in failure["message"]
    assert "I cannot say." not in failure["message"] and "I cannot say." in capfd.readouterr().err, "the log has it"


def test_a_judge_that_cannot_be_reached_is_said_and_no_figure_given(tmp_path, three, monkeypatch):
    monkeypatch.setattr(endpoint_judge, "BACKOFF", 0.001)
    with judge_server(prefers_ours) as judge:
        pass
    run = endpoint(tmp_path, three, judge)
    assert run.result() is None
    failure = run.failure()
    assert failure is not None and failure["code"] == "judge_unreachable"


def test_what_a_visitor_asked_leaves_this_site_for_no_judge(base, child, answer, run_of):
    for n in range(2):
        answer((child, f"a{n}"), (base, f"b{n}"))
    answer((child, "private"), (base, "private too"), source="arena")
    rows = answer_rows.win_rate_rows(run_of(config={"judged_by": "endpoint"}))
    assert "private" not in str(rows["answers"])
    assert rows["about"][0]["left_out"] == {"answers to visitors' questions in the arena": 1}
    by_reward = answer_rows.win_rate_rows(run_of(config={"judged_by": "reward"}))
    assert "private" in str(by_reward["answers"])


def test_answers_that_a_limit_cut_off_are_said(tmp_path, three):
    rows = {**three, "answers": [{**row, "cut_off": row["whose"] == "ours"} for row in three["answers"]]}
    with judge_server(prefers_ours) as judge:
        notes = result_of(endpoint(tmp_path, rows, judge))["notes"]
    assert "Its answers were cut off at the token limit in 3 of 3 cases." in notes


# From the queue


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_from_the_queue_to_figures_against_an_opponent(client, project, base, child, answer, vote):
    scorer = make_model(name="taste", kind="reward", folder="models/taste/reward")
    reward_models.make(scorer.path.parent)
    tiny_model.make_elsewhere(child.path)
    for n in range(6):
        answer((child, f"one {n}"), (base, f"base {n * 7}"))
        vote(child, base, "model_a" if n else "model_b")
    researcher = make_user(project, role="researcher")
    common = {"kind": "evaluate", "project": project, "by": researcher, "parent": child}
    config = {"measure": "win_rate", "opponent": base.name}
    by_people = queue_run(name="by people", config=config, **common)
    by_reward = queue_run(name="by scores", config={**config, "judged_by": "reward"}, reward_model=scorer, **common)
    for run in (by_people, by_reward):
        Worker(name="test").work(once=True)
        run.refresh_from_db()
        assert run.state == Run.State.SUCCEEDED, run.reason
        figure = Evaluation.objects.get(run=run, metric="win rate", group="")
        assert (figure.model, figure.opponent, figure.n) == (child, base, 6)
        assert figure.lower < figure.value < figure.upper
        page = client.get(reverse("run", args=[run.pk])).content.decode()
        assert "win rate" in page and "win rate against tide-base" in page
    assert Evaluation.objects.get(run=by_people, metric="win rate").value == pytest.approx(5 / 6)
    assert "assay win rate 1; against tide-base" in Evaluation.objects.filter(run=by_reward).first().signature


@pytest.mark.django_db
def test_a_figure_that_a_group_lacks_leaves_a_gap_under_its_own_head(client, run_of):
    def row(value: float) -> dict:
        return {"value": value, "standard_error": None, "lower": None, "upper": None, "n": 9, "clean": None}

    run = run_of(state="succeeded")
    groups = {"poems": {"win rate": row(0.25)}, "sums": {LENGTH_CONTROLLED: row(0.5), "win rate": row(0.75)}}
    run.result = {"metrics": {"win rate": row(0.5), LENGTH_CONTROLLED: row(0.4)}, "groups": groups}
    run.save()
    page = client.get(reverse("run", args=[run.pk])).content.decode()
    poems, sums = (re.search(rf">{name}</.*?</tr>", page, re.DOTALL).group() for name in ("poems", "sums"))
    assert re.findall(r'<td class="n">\s*([\d–]+)', poems) == ["9", "25", "–"]
    assert re.findall(r'<td class="n">\s*([\d–]+)', sums) == ["9", "75", "50"]
