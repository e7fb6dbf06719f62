"""Make small labelled datasets that need no download: by rule, or from what every Python carries.

    manage.py import_dataset example:sentiment --project films --kind labelled

They serve to try things out and to test them; nobody should report figures on them as if they were the world's. Every
generator gives the same rows whenever it is asked, those from docstrings under the same Python. Pure: no Django.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

Row = dict[str, Any]

_THINGS = ("film", "book", "play", "concert", "restaurant", "hotel", "course", "game", "radio play", "exhibition")
_PARTS = {
    "film": ("plot", "acting", "camera", "ending"),
    "book": ("story", "language", "ending", "first chapter"),
    "play": ("acting", "stage set", "dialogue", "second act"),
    "concert": ("sound", "orchestra", "encore", "singer"),
    "restaurant": ("soup", "service", "fish", "dessert"),
    "hotel": ("room", "breakfast", "view", "reception"),
    "course": ("teacher", "material", "pace", "homework"),
    "game": ("story", "music", "controls", "last level"),
    "radio play": ("voices", "pace", "mystery", "sound"),
    "exhibition": ("light", "selection", "guide", "catalogue"),
}
_GOOD = ("lovely", "brilliant", "warm", "thoughtful", "superb", "charming", "a delight", "worth every minute")
_BAD = ("dull", "clumsy", "tired", "careless", "dreadful", "shallow", "a letdown", "a waste of an evening")
_REVIEWS = (
    "The {part} of this {thing} was {mine}.",
    "I found the {thing} {mine}, above all the {part}.",
    "Nobody could call the {part} of that {thing} {theirs}.",
    "Although the {other} was {theirs}, the {thing} as a whole was {mine}.",
    "The {other} may be {theirs}, but I came away thinking: {mine}!",
    "Friends had warned me that the {thing} was {theirs}. They were wrong, it is {mine}.",
    "Not {theirs} at all, this {thing}. The {part} is {strong} {mine}.",
    "The {part}, the {other}: {mine}. I would {again} again.",
)
_STRONG = ("truly", "quite", "really", "from beginning to end")


def sentiment() -> Iterator[Row]:
    """Yield reviews by a grammar. Negations and concessions ensure that no single word decides."""
    draw = random.Random(20)
    for label, subject, review in itertools.product(("positive", "negative"), _THINGS, _REVIEWS):
        good = label == "positive"
        same_words, opposite_words = (_GOOD, _BAD) if good else (_BAD, _GOOD)
        for _ in range(5):
            part, other_part = draw.sample(_PARTS[subject], 2)
            words = {
                "mine": draw.choice(same_words),
                "theirs": draw.choice(opposite_words),
                "strong": draw.choice(_STRONG),
            }
            go_again = "go" if good else "not go"
            yield {
                "text": review.format(thing=subject, part=part, other=other_part, again=go_again, **words),
                "label": label,
            }


def nli() -> Iterator[Row]:
    """Yield what follows from a sentence, what contradicts it and what it leaves open, by rule."""
    people = ("A girl", "An old man", "A teacher", "Two boys", "A doctor", "My neighbour")
    doings = (
        ("is running along the beach", "is moving", "is asleep at home", "is late for lunch"),
        ("is reading a long letter", "is looking at a text", "cannot see at all", "has a brother abroad"),
        ("is baking bread in the kitchen", "is indoors", "is swimming in a lake", "will sell it on Sunday"),
        ("is painting a red door", "is at work on a door", "has never held a brush", "likes the colour"),
        ("is playing the violin in the park", "makes music outdoors", "is silent", "practises every day"),
        ("is feeding six ducks", "is near some animals", "is alone in a lift", "brought bread from home"),
    )
    labels = ("entailment", "contradiction", "neutral")
    for person, (does, *hypotheses) in itertools.product(people, doings):
        for label, hypothesis_text in zip(labels, hypotheses, strict=True):
            number = person.startswith("Two")
            premise, hypothesis = (f"{person} {text}." for text in (does, hypothesis_text))
            if number:
                premise, hypothesis = (_plural(text) for text in (premise, hypothesis))
            yield {"premise": premise, "hypothesis": hypothesis, "label": label}


def _plural(text: str) -> str:
    for singular, plural in ((" is ", " are "), (" has ", " have "), (" makes ", " make "), (" likes ", " like "),
                      (" practises ", " practise ")):  # fmt: skip
        text = text.replace(singular, plural)
    return text


_MODULES = (
    *("textwrap", "statistics", "random", "json", "csv", "shutil", "itertools", "functools", "collections", "string"),
    *(
        "calendar",
        "datetime",
        "bisect",
        "heapq",
        "glob",
        "fnmatch",
        "tempfile",
        "zipfile",
        "gzip",
        "difflib",
        "inspect",
    ),
    *("os", "os.path", "re", "base64", "secrets", "math", "cmath", "operator", "copy", "pprint", "configparser", "ast"),
)


def _documented() -> Iterator[tuple[str, str, str]]:
    """Yield (name, first sentence, the rest) of what Python's own library says about its functions."""
    first_sentences: set[str] = set()
    for name in _MODULES:
        module = importlib.import_module(name)
        for member, value in sorted(vars(module).items()):
            docstring = inspect.getdoc(value) if callable(value) and not member.startswith("_") else None
            first, _, rest = (docstring or "").partition("\n\n")
            first, rest = " ".join(first.split()), " ".join(rest.split())
            if (
                25 <= len(first) <= 160
                and 80 <= len(rest) <= 900
                and first not in first_sentences
                and ">>>" not in rest
            ):
                first_sentences.add(first)
                yield f"{name}.{member}", first, rest


