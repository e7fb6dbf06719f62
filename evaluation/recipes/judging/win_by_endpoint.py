"""A win rate by a judge model behind an endpoint, asked about each pair in both orders."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.judging.verdicts import FIRST, SECOND, TIE
from evaluation.recipes.common import result_figures
from evaluation.recipes.judging import endpoint_judge
from evaluation.recipes.judging.endpoint_judge import Ask
from evaluation.recipes.judging.judge_access import Endpoint, checked_url, endpoint_of_registered, key_from
from evaluation.recipes.judging.judgements import SAID, Answered, Judged, Vote, answered, of_answers, shown
from training.core.run_directory import Row, RunDirectory

OURS_FIRST, THEIRS_FIRST = ("ours", "theirs"), ("theirs", "ours")
MOST_UNREAD = 0.1  # of the judge's replies: those left out might all have said the same


def by_endpoint(run: RunDirectory, config: Any) -> Judged:
    prompts = answered(run)
    pairs = [
        (f"{prompt.id}-{i}" if i else str(prompt.id), prompt, own_answer, opponent_answer)
        for prompt in prompts
        for i, (own_answer, opponent_answer) in enumerate(
            zip(prompt.own_answers, prompt.opponent_answers, strict=False)
        )
    ]
    differing = [pair for pair in pairs if pair[2].strip() != pair[3].strip()]
    asks = [
        ask
        for key, prompt, own_answer, opponent_answer in differing
        for ask in (Ask(f"{key} ours first", prompt.prompt, own_answer, opponent_answer),
                    Ask(f"{key} theirs first", prompt.prompt, opponent_answer, own_answer))
    ]  # fmt: skip
    endpoint = endpoint_of(config, run.spec().endpoints.get("judge"))
    verdict_rows = endpoint_judge.ask_all(
        endpoint,
        asks,
        run.path / "verdicts.jsonl",
        lambda done, n: run.progress("asking the judge", done, n),
    )
    unread = [row for row in verdict_rows.values() if row["verdict"] is None]
    if len(unread) > MOST_UNREAD * len(verdict_rows):
        raise endpoint_judge.unreadable(unread[0]["reply"], len(unread), len(verdict_rows))
    votes, orders = [], []
    for key, prompt, own_answer, opponent_answer in pairs:
        if own_answer.strip() == opponent_answer.strip():
            votes.append(_by_verdicts(key, prompt, own_answer, opponent_answer, TIE, TIE, "both answers are the same"))
            continue
        rows = verdict_rows[f"{key} ours first"], verdict_rows[f"{key} theirs first"]
        verdicts = rows[0]["verdict"], rows[1]["verdict"]
        if None not in verdicts:
            votes.append(
                _by_verdicts(key, prompt, own_answer, opponent_answer, *verdicts, rows[0]["reply"], rows[1]["reply"])
            )
            orders.append(verdicts)
    setting, notes = of_answers(run, prompts)
    return Judged(
        votes,
        f"{endpoint_judge.RUBRIC} in both orders by {endpoint.model} at {endpoint.url}; {setting}",
        notes + _judge_notes(pairs, differing, orders, len(unread)),
        {name: row for name, row in _of_orders(orders).items() if row},
    )


def endpoint_of(config: Any, registered: Row | None = None) -> Endpoint:
    """Return where to ask: a registered judge by what its worker hands down, else what the config says."""
    bounds = {
        "timeout": config.judge_timeout,
        "per_minute": config.judge_per_minute,
        "max_tokens": config.judge_tokens,
    }
    if registered is not None:
        return endpoint_of_registered(registered, **bounds)
    url = checked_url(config.judge_url)
    return Endpoint(
        url=url,
        model=config.judge_model,
        key=key_from(config.judge_key_variable, url),
        at_once=config.judge_at_once,
        **bounds,
    )


def _by_verdicts(
    key: str, prompt: Answered, own_answer: str, opponent_answer: str, as_first: str, as_second: str, *replies: str
) -> Vote:
    """Return the vote of two verdicts. `as_first` is the verdict with the model's answer shown first, `as_second` with
    the opponent's."""
    if as_first == FIRST and as_second == SECOND:
        points = 1.0
    elif as_first == SECOND and as_second == FIRST:
        points = 0.0
    else:
        points = 0.5
    fields = {
        "with its answer first": SAID[_winner_of(as_first, OURS_FIRST)],
        "with the opponent's first": SAID[_winner_of(as_second, THEIRS_FIRST)],
        "reasons": "\n\n".join(replies),
    }
    verdict = "ours" if points == 1 else "theirs" if points == 0 else "tie"
    return Vote(
        id=key,
        prompt_id=prompt.id,
        prompt=prompt.prompt,
        category=prompt.category,
        prompt_key=f"{prompt.prompt} {opponent_answer}",
        points=points,
        longer_by=len(own_answer) - len(opponent_answer),
        voter=1,
        shown=shown(prompt.prompt, own_answer, opponent_answer, verdict=SAID[verdict], **fields),
    )


def _winner_of(verdict: str, order: tuple[str, str]) -> str:
    return "tie" if verdict == TIE else order[0 if verdict == FIRST else 1]


def _of_orders(orders: list[tuple[str, str]]) -> dict[str, Row | None]:
    """Return how often the order decided: pairs whose two verdicts differ, and what the answer shown first got."""
    agree = {(FIRST, SECOND), (SECOND, FIRST), (TIE, TIE)}
    differ = np.array([float(pair not in agree) for pair in orders])
    by_pair = [np.mean([float(v == FIRST) for v in pair if v != TIE]) for pair in orders if pair != (TIE, TIE)]
    return {
        "orders disagree": result_figures.share(differ, False),
        "preferred when shown first": result_figures.mean(np.array(by_pair), None, 0, 1),
    }


def _judge_notes(pairs: list[Any], differing: list[Any], orders: list[tuple[str, str]], unread: int) -> list[str]:
    notes = ["The judge is a model, so its preferences are not those of people."]
    flips = sum(pair[0] == pair[1] != TIE for pair in orders)
    if flips:
        firsts = sum(pair == (FIRST, FIRST) for pair in orders)
        notes.append(
            f"Position bias: in {flips} of {len(orders)} pairs it chose the same position in both orders, {firsts} "
            "times the first; these count as ties."
        )
    if unread:
        notes.append(f"{unread} of its {2 * len(differing)} replies have no verdict; these pairs are left out.")
    if same := len(pairs) - len(differing):
        notes.append(f"{same} pairs have equal texts: they count as ties without a question to the judge.")
    return notes
