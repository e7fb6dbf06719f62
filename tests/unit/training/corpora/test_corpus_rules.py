"""The cleaning rules, each against texts that the papers' words decide."""

from __future__ import annotations

import random
import re

import pytest

from common.passages import passages_of
from training.configs import CorpusConfig, parse
from training.configs.corpus import numbers
from training.configs.options import ConfigError
from training.core.run_directory import RecipeFailure
from training.corpora.cleaning import c4, contamination
from training.corpora.cleaning import text_repair as unicode
from training.corpora.cleaning.cleaner import quality_of, rules_of
from training.corpora.cleaning.duplicates import Exact, Near
from training.corpora.cleaning.gopher import repetition
from training.corpora.cleaning.language import in_languages
from training.corpora.cleaning.ledger import Ledger
from training.corpora.cleaning.personal_data import replacing
from training.corpora.reading import python_texts

PROSE = (
    "The harbour lies below the town, and the ships that come in with the tide have to wait for a pilot. "
    "In winter the sea is grey, the wind comes from the north, and nobody of the old people goes out to fish. "
    "They sit by the fire, mend their nets and tell the children of storms that nobody else remembers any more. "
)


GERMAN = (
    "Der Hafen liegt unterhalb der Stadt, und die Schiffe warten auf den Lotsen. "
    "Im Winter ist das Meer grau, und der Wind kommt von Norden."
)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    yield ledger
    ledger.close()


def test_broken_characters_are_mended_and_what_people_write_is_left():
    assert unicode.mend("schÃ¶n &amp; gut\r\nline two\x00\x07").text == "schön & gut\nline two"
    assert unicode.mend("“Don’t,” she said … １２").text == "“Don’t,” she said … １２"
    assert unicode.mend("\x00\x01 ").drop_reason


def test_c4_boilerplate_goes_line_by_line_and_lorem_ipsum_as_a_page():
    page = "A fine day.\nPlease enable JavaScript to go on.\nThis site uses cookies.\nIt rained; r[2] is code."
    assert c4.boilerplate(page).text == "A fine day.\nIt rained; r[2] is code."
    assert c4.boilerplate("First.\nLorem ipsum dolor sit amet.").drop_reason == "lorem ipsum"
    assert c4.boilerplate("Our privacy policy").drop_reason


def test_c4_lines_keep_sentences_of_five_words_in_pages_of_three():
    good = "One two three four five.\nDoes it end as sentences do?\nIt does, as you can see!"
    marked = good.replace("five.", "five.[3]").replace("do?", "do?[citation needed]")
    assert c4.sentence_lines(f"Menu\n{marked}\nRead more ...\nShort one.").text == good
    assert (
        c4.sentence_lines("One two three four five.\nAnd one more of these here.").drop_reason
        == "fewer than 3 sentences"
    )
    assert c4.code("int main() { return 0; }").drop_reason and not c4.code("no code").drop_reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Too short to say a thing.", "too few words"),
        (f"{PROSE} " + "a " * 100_000, "too many words"),
        ("a b c d e f g h i j the of " * 10, "words too short or long"),
        (PROSE + " # # # # # # # # # # # #", "too many symbols"),
        ("\n".join(f"- the point {i} of our list is quite short" for i in range(12)), "a list of bullets"),
        ("\n".join(f"The beginning of the story number {i}..." for i in range(4)) + "\n" + PROSE * 2, "lines cut off"),
        ("the of and 1234 5678 91011 1213 " * 10, "words without letters"),
        ("Buy cheap shoes online today quickly " * 10, "too few common words"),
    ],
)
def test_gopher_quality_says_which_bound_was_crossed(text, reason):
    assert quality_of(CorpusConfig()).judge(text).drop_reason == reason


def test_good_prose_passes_gopher_and_short_texts_may_be_allowed():
    assert not quality_of(CorpusConfig()).judge(PROSE).drop_reason
    assert not quality_of(CorpusConfig(min_words=3)).judge("The end of it and that.").drop_reason


def shares(**bounds):
    config = CorpusConfig(**bounds)
    return repetition(
        numbers(config.repeated_lines, 4), numbers(config.top_phrases, 3), numbers(config.repeated_phrases, 6)
    )


