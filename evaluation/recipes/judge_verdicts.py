"""Ask a judge model about pairs of answers in both orders, or about each answer on a scale.

    python -m evaluation.recipes.judge_verdicts RUN_DIR

In: `data/items.jsonl` and `data/about.jsonl`, as `evaluation.judge_models.verdict_items` writes them. Out:
`verdicts.jsonl`, one line for each question, on disk before the next is counted; the site makes verdicts of them when
the run ends, however it ends. What the file holds is asked no second time.
"""

from __future__ import annotations

from common.judging import rubrics
from common.judging.rubrics import A_FIRST, B_FIRST, VERDICTS
from evaluation.recipes.judging import endpoint_judge
from evaluation.recipes.judging.endpoint_judge import Ask, Question, ScaleAsk
from evaluation.recipes.judging.judge_access import endpoint_of_registered
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe

MOST_UNREAD = 0.1  # of the replies: those left out might all have said the same


def main(run: RunDirectory, spec: RunSpec) -> None:
    config, about = config_of(spec), run.rows("about")[0]
    system = rubrics.system_text(about["form"], about["rubric"])
    asks = [ask for item in run.each_row("items") for ask in questions(item, about["form"], system)]
    endpoint = endpoint_of_registered(
        spec.endpoints["judge"], timeout=config.timeout, per_minute=config.per_minute, max_tokens=config.max_tokens
    )
    replies = endpoint_judge.ask_all(
        endpoint, asks, run.path / VERDICTS, lambda done, n: run.progress("asking the judge", done, n)
    )
    unread = [row for row in replies.values() if row["verdict"] is None]
    if len(unread) > MOST_UNREAD * len(replies):
        raise endpoint_judge.unreadable(unread[0]["reply"], len(unread), len(replies))
    if not replies and not about["same_texts"]:
        raise RecipeFailure("no_items", "There is nothing to judge.", "Collect answers first, or choose other items.")
    run.finish({"asked": len(replies), "unread": len(unread), "same_texts": about["same_texts"]})


def questions(item: Row, form: str, system: str) -> list[Question]:
    """Return what is asked about an item: nothing, where both texts are the same."""
    if form == rubrics.SCALE:
        return [ScaleAsk(item["key"], item["prompt"], item["text_a"], system)]
    if item["text_a"].strip() == item["text_b"].strip():
        return []
    return [
        Ask(f"{item['key']} {A_FIRST}", item["prompt"], item["text_a"], item["text_b"], system),
        Ask(f"{item['key']} {B_FIRST}", item["prompt"], item["text_b"], item["text_a"], system),
    ]


if __name__ == "__main__":
    run_recipe(main)
