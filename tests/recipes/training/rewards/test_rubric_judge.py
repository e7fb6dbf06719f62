"""A judge as a part of a reward: each answer graded once, the bill right, and what happens when it is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.annotate.keyed_api import KeyedApi, Trouble, keyed_api
from tests.support.training import ppo_runs
from training.configs.rewards import part_lines, reward_parts
from training.core import run_secrets
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec, read_lines
from training.recipes.best_of import __main__ as best_of
from training.recipes.common import entry
from training.recipes.rewards.part_scores import Answered
from training.recipes.rewards.rubric_judge import RubricJudge, judge_rows, judges_for

KEY = "sk-of-a-judge"
ASKED = [[{"role": "user", "content": f"question {i}"}] for i in range(4)]
TEXTS = ["one", "two words", "now three words", "one"]


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr("annotate.core.chat_api.pace.BACKOFF", 0.01)


def by_words(body: dict) -> str:
    """Grade 1 for a word, 10 for more than one."""
    shown = body["messages"][-1]["content"].partition("<answer>")[2].partition("</answer>")[0]
    return f"It has {len(shown.split())} words. [[{1 if len(shown.split()) == 1 else 10}]]"


def endpoint(api: KeyedApi, **more) -> dict:
    prices = {"prompt_price": "2.5", "completion_price": "10"}
    return {"name": "theirs", "url": api.url, "model": "small", "concurrency": 3, "allowed": ["127.0.0.1"],
            **prices, **more}  # fmt: skip


def judge_of(path: Path, api: KeyedApi, line: str = "", key: str = KEY, **more) -> RubricJudge:
    path.mkdir(exist_ok=True)
    os.environ[run_secrets.BY_HAND] = key
    parts = reward_parts.judges_of(part_lines.read_parts(f"judge judge=theirs {line}"))
    spec = RunSpec("ppo", {}, endpoints={"judge": endpoint(api, **more)})
    return judges_for(RunDirectory(path), spec, parts)["judge"]


def grades(judge: RubricJudge, count: int = 4) -> list[float]:
    return judge(Answered(ASKED[:count], TEXTS[:count], [""] * count, {}, None)).value.tolist()


def test_each_answer_is_graded_once_and_never_again(tmp_path):
    with keyed_api(key=KEY, answer=by_words, every=lambda n: Trouble(503) if n % 3 == 1 else None) as api:
        judge = judge_of(tmp_path / "run", api, "rubric='Are there many words?'")
        assert grades(judge) == [0, 1, 1, 0]
        assert len(api.billed) == 4 and api.most_at_once <= 3
        assert all("Are there many words?" in body["messages"][0]["content"] for body in api.billed)
        assert grades(judge) == [0, 1, 1, 0] and len(api.billed) == 4
        again = judge_of(tmp_path / "run", api, "rubric='Are there many words?'")
        assert grades(again) == [0, 1, 1, 0] and len(api.billed) == 4, "a resumed run gets what was paid for"
        other = judge_of(tmp_path / "run", api)
        assert grades(other, 1) == [0] and len(api.billed) == 5, "another rubric is another question"
        prompts, completions = api.bill
    [row] = judge_rows(RunDirectory(tmp_path / "run"), ["judge"])["judges"].values()
    assert (row["graded"], row["unread"], row["may_be_billed"]) == (5, 0, 0)
    assert row["cost"] == pytest.approx((2.5 * prompts + 10 * completions) / 1e6)
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*.jsonl"))


def test_what_a_batch_counted_is_on_disk_before_it_counts(tmp_path, monkeypatch):
    synced: dict[str, bytes] = {}
    sync = os.fsync

    def note(file: int) -> None:
        sync(file)
        path = Path(f"/proc/self/fd/{file}").readlink()
        synced[path.name] = path.read_bytes() if path.is_file() else b""

    monkeypatch.setattr(os, "fsync", note)
    with keyed_api(key=KEY, answer=by_words) as api:
        grades(judge_of(tmp_path / "run", api))
    for name in ("judged-judge.jsonl", "judge-batches-judge.jsonl"):
        assert synced.get(name) == (tmp_path / "run" / name).read_bytes()
    assert "run" in synced, "the folder, too: a file that is new may be lost without its name"


@pytest.mark.parametrize("lost", ["fail", "without"])
def test_a_judge_that_is_lost_ends_the_run_or_counts_for_all_alike(tmp_path, lost):
    with keyed_api(key=KEY, answer=by_words) as api:
        judge = judge_of(tmp_path / "run", api, f"lost={lost}")
        assert grades(judge, 2) == [0, 1]
        api.key = "another"
        if lost == "fail":
            with pytest.raises(RecipeFailure) as failed:
                grades(judge)
            assert failed.value.code == "endpoint_key"
        else:
            done = judge(Answered(ASKED, TEXTS, [""] * 4, {}, None))
            assert done.value.tolist() == [0.5] * 4 and done.watched["lost"].tolist() == [1] * 4


def test_an_answer_that_alone_is_too_long_counts_as_the_mean(tmp_path):
    with keyed_api(key=KEY, answer=by_words, context=3000) as api:
        judge = judge_of(tmp_path / "run", api)
        assert grades(judge, 2) == [0, 1]
        answered = Answered(ASKED, [*TEXTS[:3], "word " * 1000], [""] * 4, {}, None)
        assert judge(answered).value.tolist() == pytest.approx([0, 1, 1, 2 / 3])
        with pytest.raises(RecipeFailure, match="do not fit"):
            judge(Answered(ASKED[:1], ["other " * 1000], [""], {}, None))


def test_a_mean_is_the_same_where_a_run_goes_on_from_before_what_was_graded(tmp_path):
    texts = ["one", "two words", "word " * 1000]
    with keyed_api(key=KEY, answer=by_words, context=3000) as api:
        judge = judge_of(tmp_path / "run", api)
        first = Answered(ASKED[:3], texts, [""] * 3, {}, None)
        values = judge(first).value.tolist()
        assert values == pytest.approx([0, 1, 0.5])
        judge(Answered(ASKED[:3], ["a b", "a b c", "a b c d"], [""] * 3, {}, None))
        again = judge_of(tmp_path / "run", api)
        assert again(first).value.tolist() == pytest.approx(values), "what came later is not in it"


def test_a_mean_is_the_same_where_a_run_goes_on_with_answers_that_were_graded_long_before(tmp_path):
    def of(*texts: str) -> Answered:
        return Answered(ASKED[: len(texts)], list(texts), [""] * len(texts), {}, None)

    with keyed_api(key=KEY, answer=by_words, context=3000) as api:
        judge = judge_of(tmp_path / "run", api)
        judge(of("one"))
        judge(of("a b", "a b c"))
        known = of("one", "word " * 1000)
        values = judge(known).value.tolist()
        assert values == pytest.approx([0, 2 / 3])
        judge(of("a b c d", "b c d e"))
        again = judge_of(tmp_path / "run", api)
        assert again(known).value.tolist() == pytest.approx(values), "two graded answers were not in the batch"
        assert again(of("a b c d", "b c d e", "other " * 1000)).value.tolist() == pytest.approx([1, 1, 4 / 5])
        cut_off = judge_of(tmp_path / "run", api)  # in a batch that no attempt has ended
        assert cut_off(of("one", "third " * 1000)).value.tolist() == pytest.approx([0, 4 / 5])


def test_a_mean_counts_the_batch_in_which_the_judge_was_lost_when_a_later_attempt_ends_it(tmp_path):
    answered = Answered(ASKED, ["one", "two words", "now three words", "word " * 1000], [""] * 4, {}, None)
    with keyed_api(key="another", answer=by_words, context=3000) as api:
        with pytest.raises(RecipeFailure):
            judge_of(tmp_path / "run", api)(answered)
        api.key = KEY
        values = judge_of(tmp_path / "run", api)(answered).value.tolist()
        assert values == pytest.approx([0, 1, 1, 2 / 3])
        assert judge_of(tmp_path / "run", api)(answered).value.tolist() == pytest.approx(values)


def test_it_stops_at_max_cost(tmp_path):
    with keyed_api(key=KEY, answer=by_words) as api:
        judge = judge_of(tmp_path / "run", api, "max_cost=0.0005")
        with pytest.raises(RecipeFailure, match="max_cost"):
            grades(judge)
        assert len(api.billed) == 2, "one more than the limit pays for at most"


def test_a_limit_needs_prices_and_a_grade_a_rubric_that_is_followed(tmp_path):
    with keyed_api(key=KEY, answer=lambda body: "It is fine.") as api:
        with pytest.raises(RecipeFailure, match="no prices"):
            judge_of(tmp_path / "run", api, "max_cost=1", prompt_price=None)
        with pytest.raises(RecipeFailure, match="4 of 4 replies"):
            grades(judge_of(tmp_path / "run", api))


def test_a_run_keeps_what_the_judge_grades_best_and_says_what_that_cost(tmp_path, model):
    run = RunDirectory(tmp_path / "run")
    with keyed_api(key=KEY, answer=lambda body: f"[[{1 + len(body['messages'][-1]['content']) % 10}]]") as api:
        config = {"candidates": 3, "max_new_tokens": 6, "batch_size": 4, "rewards": "judge judge=theirs"}
        spec = RunSpec("best_of", config, seed=3, parent=str(model), endpoints={"judge": endpoint(api)})
        run.create(spec, {"prompts": iter(ppo_runs.PROMPTS[:2])})
        os.environ[run_secrets.BY_HAND] = KEY
        assert entry.attempt(best_of.main, run) == 0, run.failure()
        assert len(api.billed) == len(list(read_lines(run.path / "judged-judge.jsonl"))) <= 6
    result = run.result()
    assert result["parts"]["judge"]["kept"] >= result["parts"]["judge"]["candidates"]
    assert set(result["parts"]) == {"judge"} and result["judges"]["judge"]["cost"] > 0