def summarisation() -> Iterator[Row]:
    """Yield docstrings, whose first sentence sums up the rest."""
    for _, first, rest in _documented():
        yield {"text": rest, "summary": first}


def question_answering() -> Iterator[Row]:
    """Yield questions for the function of Python's library that a text is about."""
    for name, first, rest in _documented():
        yield {
            "context": f"{name}: {first} {rest}",
            "question": f"What is it that does this: {first[:1].lower()}{first[1:]}",
            "answer": name,
        }


_ONES = {
    "English": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    "German": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn",
}
_TENS = {
    "English": "twenty thirty forty fifty sixty seventy eighty ninety",
    "German": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
}
_NOUNS = (("apples", "Äpfel"), ("houses", "Häuser"), ("ships", "Schiffe"), ("trees", "Bäume"), ("letters", "Briefe"))


def translation() -> Iterator[Row]:
    """Yield numbers of things, from 2 to 99, in English and German."""
    for (english, german), n in itertools.product(_NOUNS, range(2, 100)):
        yield {
            "source": f"I see {_in_words(n, 'English')} {english}.",
            "target": f"Ich sehe {_in_words(n, 'German')} {german}.",
            "source_language": "English",
            "target_language": "German",
        }


def _in_words(n: int, language: str) -> str:
    units, tens = _ONES[language].split(), _TENS[language].split()
    if n < 20:
        return units[n]
    ten, unit = tens[n // 10 - 2], n % 10
    if not unit:
        return ten
    return f"{ten}-{units[unit]}" if language == "English" else f"{'ein' if unit == 1 else units[unit]}und{ten}"


_KINDS = {
    "can fly": ("a sparrow", "an owl", "a bee", "a bat", "a butterfly"),
    "lives in water": ("a trout", "a whale", "a squid", "a shrimp", "an eel"),
    "is made to cut": ("a knife", "a saw", "a pair of scissors", "an axe", "a lawn mower"),
    "melts in the sun": ("an ice cube", "a snowman", "butter", "a bar of chocolate", "ice cream"),
    "is worn on the feet": ("a boot", "a sandal", "a sock", "a slipper", "a ski boot"),
    "gives light": ("a lamp", "a torch", "a lighthouse", "a lantern", "a star"),
    "is used to write": ("a pencil", "a fountain pen", "a piece of chalk", "a typewriter", "a crayon"),
    "keeps food cold": ("a refrigerator", "a cool box", "an ice cellar", "a freezer", "a cool cellar"),
}


def commonsense() -> Iterator[Row]:
    """Yield questions which of four things can, lives, is made for …; the other three are of other kinds."""
    draw = random.Random(21)
    for (ability, able_things), _ in itertools.product(_KINDS.items(), range(6)):
        answer = draw.choice(able_things)
        wrong_answers = [draw.choice(_KINDS[kind]) for kind in draw.sample([k for k in _KINDS if k != ability], 3)]
        choices = [answer, *wrong_answers]
        draw.shuffle(choices)
        yield {"question": f"Which of these {ability}?", "choices": choices, "answer": answer}


EXAMPLES: dict[str, Callable[[], Iterator[Row]]] = {
    "sentiment": sentiment,
    "nli": nli,
    "question_answering": question_answering,
    "summarisation": summarisation,
    "translation": translation,
    "commonsense": commonsense,
}
