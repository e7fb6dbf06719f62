"""Makes paired.json: `python paired.py > paired.json` with statsmodels, scipy and sacrebleu; not run by the tests."""

import json

import numpy as np
import sacrebleu
import scipy
import statsmodels
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

random = np.random.default_rng(7)
WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "tree",
    "quickly",
    "slowly",
    "and",
    "then",
    "it",
    "was",
    "red",
    "big",
]


def mean_gap(a, b, axis=-1):
    return np.mean(b, axis=axis) - np.mean(a, axis=axis)


def permutation(n: int) -> dict:
    a = np.round(random.random(n), 3)
    b = np.round(np.clip(a + random.normal(0.05, 0.15, n), 0, 1), 3)
    found = stats.permutation_test(
        (a, b), mean_gap, permutation_type="samples", n_resamples=200_000, vectorized=True, random_state=1
    )
    return {
        "first": a.tolist(),
        "second": b.tolist(),
        "difference": found.statistic,
        "p": found.pvalue,
        "within": 1e-9 if n <= 14 else 0.02,
    }


def t_interval(n: int) -> dict:
    a, b = np.round(random.random((2, n)), 3)
    d = b - a
    ends = stats.ttest_rel(b, a).confidence_interval(0.95)
    return {
        "first": a.tolist(),
        "second": b.tolist(),
        "lower": ends.low,
        "upper": ends.high,
        "standard_error": stats.sem(d),
    }


def bleu_bootstrap(n: int = 60) -> dict:
    metric = sacrebleu.BLEU()
    references = [" ".join(random.choice(WORDS, 12)) for _ in range(n)]

    def answers(share: float) -> list[str]:
        return [" ".join(w if random.random() > share else random.choice(WORDS) for w in r.split()) for r in references]

    first, second = (np.array(metric._extract_corpus_statistics(answers(s), [references])) for s in (0.4, 0.3))

    def gap(index):
        return (
            metric._compute_score_from_stats(second[index].sum(0).tolist()).score
            - metric._compute_score_from_stats(first[index].sum(0).tolist()).score
        )

    found = stats.bootstrap((np.arange(n),), gap, n_resamples=10_000, vectorized=False, method="BCa", random_state=3)
    return {
        "first": first.tolist(),
        "second": second.tolist(),
        "difference": gap(np.arange(n)),
        "lower": found.confidence_interval.low,
        "upper": found.confidence_interval.high,
        "standard_error": found.standard_error,
    }


def corrections(ps: list[float]) -> dict:
    return {"p": ps, "holm": multipletests(ps, method="holm")[1].tolist()}


print(
    json.dumps(
        {
            "how": "paired.py beside this file",
            "versions": {
                "numpy": np.__version__,
                "scipy": scipy.__version__,
                "statsmodels": statsmodels.__version__,
                "sacrebleu": sacrebleu.__version__,
            },
            "mcnemar": [
                {"gained": up, "lost": down, "p": float(mcnemar([[0, up], [down, 0]], exact=True).pvalue)}
                for up, down in ((3, 9), (10, 10), (40, 21), (300, 250), (1, 0), (0, 8))
            ],
            "permutation": [permutation(10), permutation(12), permutation(60)],
            "t": [t_interval(8), t_interval(25), t_interval(120)],
            "corrections": [
                corrections([0.01, 0.04, 0.03, 0.005]),
                corrections([0.2]),
                corrections([0.9, 0.001, 0.02, 0.02, 0.5]),
            ],
            "bootstrap": bleu_bootstrap(),
        },
        indent=1,
    )
)