def test_gopher_repetition_names_what_is_repeated():
    judge = shares()
    assert not judge(PROSE).drop_reason
    lines = "\n".join(["the same line"] * 4 + [f"line {n} is another one" for n in range(5)])
    assert judge(lines).drop_reason == "repeated lines"
    paragraphs = shares(repeated_lines="1, 0.3, 1, 1")(f"{PROSE}\n\nshort\n\nshort\n\nshort\n\n{PROSE[:80]}")
    assert (paragraphs.drop_reason, paragraphs.detail) == ("repeated paragraphs", "40 %, above 30 %")
    assert judge("buy now " * 12 + PROSE).drop_reason == "one repeated phrase of 2 words"
    unusual = " ".join(f"word{n}" for n in range(20))
    assert judge(f"{PROSE} {unusual} {PROSE[:60]} {unusual}").drop_reason.startswith("repeated phrases of")


def test_gopher_shares_are_those_counted_by_hand():
    """Five words of four letters, twice, in 20 words of four letters: a quarter of the letters is repeated."""
    words = [f"w{n:03d}" for n in range(15)]
    text = " ".join([*words[:5], *words])
    free = "1, 1, 1, 1"
    assert not shares(repeated_lines=free, top_phrases="1, 1, 1", repeated_phrases="0.25, 1, 1, 1, 1, 1")(
        text
    ).drop_reason
    found = shares(repeated_lines=free, top_phrases="1, 1, 1", repeated_phrases="0.24, 1, 1, 1, 1, 1")(text)
    assert (found.drop_reason, found.detail) == ("repeated phrases of 5 words", "25 %, above 24 %")


@pytest.mark.slow
def test_languages_are_told_apart_offline():
    judge = in_languages(("en",), 0.4)
    assert not judge(PROSE).drop_reason
    assert judge(GERMAN).drop_reason == "detected as de"
    assert not judge("print('hi')").drop_reason, "too short to tell"
    both = in_languages(("en", "de"), 0.4)
    assert not both(GERMAN).drop_reason
    with pytest.raises(RecipeFailure, match="xq"):
        in_languages(("xq",), 0.4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+x@mail.example.org today.", "Write to [email] today."),
        ("Call (415) 555-2671 or +44 20 7946 0958!", "Call [phone] or [phone]!"),
        ("It came from 8.8.8.8 and 2001:4860:4860::8888:1.", "It came from [IP address] and [IP address]."),
        ("Listen on 127.0.0.1 or 192.168.0.7, version 1.2.3.", "Listen on 127.0.0.1 or 192.168.0.7, version 1.2.3."),
        ("On 2023-11-01, pi is 3.14159265358979 and 1,000,000,000 is a milliard.", None),
        ("@property\ndef a(self): return std::string", None),
        ("ISBN 978-0-306-40615-7, order 4155552671", None),
    ],
)
def test_private_data_becomes_a_marker_and_other_numbers_stay(text, expected):
    assert replacing("US")(text).text == (text if expected is None else expected)


EVAL = "Explain in your own words, please, why the tides of the North Sea follow the Moon and not the Sun."


def test_a_passage_of_an_evaluation_text_is_found_whatever_its_case_and_punctuation():
    known = passages_of([EVAL, "Why is the sky blue?", "Name eight words which make a whole text."], 13)
    assert (known.texts, known.too_short) == (3, 1)
    shouted = "EXPLAIN, in your own words (please): why the tides of the north sea follow"
    found = contamination.judge(known, f"{PROSE} {shouted} {PROSE}")
    assert found.drop_reason and "why the tides of the north" in found.detail
    assert contamination.judge(known, f"He said: name eight words which make a whole text! {PROSE}").drop_reason
    for harmless in (PROSE, "Why is the sky blue?", "please why the tides of the North Sea follow the Moon"):
        assert not contamination.judge(known, harmless).drop_reason
    assert not contamination.judge(passages_of([], 13), EVAL).drop_reason


def test_the_first_of_equal_documents_is_kept(ledger):
    rule = Exact(ledger)
    assert not rule.judge("A  text\nof two lines").drop_reason
    assert rule.judge("a text of TWO lines").drop_reason
    assert not rule.judge("a text of three lines").drop_reason


