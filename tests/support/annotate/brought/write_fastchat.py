"""Write small files in the shapes of FastChat: data/mt_bench, and a log of its arena.

The fields are those of `fastchat.llm_judge.gen_model_answer`, `.common.play_a_match_pair` and `fastchat.serve`'s
`vote_last_response` with `Conversation.dict()`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write a line on rain.", "Now make it rhyme."]},
    {"question_id": 101, "category": "reasoning", "turns": ["Is 7 a prime?", "And 9?"], "reference": ["Yes.", "No."]},
]
ANSWERS = {
    "alpha": {81: ["Rain falls on the plain.", "Rain, in vain, on the plain."], 101: ["Yes.", "No: 3 times 3."]},
    "beta": {81: ["It rains.", "It rains and drains."], 101: ["No.", "Yes."]},
}
# question, turn, winner of the first game and of the second, in which the sides are swapped
JUDGED = [(81, 1, "model_1", "model_1"), (81, 2, "tie", "model_2"), (101, 1, "model_1", "error")]


def write(name: str, rows: Iterable[dict]) -> None:
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def state(model: str, *texts: str) -> dict:
    roles = ["USER", "ASSISTANT"]
    messages = [[roles[number % 2], text] for number, text in enumerate(texts)]
    return {"template_name": "one_shot", "system_message": "", "roles": roles, "messages": messages, "offset": 0,
            "conv_id": f"{model}-{len(texts)}", "model_name": model}  # fmt: skip


def main() -> None:
    write("mt_bench/question.jsonl", QUESTIONS)
    for model, answers in ANSWERS.items():
        write(f"mt_bench/model_answer/{model}.jsonl", (
            {"question_id": number, "answer_id": f"{model}{number}", "model_id": model,
             "choices": [{"index": 0, "turns": turns}], "tstamp": 1686000000.0}
            for number, turns in answers.items()
        ))  # fmt: skip
    write("mt_bench/model_judgment/gpt-4_pair.jsonl", (
        {"question_id": number, "model_1": "alpha", "model_2": "beta", "g1_winner": first, "g2_winner": second,
         "judge": ["gpt-4", "pair-v2"], "g1_user_prompt": "[User Question] …", "g1_judgment": "My verdict: [[A]]",
         "g2_user_prompt": "[User Question] …", "g2_judgment": "My verdict: [[B]]", "turn": turn, "tstamp": 1.7e9}
        for number, turn, first, second in JUDGED
    ))  # fmt: skip
    write("mt_bench/model_judgment/gpt-4_single.jsonl", [
        {"question_id": 81, "model": "alpha", "judge": ["gpt-4", "single-v1"], "user_prompt": "…", "judgment": "…",
         "score": 8, "turn": 1, "tstamp": 1686000002.0},
    ])  # fmt: skip
    pair = [state("alpha", "Hello?", "Hello.", "Who?", "Me."), state("beta", "Hello?", "Hi.", "Who?", "I.")]
    names = ["alpha", "beta"]
    write("fastchat_log.json", [
        {"tstamp": 1686000000.1, "type": "chat", "model": "alpha", "gen_params": {}, "start": 1.0, "finish": 2.0,
         "state": state("alpha", "Hello?", "Hello."), "ip": "192.0.2.7"},
        {"tstamp": 1686000000.2, "type": "rightvote", "models": names, "states": pair, "ip": "192.0.2.7"},
        {"tstamp": 1686000000.3, "type": "bothbad_vote", "models": names, "ip": "192.0.2.8",
         "states": [state("alpha", "And now?", "No."), state("beta", "And now?", "Never.")]},
        {"tstamp": 1686000000.4, "type": "upvote", "model": "alpha", "ip": "192.0.2.9",
         "state": state("alpha", "Thanks?", "Welcome.")},
    ])  # fmt: skip


main()
