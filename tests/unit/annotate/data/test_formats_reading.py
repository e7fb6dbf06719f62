"""Rows as the tools publish them, in words of our own, and what is said of rows that are wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from annotate.data.formats import FORMATS, READERS, WRITERS, detect, mapped
from annotate.data.formats.items import (
    Item,
    NewAnswers,
    NewAttack,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewPrompt,
    NewRanking,
    NewRating,
    NewSpan,
)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def asked(content: str) -> list[dict[str, str]]:
    return [said("user", content)]


def chat(*contents: str) -> list[dict[str, str]]:
    return [said(("user", "assistant")[i % 2], content) for i, content in enumerate(contents)]


def read(row: dict, format: str = "") -> list[Item]:
    return READERS[format or detect([row])](row, 7)


def one(row: dict, format: str = "") -> Any:
    (item,) = read(row, format)
    return item


PAIR = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"}
ATTACK = {
    "min_harmlessness_score_transcript": -2.5, "num_params": "52B", "model_type": "rlhf", "rating": 3.0,
    "transcript": "\n\nHuman: Be bad\n\nAssistant: No.", "task_description": "Make it bad.", "red_team_member_id": 4,
    "task_description_harmlessness_score": 0.5, "is_upworker": False, "tags": ["Theft", "Other"],
}  # fmt: skip
VOTE = {
    "model_a": "koala", "model_b": "vicuna", "winner": "model_b", "judge": "j1", "turn": 1, "language": "English",
    "conversation_a": chat("Hi", "A"), "conversation_b": chat("Hi", "B"), "anony": True, "tstamp": 1700000000.5,
}  # fmt: skip
VOTE_55K = {
    "id": "30192", "model_a": "gpt", "model_b": "llama", "prompt": '["Hi","And?"]', "response_a": '["A", null]',
    "response_b": '["B","B2"]', "winner_model_a": "1", "winner_model_b": "0", "winner_tie": "0",
}  # fmt: skip
ALPACA = {
    "instruction": "Do",
    "output_1": "a",
    "output_2": "b",
    "generator_1": "x",
    "generator_2": "y",
    "preference": 2.0,
}
SUMMARIES = {
    "info": {"id": "t3_1", "post": "Long story.", "title": "Help", "subreddit": "AskUs"}, "choice": 0,
    "worker": "w7",
    "summaries": [{"text": " short", "policy": "sup1"}, {"text": " shorter", "policy": "ref"}],
    "extra": {"confidence": 8},
}  # fmt: skip
PANDALM = {
    "idx": 0, "cmp_key": "bloom-7b_opt-7b", "instruction": "Say", "input": "hello", "response1": "hi",
    "response2": True, "annotator1": 2, "annotator2": 0, "annotator3": 1,
}  # fmt: skip
RECORD = {
    "id": "r1", "status": "completed", "_server_id": "s", "prompt": "Hi", "response_1": "A", "response_2": "B",
    "preference.responses": ["response_2", "response_1"], "preference.responses.users": ["u1", "u2"],
    "preference.responses.status": ["submitted", "draft"], "preference.suggestion": "response_1",
    "preference.suggestion.agent": "gpt", "comment.responses": ["Better."], "comment.responses.users": ["u1"],
    "comment.responses.status": ["submitted"], "quality_2.responses": [4], "quality_2.responses.users": ["u1"],
    "quality_2.responses.status": ["submitted"],
}  # fmt: skip
TASK = {
    "id": 12, "data": {"prompt": "Hi", "answer1": "A", "answer2": "B"}, "predictions": [{"result": []}],
    "annotations": [
        {"id": 5, "completed_by": {"id": 2, "email": "ann@example.org"}, "was_cancelled": False, "lead_time": 4.5,
         "created_at": "2026-03-01T10:00:00Z", "result": [
             {"from_name": "pw", "to_name": "answer1,answer2", "type": "pairwise", "value": {"selected": "right"}},
             {"from_name": "reason", "to_name": "prompt", "type": "textarea", "value": {"text": ["Shorter."]}},
             {"from_name": "fluency", "to_name": "answer2", "type": "rating", "value": {"rating": 5}}]},
        {"id": 6, "completed_by": 3, "was_cancelled": True, "result": []},
    ],
}  # fmt: skip
TREE = {
    "message_tree_id": "m1", "tree_state": "ready_for_export",
    "prompt": {"message_id": "m1", "text": "Why?", "role": "prompter", "lang": "en", "replies": [
        {"message_id": "m2", "text": "So.", "role": "assistant", "lang": "en", "rank": 1, "replies": [],
         "labels": {
            "quality": {"value": 0.75, "count": 3}, "spam": {"value": 1.0, "count": 3},
            "pii": {"value": 0.0, "count": 3}}},
        {"message_id": "m3", "text": "Thus.", "role": "assistant", "lang": "en", "rank": 0, "replies": [
            {"message_id": "m4", "text": "More?", "role": "prompter", "lang": "en", "replies": [
                {"message_id": "m5", "text": "Enough.", "role": "assistant", "review_result": True, "user_id": "u9"},
                {"message_id": "m6", "text": "Gone.", "role": "assistant", "deleted": True}]},
            {"message_id": "m7", "text": "Well?", "role": "prompter", "lang": "de", "replies": []}]}]},
}  # fmt: skip

DETECTED = {
    "hh-rlhf": PAIR,
    "hh-rlhf-red-team": ATTACK,
    "lmarena": VOTE,
    "lmarena-55k": VOTE_55K,
    "alpaca-eval": ALPACA,
    "openai-summaries": SUMMARIES,
    "pandalm": PANDALM,
    "argilla": RECORD,
    "label-studio": TASK,
    "open-assistant": TREE,
    "trl-preference": {"prompt": asked("Hi"), "chosen": chat("", "A")[1:], "rejected": chat("", "B")[1:]},
    "trl-preference-text": {"prompt": "Hi", "chosen": "A", "rejected": "B"},
    "trl-preference-implicit": {"chosen": chat("Hi", "A"), "rejected": chat("Hi", "B")},
    "trl-preference-implicit-text": {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    "trl-unpaired": {"prompt": asked("Hi"), "completion": [said("assistant", "A")], "label": True},
    "trl-unpaired-text": {"prompt": "Hi", "completion": "A", "label": False},
    "trl-prompt-completion": {"prompt": asked("Hi"), "completion": [said("assistant", "A")]},
    "trl-prompt-completion-text": {"prompt": "Hi", "completion": "A"},
    "trl-prompt-only": {"prompt": asked("Hi")},
    "trl-prompt-only-text": {"prompt": "Hi"},
    "trl-language-modeling": {"messages": chat("Hi", "A")},
    "trl-language-modeling-text": {"text": PAIR["chosen"]},
    "assay": {"type": "rating", "prompt": asked("Hi"), "completion": "A", "stars": 4},
}


@pytest.mark.parametrize("name", DETECTED)
def test_a_format_is_told_by_its_fields(name):
    assert detect([DETECTED[name]] * 3, "file.jsonl") == name
    assert read(DETECTED[name])


def test_every_format_is_detected_here():
    assert set(DETECTED) == set(FORMATS)


# Rows of these formats are one item each, and are written again field by field.
BY_ROW = [name for name in DETECTED if name not in ("assay", "argilla", "label-studio", "open-assistant")]


@pytest.mark.parametrize("name", BY_ROW)
def test_a_row_is_written_again_as_it_was(name):
    row = json.loads(json.dumps(DETECTED[name])) | {"a_field": {"of": ["theirs", None, 1.5]}, "empty": None}
    assert WRITERS[name](READERS[name](row, 1)) == [row]


def test_a_file_of_nothing_known_is_told_what_it_has():
    with pytest.raises(ValueError, match=r"votes.csv has the fields foo, spam: this matches no known format"):
        detect([{"spam": 1, "foo": 2}], "votes.csv")
    with pytest.raises(ValueError, match="has no rows"):
        detect([], "votes.csv")


def test_hh_rlhf_pairs_share_their_beginning():
    pair = one(PAIR)
    assert (pair.messages, pair.a, pair.b, pair.winner) == (asked("Hi"), "Hello.", "What?", "model_a")
    assert not pair.is_ordered and not pair.extra


ODD_TRANSCRIPTS = [
    "\n\nHuman:  two spaces \n\nAssistant: x",
    "\n\nHuman: a\n\nHuman: b\n\nAssistant: x ",
    "\n\nHuman: a\n\nAssistant:x\n",
    "  \n\nHuman: a\r\n\n\nAssistant: \tx",
    "A system text\n\nHuman: a\n\nAssistant: x",
    "Human: a\n\nAssistant: x\n\nHuman: b\n\nAssistant: y",
]


@pytest.mark.parametrize("transcript", ODD_TRANSCRIPTS)
def test_odd_white_space_in_a_transcript_is_kept(transcript):
    row = {"chosen": transcript, "rejected": f"{transcript} and more"}
    (item,) = read(row, "hh-rlhf")
    assert isinstance(item, NewComparison) and item.a == item.a.strip()
    assert WRITERS["hh-rlhf"]([item]) == [row]


def test_an_attack_has_its_success_its_harms_and_who_made_it():
    attack = one(ATTACK)
    assert isinstance(attack, NewAttack) and attack.messages == chat("Be bad", "No.")
    assert (attack.rating, attack.tags, attack.judge, attack.model) == (3.0, ("Theft", "Other"), "4", "rlhf 52B")
    assert (attack.min_harmlessness_score, attack.task_description_harmlessness_score) == (-2.5, 0.5)


@pytest.mark.parametrize(
    ("spelling", "winner"),
    [
        ("tie", "tie"), ("tie (bothbad)", "both_bad"), ("both_bad", "both_bad"), ("bothbad", "both_bad"),
        ("Tie (Both Bad)", "both_bad"), ("model_a", "model_a"), ("koala", "model_a"),
    ],
)  # fmt: skip
def test_votes_of_every_spelling(spelling, winner):
    row = VOTE | {"winner": spelling}
    vote = one(row)
    assert vote.winner == winner
    assert WRITERS["lmarena"]([vote]) == [row]  # and in the same spelling


def test_a_vote_has_its_models_its_judge_its_language_and_its_hour():
    vote = one(VOTE)
    assert (vote.model_a, vote.model_b, vote.judge, vote.language) == ("koala", "vicuna", "j1", "English")
    assert vote.created_at == datetime.fromtimestamp(1700000000.5, UTC) and vote.is_ordered


def test_conversations_that_went_on_apart_keep_what_followed():
    row = VOTE | {"conversation_a": chat("Hi", "A", "More", "A2"), "conversation_b": chat("Hi", "B", "More", "B2")}
    vote = one(row)
    assert (vote.messages, vote.a, vote.b) == (asked("Hi"), "A", "B")
    assert vote.later_a == [said("user", "More"), said("assistant", "A2")]
    same_first = one(
        VOTE | {"conversation_a": chat("Hi", "A", "More", "A2"), "conversation_b": chat("Hi", "A", "More", "B2")}
    )
    assert same_first.messages == chat("Hi", "A", "More") and (same_first.a, same_first.b) == ("A2", "B2")


def test_a_content_of_parts_is_one_text_and_a_picture_is_refused():
    parts = [said("user", "Hi"), {"role": "assistant", "content": [{"type": "text", "text": "A"}]}]
    assert one(VOTE | {"conversation_a": parts}).a == "A"
    picture = [{"role": "user", "content": [{"type": "image", "image": None}]}, said("assistant", "A")]
    with pytest.raises(ValueError, match="'image' in conversation_a"):
        one(VOTE | {"conversation_a": picture})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg=="}},
        {"text": {"nested": "no text"}},
    ],
)
def test_what_is_no_text_is_never_left_out_in_silence(part):
    seen = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}, said("assistant", "A")]
    with pytest.raises(ValueError, match="only text can be imported"):
        one(VOTE | {"conversation_a": seen})


def test_the_55k_shape_has_lists_in_cells():
    vote = one(VOTE_55K)
    assert (vote.messages, vote.a, vote.b, vote.winner) == (asked("Hi"), "A", "B", "model_a")
    assert vote.later_a == [said("user", "And?"), said("assistant", "")]
    with pytest.raises(ValueError, match="needs exactly one of"):
        one(VOTE_55K | {"winner_tie": "1"})


@pytest.mark.parametrize(
    ("preference", "winner"),
    [(1, "model_a"), (2.0, "model_b"), (1.5, "tie"), (0, "tie"), (1.83, "model_b"), (0.2, "model_a"), ("2", "model_b")],
)
def test_preferences_of_alpaca_eval(preference, winner):
    assert one(ALPACA | {"preference": preference}).winner == winner


@pytest.mark.parametrize("preference", [None, float("nan"), 3, "good"])
def test_a_preference_that_says_nothing_is_told(preference):
    with pytest.raises(ValueError, match="preference"):
        one(ALPACA | {"preference": preference})


def test_summaries_are_asked_for_as_in_the_paper():
    pair = one(SUMMARIES)
    assert pair.messages == asked("SUBREDDIT: r/AskUs\n\nTITLE: Help\n\nPOST: Long story.\n\nTL;DR:")
    assert (pair.a, pair.winner, pair.model_b, pair.judge) == (" short", "model_a", "ref", "w7")
    assert pair.strength is None and pair.extra["extra"] == {"confidence": 8}


def test_each_of_pandalms_people_has_a_comparison():
    votes = read(PANDALM)
    assert [(v.judge, v.winner) for v in votes] == [
        ("annotator1", "model_b"),
        ("annotator2", "tie"),
        ("annotator3", "model_a"),
    ]  # type: ignore[attr-defined]
    assert votes[0].messages == asked("Say\n\nhello") and votes[0].b == "True"  # type: ignore[attr-defined]


def test_an_argilla_record_is_what_was_submitted():
    rating, vote = read(RECORD)
    assert isinstance(rating, NewRating) and (rating.text, rating.stars, rating.judge) == ("B", 4, "u1")
    assert isinstance(vote, NewComparison) and (vote.winner, vote.judge, vote.comment) == ("model_b", "u1", "Better.")


def test_a_nested_argilla_record_and_one_of_version_1_say_the_same():
    nested = {
        "id": "r1", "fields": {"prompt": "Hi", "response_1": "A", "response_2": "B"}, "metadata": {"topic": "x"},
        "responses": {"preference": [{"value": "response_2", "user_id": "u1"}]}, "suggestions": {}, "vectors": {},
    }  # fmt: skip
    first = {
        "prompt": "Hi", "response_1": "A", "response_2": "B", "external_id": None,
        "preference": [{"user_id": "u1", "value": "response_2", "status": "submitted"}], "preference-suggestion": None,
    }  # fmt: skip
    for row in (nested, first):
        assert detect([row]) == "argilla"
        vote = one(row)
        assert isinstance(vote, NewComparison) and (vote.winner, vote.judge) == ("model_b", "u1")
    assert one(nested).extra == {"topic": "x"}


def test_argilla_rankings_spans_labels_and_texts():
    def record(question: str, value: Any, **answers: str) -> dict:
        name = f"{question}.responses"
        return {"instruction": "Hi", **(answers or {"response": "An answer"}), name: [value], f"{name}.users": ["u"]}

    three = {"response-1": "A", "response-2": "B", "response-3": "C"}
    ranking = one(record("ranking", ["response-3", "response-1", "response-2"], **three))
    assert isinstance(ranking, NewRanking) and (ranking.texts, ranking.order) == (("A", "B", "C"), ((2,), (0,), (1,)))
    span = one(record("highlight", [{"start": 3, "end": 9, "label": "claim"}]))
    assert isinstance(span, NewSpan) and span.text[span.start : span.end] == "answer"
    assert one(record("is_good", "no")).thumbs is False
    edit = one(record("corrected", "A better answer"))
    assert isinstance(edit, NewDemonstration) and edit.edited_from == "An answer"
    flag = one(record("flag", "offensive"))
    assert isinstance(flag, NewFlag) and (flag.reason, flag.text) == ("offensive", "An answer")
    unfinished = one({"prompt": "Hi", "response": "A", "q.responses": None})
    assert isinstance(unfinished, NewAnswers) and unfinished.texts == ("A",)
    assert isinstance(one({"prompt": "Hi", "q.responses": None}), NewPrompt)


def test_a_label_studio_task_is_what_its_people_said():
    rating, vote = read(TASK)
    assert isinstance(vote, NewComparison) and (vote.a, vote.b, vote.winner) == ("A", "B", "model_b")
    assert (vote.judge, vote.seconds, vote.comment, vote.source_id) == ("ann@example.org", 4.5, "Shorter.", "12")
    assert vote.created_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert isinstance(rating, NewRating) and (rating.text, rating.aspects) == ("B", {"fluency": 5})


def result(kind: str, value: dict, name: str = "q", to: str = "text") -> dict:
    return {"from_name": name, "to_name": to, "type": kind, "value": value}


def task(*results: dict, **data: Any) -> dict:
    return {"data": {"prompt": "Hi", **data}, "annotations": [{"completed_by": 1, "result": list(results)}]}


def test_label_studio_results_of_every_type():
    assert one(task(result("choices", {"choices": ["Bad"]}), response="A")).thumbs is False
    assert one(task(result("rating", {"rating": 3}, "stars"), response="A")).stars == 3
    assert one(task(result("number", {"number": 2}, "depth"), response="A")).aspects == {"depth": 2}
    edit = one(task(result("textarea", {"text": ["Better"]}, "answer"), response="A"))
    assert isinstance(edit, NewDemonstration) and (edit.text, edit.edited_from) == ("Better", "A")
    span = one(task(result("labels", {"start": 0, "end": 2, "text": "An", "labels": ["typo"]}), response="An"))
    assert isinstance(span, NewSpan) and (span.label, span.end) == ("typo", 2)
    assert one(task(result("choices", {"choices": ["Tie"]}), left="A", right="B")).winner == "tie"
    assert isinstance(one({"data": {"prompt": "Hi"}, "annotations": []}), NewPrompt)


def test_label_studio_ranks_items_by_list_and_by_bucket():
    listed = [
        {"id": "m1", "title": "One", "body": "First"},
        {"id": "m2", "body": "Second"},
        {"id": "m3", "body": "Third"},
    ]
    ranking = one(task(result("ranker", {"ranker": ["m3", "m1", "m2"]}), items=listed))
    assert isinstance(ranking, NewRanking) and ranking.texts == ("First", "Second", "Third")
    assert ranking.order == ((2,), (0,), (1,))
    buckets = one(task(result("ranker", {"ranker": {"best": ["m2"], "rest": ["m1", "m3"]}}), items=listed))
    assert buckets.order == ((1,), (0, 2))


def test_a_tree_has_rankings_ratings_flags_answers_and_prompts():
    items = read(TREE)
    ranking, *_ = [item for item in items if isinstance(item, NewRanking)]
    assert (ranking.texts, ranking.order, ranking.messages) == (("So.", "Thus."), ((1,), (0,)), asked("Why?"))
    (rating,) = [item for item in items if isinstance(item, NewRating)]
    assert (rating.text, rating.aspects) == ("So.", {"quality": 4})
    (flag,) = [item for item in items if isinstance(item, NewFlag)]
    assert (flag.reason, flag.text) == ("spam", "So.")
    (written,) = [item for item in items if isinstance(item, NewDemonstration)]
    assert (written.text, written.judge, written.messages) == ("Enough.", "u9", chat("Why?", "Thus.", "More?"))
    (prompt,) = [item for item in items if isinstance(item, NewPrompt)]
    assert (prompt.messages[-1]["content"], prompt.language) == ("Well?", "de")
    assert not any("Gone." in repr(item) for item in items)


def test_a_deep_tree_is_read_and_an_endless_one_is_refused():
    def deep(n: int) -> dict:
        node: dict = {"text": "end", "role": "prompter", "replies": []}
        for i in range(n):
            node = {"text": f"t{i}", "role": ("assistant", "prompter")[i % 2], "replies": [node]}
        return {"message_tree_id": "x", "prompt": node}

    assert isinstance(read(deep(400))[-1], NewPrompt)
    with pytest.raises(ValueError, match="more than 5,000 messages"):
        read(deep(6001), "open-assistant")


def test_two_people_who_ranked_make_one_order_of_a_tree():
    common = {"messages": asked("Why?"), "texts": ("A", "B", "C")}
    rankings = [
        NewRanking(**common, order=((0,), (1,), (2,)), judge="u1"),
        NewRanking(**common, order=((1,), (0,), (2,)), judge="u2"),
        NewComparison(messages=asked("Why?"), a="B", b="A", winner="model_a"),
    ]
    (tree,) = WRITERS["open-assistant"](rankings)
    assert {r["text"]: r["rank"] for r in tree["prompt"]["replies"]} == {"B": 0, "A": 1, "C": 2}


def test_trl_takes_margins_as_strengths_and_keeps_other_numbers():
    row = DETECTED["trl-preference"]
    assert one(row | {"margin": 2.0}).strength == 2
    other = one(row | {"margin": 0.3})
    assert other.strength is None and other.extra == {"margin": 0.3}


def test_an_implicit_text_prompt_is_parted_as_trl_parts_it():
    pair = one(DETECTED["trl-preference-implicit-text"])
    assert (pair.messages, pair.a, pair.b) == (asked("The sky is"), " blue.", " green.")
    with pytest.raises(ValueError, match="have no common beginning"):
        one({"chosen": "yes", "rejected": "no"})


def test_a_conversation_may_stand_as_json_in_a_cell():
    row = {
        "prompt": json.dumps(asked("Hi")),
        "chosen": json.dumps(chat("", "A")[1:]),
        "rejected": json.dumps(chat("", "B")[1:]),
    }
    assert detect([row]) == "trl-preference"
    assert (one(row).a, one(row).messages) == ("A", asked("Hi"))


WRONG = [
    ("hh-rlhf", {"chosen": 3, "rejected": "x"}, "has a chosen that is not text: 3"),
    ("hh-rlhf", {"chosen": "x"}, "has a chosen that does not end with an answer|has no rejected"),
    ("hh-rlhf", PAIR | {"rejected": PAIR["chosen"]}, "has equal texts"),
    ("hh-rlhf", PAIR | {"rejected": "\n\nHuman: Ho\n\nAssistant: x"}, "differ before the answer"),
    ("hh-rlhf", PAIR | {"rejected": "\n\nHuman: Hi"}, "rejected that does not end with an answer"),
    ("hh-rlhf-red-team", ATTACK | {"rating": "high"}, "has the rating 'high', which is not a number"),
    ("lmarena", VOTE | {"winner": "nobody"}, "has the winner 'nobody', but it must be model_a, model_b, tie or"),
    ("lmarena", VOTE | {"winner": None}, "has no winner"),
    ("lmarena", VOTE | {"conversation_a": "Hi"}, "has a conversation_a that is not a list of turns"),
    ("lmarena", VOTE | {"conversation_b": [said("tool", "x")]}, "has a turn of 'tool' in conversation_b"),
    ("lmarena-55k", VOTE_55K | {"response_a": '["A"]'}, "has 2 prompts and 1 answers in response_a"),
    ("alpaca-eval", ALPACA | {"output_1": None}, "has no output_1"),
    ("openai-summaries", SUMMARIES | {"choice": 2}, "has the choice 2, but it must be a whole number from 0 to 1"),
    ("openai-summaries", SUMMARIES | {"summaries": []}, "needs two summaries"),
    ("pandalm", PANDALM | {"annotator2": 9}, "has the annotator2 9, but it must be a whole number from 0 to 2"),
    ("argilla", RECORD | {"quality_2.responses": [9]}, "has the quality 9, but it must be a whole number from 1 to 5"),
    ("argilla", {"q.responses": ["x"], "a": "b"}, "has no question"),
    ("label-studio", {"data": {"foo": "x"}, "annotations": []}, "its fields are foo"),
    ("label-studio", task(result("pairwise", {"selected": "left"})), "no two answers such as"),
    ("label-studio", task(result("ranker", {"ranker": ["m9"]}), items=[{"id": "m1", "body": "x"}]), "ranks"),
    ("open-assistant", {"message_tree_id": "x", "prompt": {"role": "prompter"}}, "message without a text"),
    ("trl-unpaired", {"prompt": "x", "completion": "y", "label": "perhaps"}, "must be true or false"),
    ("trl-preference", {"prompt": "x", "chosen": "y"}, "has no rejected"),
    ("assay", {"type": "vote", "prompt": "x"}, "has the type 'vote'; use one of comparison"),
    ("assay", {"type": "rating", "prompt": "x"}, "has no completion"),
    ("assay", {"type": "rating", "prompt": "x", "completion": "y", "stars": 6}, "has the stars 6, but it must be a"),
    ("assay", {"type": "ranking", "prompt": "x", "completions": ["a"], "order": [[1]]}, "has an order that does not"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "words"), WRONG)
def test_a_row_that_is_wrong_says_what_is_and_what_would_be_right(name, row, words):
    with pytest.raises(ValueError, match=words):
        read(row, name)


def places(value: Any) -> list[tuple]:
    """The way to every value in a row, however deep."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for name, each in inside for way in ((name,), *((name, *rest) for rest in places(each)))]