def near(ledger, threshold=0.8) -> Near:
    return Near(ledger, threshold, words=5, permutations=128)


def altered(words: list[str], share: float, rng: random.Random) -> str:
    """The text with one run of its words replaced, so that the similarity is known."""
    count = round(share * len(words))
    start = rng.randrange(len(words) - count)
    return " ".join([*words[:start], *(f"x{rng.random()}" for _ in range(count)), *words[start + count :]])


def test_nearly_equal_documents_are_found_and_merely_similar_ones_are_not(ledger):
    rng = random.Random(0)
    rule = near(ledger)
    originals = [[f"w{rng.randrange(10**6)}" for _ in range(300)] for _ in range(40)]
    assert not any(rule.judge(" ".join(words)).drop_reason for words in originals)
    # Of n + k shingles each has n in common: Jaccard (1 - s) / (1 + s) for a share s of replaced words.
    twins = [rule.judge(altered(words, 0.03, rng)) for words in originals]
    assert sum(bool(v.drop_reason) for v in twins) >= 39, "similarity 0.91"
    assert "similarity 0." in twins[0].detail and originals[0][0] in twins[0].detail
    cousins = [rule.judge(altered(words, 0.3, rng)) for words in originals]
    assert sum(bool(v.drop_reason) for v in cousins) == 0, "similarity 0.5"


def test_a_signature_estimates_the_jaccard_similarity(ledger):
    rule, rng = near(ledger), random.Random(1)
    words = [f"w{n}" for n in range(400)]
    other = altered(words, 0.2, rng)
    a = {" ".join(words[i : i + 5]) for i in range(396)}
    b = {" ".join(other.split()[i : i + 5]) for i in range(396)}
    true = len(a & b) / len(a | b)
    estimate = (rule.signature(" ".join(words)) == rule.signature(other.replace(".", ""))).mean()
    assert abs(estimate - true) < 3 * (true * (1 - true) / 128) ** 0.5


@pytest.mark.slow
def test_rules_are_switched_one_by_one(ledger):
    switches = (
        *("fix_unicode", "c4_boilerplate", "gopher_quality", "gopher_repetition", "evaluation_texts", "private_data"),
        *("exact_duplicates", "near_duplicates"),
    )
    off = CorpusConfig(**dict.fromkeys(switches, False), languages="")
    nothing = passages_of([], 13)
    assert rules_of(off, ledger, nothing) == []
    for name in switches:
        on = CorpusConfig(**{**dict.fromkeys(switches, False), name: True}, languages="")
        assert [rule.name for rule in rules_of(on, ledger, nothing)] == [name]
    assert [rule.name for rule in rules_of(CorpusConfig(), ledger, nothing)][-1] == "near_duplicates"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("sources", " \n# none", "at least one source"),
        ("sources", "../secrets.txt", r"'\.\.'"),
        ("sources", "notes.pdf", "neither txt, jsonl nor parquet"),
        ("sources", "hub:just-a-name", "hub:owner/name"),
        ("sources", "python:os", "python:topics or python:docstrings"),
        ("sources", "ftp://host/x.txt", "not a source"),
        ("sources", "a.txt\na.txt", "twice"),
        ("languages", "english", "not a language code"),
        ("top_phrases", "0.2, 0.1", "3 numbers"),
        ("text_field", " ,", "usually called text"),
        ("min_words", 200_000, "max_words"),
    ],
)
def test_a_bad_option_is_named_with_its_remedy(field, value, words):
    with pytest.raises(ConfigError) as raised:
        parse("corpus", {field: value})
    assert list(raised.value.errors) == [field]
    assert re.search(words, raised.value.errors[field])


@pytest.mark.slow
def test_python_carries_text_that_needs_no_import():
    topics = list(python_texts.topics())
    assert len(topics) > 50 and sum(map(len, topics)) > 300_000
    assert next(iter(python_texts.topics(3))) == topics[3]
    documents = python_texts.docstrings()
    assert any("Base64" in text or "base64" in text for text in (next(documents) for _ in range(60)))
