"""Makes families.json: `python families.py > families.json` with scikit-learn, statsmodels and scipy; not run by the
tests, and independent of the product."""

import json
from importlib.metadata import version

import numpy as np
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef
from statsmodels.stats.proportion import proportion_confint

random = np.random.default_rng(11)


def classes(k: int, n: int, only: int | None = None) -> dict:
    true = random.integers(only or k, size=n)
    found = np.where(random.random(n) < 0.6, true, random.integers(only or k, size=n))
    return {
        "classes": k,
        "true": true.tolist(),
        "found": found.tolist(),
        "macro F1": f1_score(true, found, average="macro"),
        "MCC": matthews_corrcoef(true, found),
        "F1": f1_score(true, found, average=None, labels=list(range(k)), zero_division=0).tolist(),
    }


def resampled(n: int) -> dict:
    true = random.integers(2, size=n)
    found = np.where(random.random(n) < 0.75, true, 1 - true)
    interval = stats.bootstrap(
        (true, found), matthews_corrcoef, paired=True, vectorized=False, n_resamples=5000, method="BCa", random_state=2
    )
    low, high = interval.confidence_interval
    return {
        "true": true.tolist(),
        "found": found.tolist(),
        "lower": low,
        "upper": high,
        "standard_error": interval.standard_error,
    }


print(
    json.dumps(
        {
            "how": "families.py beside this file",
            "versions": {name: version(name) for name in ("scikit-learn", "statsmodels", "scipy", "numpy")},
            "classes": [classes(2, 50), classes(4, 90), classes(5, 40, only=3)],
            "wilson": [
                {"right": r, "n": n, "ends": proportion_confint(r, n, method="wilson")}
                for r, n in ((0, 10), (10, 10), (37, 50), (5990, 6000))
            ],
            "student": [{"freedom": f, "t": stats.t.ppf(0.975, f)} for f in (1, 2, 5, 29, 30, 31, 60, 500)],
            "bootstrap": resampled(80),
        },
        indent=1,
    )
)
