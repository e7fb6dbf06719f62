# ruff: noqa: E501 - sentences
"""Makes overlap.json: `python overlap.py > overlap.json`, with sacrebleu, rouge-score, nltk and WordNet 3.0 as
nltk data; not run by the tests, and independent of the product. Each library's own corpus score, on its own words."""

import json
import re
from importlib.metadata import version

import numpy as np
import sacrebleu
from nltk.corpus import wordnet
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer

ENGLISH = [
    ("The cat sat quietly on the mat.", ["The cat was sitting quietly on the mat.", "A cat sat on the rug in silence."]),
    ("It is a guide to action which ensures that the military always obeys the commands of the party.",
     ["It is a guide to action that ensures that the military will forever heed Party commands.",
      "It is the guiding principle which guarantees the military forces always being under the command of the Party."]),
    ("Water boils at 100 degrees Celsius.\nAt sea level, that is.", ["At sea level, water boils at 100 °C.", "It boils at 100 degrees."]),
    ("I don't know.", ["Nobody knows that yet, as far as I can tell.", "Unknown."]),
    ("Paris", ["Paris is the capital of France.", "The capital of France is Paris."]),
    ("The automobile is speedy and the automobiles are cheap", ["The car is quick and the cars are cheap!", "Cars are fast."]),
    ("", ["An answer was expected.", "Say something."]),
    ("He bought 3,000 shares for $4.50 each (yesterday).", ["Yesterday he purchased 3,000 shares at $4.50.", "He bought shares."]),
    ("the the the the the", ["the cat is on the mat", "there is a cat on the mat"]),
    ("She could run very quickly, and running was what she liked most of all.", ["She ran fast and liked running best.", "Running was her favourite."]),
]  # fmt: skip
CHINESE = [
    ("我喜欢吃苹果。", ["我喜欢吃苹果。"]),
    ("今天天气很好,我们去公园吧。", ["今天天气不错,我们去公园散步。"]),
    ("北京是中国的首都。", ["中国的首都是北京。"]),
]
ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "ROUGE-Lsum": "rougeLsum"}


class NoSynonyms:
    def synsets(self, word):
        return []


def ascii_words(text: str) -> list[str]:
    """Of these English texts: letters and digits, and each other mark by itself."""
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())


def by_sacrebleu(pairs: list, tokenize: str = "13a") -> dict:
    answers, streams = [a for a, _ in pairs], list(zip(*(r for _, r in pairs), strict=True))
    found = {}
    for name, metric in (
        ("BLEU", sacrebleu.BLEU(tokenize=tokenize)),
        ("chrF2", sacrebleu.CHRF()),
        ("chrF2++", sacrebleu.CHRF(word_order=2)),
    ):
        found[name] = metric.corpus_score(answers, streams).score
        found[f"{name} signature"] = str(metric.get_signature().format(short=True))
    return found


def by_others(pairs: list) -> dict:
    rouge = RougeScorer(list(ROUGE.values()))
    scores = [rouge.score_multi(references, answer) for answer, references in pairs]
    found = {name: float(np.mean([s[key].fmeasure for s in scores])) for name, key in ROUGE.items()}
    for name, words in (("METEOR with WordNet", wordnet), ("METEOR without WordNet", NoSynonyms())):
        found[name] = float(
            np.mean(
                [
                    meteor_score([ascii_words(r) for r in references], ascii_words(answer), wordnet=words)
                    for answer, references in pairs
                ]
            )
        )
    return found


def synonyms(pairs: list) -> dict[str, list[str]]:
    """What WordNet says of the words here, so that the tests need no WordNet."""
    words = {w for answer, references in pairs for text in (answer, *references) for w in ascii_words(text)}
    words |= {PorterStemmer().stem(w) for w in words}  # what nltk looks up are stems
    found = {w: sorted({lemma.name() for s in wordnet.synsets(w) for lemma in s.lemmas()}) for w in sorted(words)}
    return {word: names for word, names in found.items() if names}


single = [(answer, references[:1]) for answer, references in ENGLISH]
print(
    json.dumps(
        {
            "how": "overlap.py beside this file",
            "versions": {name: version(name) for name in ("sacrebleu", "rouge-score", "nltk")}
            | {"wordnet": wordnet.get_version()},
            "cases": [
                {
                    "name": "several references",
                    "pairs": ENGLISH,
                    "expected": by_sacrebleu(ENGLISH) | by_others(ENGLISH),
                },
                {"name": "one reference", "pairs": single, "expected": by_sacrebleu(single) | by_others(single)},
                {"name": "Chinese", "pairs": CHINESE, "expected": by_sacrebleu(CHINESE, "zh")},
            ],
            "synonyms": synonyms(ENGLISH),
        },
        indent=1,
        ensure_ascii=False,
    )
)
