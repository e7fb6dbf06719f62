"""What is written in a format is read again as the same items, whatever the texts; rows that were read are written."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from annotate.data.formats import FORMATS, READERS, WRITERS
from annotate.data.formats.containers import written
from annotate.data.formats.items import Item, NewComparison, NewRating, kept, restored
from annotate.data.rows.row_files import read_rows
from tests.support.annotate.odd_items import Odd

SEEDS = range(25)


def there_and_back(name: str, items: list[Item]) -> list[Item]:
    """Through the text of a file, as JSON has it."""
    rows = [json.loads(json.dumps(row)) for row in WRITERS[name](items)]
    return [item for line, row in enumerate(rows, start=1) for item in READERS[name](row, line)]


def bare(item: Item) -> Item:
    """Without what says which format it came by."""
    return replace(item, format="", extra={})


def same(found: list[Item], wanted: list[Item]) -> None:
    def by(item: Item) -> str:
        return repr(item)

    assert sorted(map(bare, found), key=by) == sorted(map(bare, wanted), key=by)


@pytest.mark.parametrize("seed", SEEDS)
def test_our_own_rows_carry_everything(seed):
    odd = Odd(seed)
    items = [
        *odd.all_kinds(),
        odd.comparison(later_a=odd.messages()[:1], strength=2, comment=odd.text(), seconds=1.5, is_ordered=False),
        odd.rating(language="日本語", category="a b", source_id="17", extra={"deep": [{"a": None}]}, format="argilla"),
        odd.demonstration(edited_from=odd.text()),
        odd.rating(text=""),
    ]
    assert there_and_back("assay", items) == items


def sides(odd: Odd, **fields: Any) -> NewComparison:
    """A pair as chosen and rejected say it."""
    blank = {"judge": "", "created_at": None, "model_a": "", "model_b": "", "is_ordered": False, "winner": "model_a"}
    return odd.comparison(**{**blank, **fields})


@pytest.mark.parametrize("seed", SEEDS)
def test_hh_rlhf_carries_pairs(seed):
    odd = Odd(seed)
    texts = {"a": odd.text(stripped=True), "b": odd.text(stripped=True)}
    items = [sides(odd, messages=odd.messages(stripped=True), **texts) for _ in range(4)]
    later = [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "So."}]
    items.append(sides(odd, messages=odd.messages(stripped=True), **texts, later_a=later))
    same(there_and_back("hh-rlhf", items), items)


@pytest.mark.parametrize("seed", SEEDS)
def test_red_team_attempts_are_carried(seed):
    items = [replace(Odd(seed).attack(), created_at=None)]
    same(there_and_back("hh-rlhf-red-team", items), items)


@pytest.mark.parametrize("suffix", ["", "-text"])
@pytest.mark.parametrize("seed", SEEDS)
def test_trl_carries_pairs_labels_answers_and_prompts(seed, suffix):
    odd = Odd(seed)
    chat = not suffix
    messages = odd.messages(stripped=True) if chat else odd.messages(system=False, turns=0)
    no = {"messages": messages, "judge": "", "created_at": None}
    pairs: list[Item] = [sides(odd, messages=messages), sides(odd, messages=messages, strength=3)]
    same(there_and_back(f"trl-preference{suffix}", pairs), pairs)
    labels: list[Item] = [NewRating(**no, text=odd.text(), thumbs=thumbs) for thumbs in (True, False)]
    same(there_and_back(f"trl-unpaired{suffix}", labels), labels)
    written: list[Item] = [odd.demonstration(**no)]
    same(there_and_back(f"trl-prompt-completion{suffix}", written), written)
    prompts: list[Item] = [odd.prompt(messages=messages)]
    same(there_and_back(f"trl-prompt-only{suffix}", prompts), prompts)
    if chat:
        same(there_and_back("trl-preference-implicit", pairs), pairs)
        same(there_and_back("trl-language-modeling", written), written)


@pytest.mark.parametrize("seed", SEEDS)
def test_conversations_as_one_text_stay_conversations(seed):
    odd = Odd(seed)
    messages = odd.messages(stripped=True, turns=2)
    prompts: list[Item] = [odd.prompt(messages=messages)]
    same(there_and_back("trl-prompt-only-text", prompts), prompts)


@pytest.mark.parametrize("seed", SEEDS)
def test_lmarena_carries_votes(seed):
    odd = Odd(seed)
    later = [{"role": "user", "content": odd.text()}, {"role": "assistant", "content": odd.text()}]
    items: list[Item] = [
        *(odd.comparison(language="German", source_id=odd.name()) for _ in range(5)),
        odd.comparison(later_a=later, later_b=[later[0], {"role": "assistant", "content": odd.text()}]),
    ]
    same(there_and_back("lmarena", items), items)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_55k_shape_carries_votes_of_several_turns(seed):
    odd = Odd(seed)
    no = {"judge": "", "created_at": None, "source_id": odd.name()}
    messages = odd.messages(system=False, turns=0)
    later = [{"role": "user", "content": odd.text()}, {"role": "assistant", "content": odd.text()}]
    turns = {"messages": messages, "later_a": later, "later_b": [later[0], {**later[1], "content": "No."}]}
    items: list[Item] = [odd.comparison(**turns, **no, winner=winner) for winner in ("model_a", "model_b", "tie")]
    same(there_and_back("lmarena-55k", items), items)


@pytest.mark.parametrize("seed", SEEDS)
def test_alpaca_eval_and_summaries_and_pandalm_carry_pairs(seed):
    odd = Odd(seed)
    messages = odd.messages(system=False, turns=0)
    no = {"messages": messages, "created_at": None}
    items: list[Item] = [
        odd.comparison(**no, winner=winner, category="chat") for winner in ("model_a", "model_b", "tie")
    ]
    same(there_and_back("alpaca-eval", items), items)
    items = [odd.comparison(**no, winner=winner, source_id=odd.name()) for winner in ("model_a", "model_b")]
    same(there_and_back("openai-summaries", items), items)
    texts = {"a": odd.text(), "b": odd.text(), "model_a": "x", "model_b": "y", "source_id": "7"}
    items = [
        odd.comparison(**no, **texts, winner=winner, judge=f"annotator{n}")
        for n, winner in enumerate(("tie", "model_b"), 1)
    ]
    same(there_and_back("pandalm", items), items)


def judged(odd: Odd, **fields: Any) -> list[Item]:
    """One of each kind that an annotation tool holds."""
    return [
        odd.comparison(**fields), odd.comparison(**fields, strength=2, comment=odd.text(stripped=True)),
        odd.rating(**fields), odd.rating(**fields), odd.ranking(**fields), odd.demonstration(**fields),
        odd.demonstration(**fields, edited_from=odd.text(), model=odd.name()), odd.prompt(), odd.span(**fields),
        odd.flag(**fields), odd.flag(**fields, text=None),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_label_studio_carries_all_annotations(seed):
    odd = Odd(seed)
    items = judged(odd, language="de", category="chat", source_id=odd.name())
    same(there_and_back("label-studio", items), items)


@pytest.mark.parametrize("seed", SEEDS)
def test_argilla_carries_all_annotations_but_their_hour(seed):
    odd = Odd(seed)
    items = judged(odd, language="de", category="chat", source_id=odd.name(), created_at=None)
    same(there_and_back("argilla", items), items)


@pytest.mark.parametrize("name", ["label-studio", "argilla"])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_several_people_said_of_one_answer_stays_apart(name, seed):
    odd = Odd(seed)
    first = odd.comparison(created_at=None)
    items = [
        first,
        *(replace(first, judge=odd.name(), winner=w, comment=odd.text(stripped=True)) for w in ("tie", "both_bad")),
    ]
    same(there_and_back(name, items), items)  # type: ignore[arg-type]
    assert len(WRITERS[name](items)) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_trees_carry_rankings_ratings_flags_answers_and_prompts(seed):
    odd = Odd(seed)
    said = {"judge": "", "created_at": None, "language": "en"}
    messages = odd.messages(turns=1)
    items: list[Item] = [
        odd.ranking(**said, messages=messages, source_id="q1"),
        odd.rating(
            **said, messages=messages, source_id="q1", thumbs=None, stars=None, aspects={"quality": 4, "toxicity": 1}
        ),
        odd.flag(**said, messages=messages, source_id="q1"),
        odd.demonstration(language="en", source_id="q2", model=odd.name()),
        odd.prompt(language="fr", source_id="q3"),
    ]  # fmt: skip
    same(there_and_back("open-assistant", items), items)


@pytest.mark.parametrize("name", FORMATS)
def test_no_writer_stumbles_over_what_its_format_cannot_hold(name):
    items = Odd(1).all_kinds()
    for row in WRITERS[name](items):
        for item in READERS[name](row, 1):
            assert isinstance(item, FORMATS[name].holds)


def test_a_database_remembers_what_it_has_no_column_for():
    item = Odd(3).comparison(language="de", extra={"turn": 2}, format="lmarena")
    standing = {"messages": [{"role": "user", "content": "as it stands"}], "a": item.a, "b": item.b}
    said = {"winner": item.winner, "judge": item.judge}
    remembered = json.loads(json.dumps(kept(item, **standing, **said)))
    assert {"messages", "language", "extra", "format", "created_at"} <= remembered.keys()
    assert not {"a", "b", "winner", "judge", "strength", "comment"} & remembered.keys()
    assert restored(NewComparison(**standing, **said), remembered) == item


def test_a_swapped_pair_says_the_same():
    item = Odd(4).comparison(winner="model_a")
    assert item.swapped().winner == "model_b" and item.swapped().a == item.b
    assert item.swapped().swapped() == item


@pytest.mark.parametrize("container", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "csv.gz"])
@pytest.mark.parametrize("seed", SEEDS)
def test_any_text_goes_through_any_kind_of_file(container, seed):
    """Names of columns too: people choose them, in Label Studio and Argilla."""
    lot = random.Random(seed)
    signs = [
        '"',
        '""',
        ",",
        ";",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "'",
        "\\",
        "\u2028",
        "\x85",
        "\ufeff",
        "é",
        "日",
        "😀",
        " ",
        "a",
        "=1+1",
    ]

    def text(fewest: int) -> str:
        return "".join(lot.choices(signs, k=lot.randint(fewest, 9)))

    names = list(dict.fromkeys(["prompt", *(f"{text(1)}{n}" for n in range(lot.randint(1, 4)))]))
    rows = [{name: text(0) for name in names} for _ in range(30)]
    file = io.BytesIO(b"".join(written(rows, container)))
    file_rows = list(read_rows(file, f"rows.{container}"))
    assert [one.problem for one in file_rows] == [""] * len(rows)
    assert [one.row for one in file_rows] == rows


def test_label_studio_is_told_only_of_people_whom_it_knows():
    """It refuses a whole file for a `completed_by` that is neither the number nor the mail of one of its own."""
    odd = Odd(3)
    judged = {"number": "17", "mail": "ann@example.org", "name": "Ann"}
    for judge in judged.values():
        ours = odd.rating(judge=judge, thumbs=True, created_at=None, seconds=None)
        theirs = replace(ours, format="label-studio")
        for item in (ours, theirs):
            (task,) = WRITERS["label-studio"]([item])
            (annotation,) = task["annotations"]
            by = annotation.get("completed_by")
            assert by is None or (item is theirs and (type(by) is int or set(by) == {"email"}))
            assert annotation["ground_truth"] is False  # where it is not said, some of its versions take it for one
            assert [found.judge for found in READERS["label-studio"](task, 1)] == [judge]


@pytest.mark.parametrize(
    "values",
    [
        [[{"role": "user", "content": [{"type": "text", "text": "Why?"}]}], [{"role": "user", "content": "Why?"}]],
        [2**63, 1],
        [1, []],
        [0.5, []],
    ],
    ids=["parts", "huge", "whole", "number"],
)
def test_any_column_stands_in_parquet(values):
    file = io.BytesIO(b"".join(written([{"a": value} for value in values], "parquet")))
    assert len(list(read_rows(file, "rows.parquet"))) == len(values)