def put(row: Any, way: tuple, junk: Any) -> Any:
    copied = json.loads(json.dumps(row))
    within = copied
    for name in way[:-1]:
        within = within[name]
    within[way[-1]] = junk
    return copied


JUNK: list[Any] = [
    None,
    "",
    0,
    1.5,
    True,
    [],
    {},
    [None],
    {"a": None},
    "x",
    [{"role": "user"}],
    [[1]],
    {"text": 3},
    "[{",
]


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_stands_in_a_field_is_read_or_refused_in_words(name):
    """Never another error: one bad line must not end an import of a million."""
    for field in places(DETECTED[name]):
        for junk in JUNK:
            row = put(DETECTED[name], field, junk)
            try:
                FORMATS[name].fits(row)
                READERS[name](row, 1)
            except ValueError as error:
                assert str(error), (field, junk)


def test_a_plain_table_says_which_column_is_which():
    pair = mapped({"prompt": "q", "chosen": "good", "rejected": "bad", "author": "who"})
    (item,) = pair({"q": "Hi", "good": "A", "bad": "B", "who": "ann", "more": "kept"}, 1)
    assert isinstance(item, NewComparison) and (item.a, item.judge, item.extra) == ("A", "ann", {"more": "kept"})
    vote = mapped(
        {"prompt": "q", "completion_a": "x", "completion_b": "y", "winner": "w", "model_a": "ma", "model_b": "mb"}
    )
    (item,) = vote({"q": "Hi", "x": "A", "y": "B", "w": "llama", "ma": "gpt", "mb": "llama"}, 1)
    assert isinstance(item, NewComparison) and item.winner == "model_b" and item.is_ordered
    (item,) = mapped({"prompt": "q", "completion": "c", "stars": "s", "aspect:depth": "d"})(
        {"q": "Hi", "c": "A", "s": "4", "d": "2"}, 1
    )
    assert isinstance(item, NewRating) and (item.stars, item.aspects) == (4, {"depth": 2})
    (item,) = mapped({"prompt": "q", "completion": "c"})({"q": "Hi", "c": "A"}, 1)
    assert isinstance(item, NewDemonstration)
    (item,) = mapped({"prompt": "q"})({"q": "Hi"}, 1)
    assert isinstance(item, NewPrompt)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"question": "q"}, "'question' is not a known column; use prompt, chosen"),
        ({"chosen": "a", "rejected": "b"}, "Choose the column of the prompt"),
        ({"prompt": "q", "chosen": "a"}, "both chosen and rejected"),
        ({"prompt": "q", "completion_a": "a"}, "both completion_a and completion_b"),
    ],
)
def test_a_table_without_the_columns_it_needs_is_told_so(columns, words):
    with pytest.raises(ValueError, match=words):
        mapped(columns)
