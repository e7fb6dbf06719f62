"""Makes `agreement.json` with other people's tools; run by hand, outside the product.

    python -m venv reference && reference/bin/pip install krippendorff==0.9.0 nltk==3.10 statsmodels pandas numpy
    reference/bin/python agreement.py <pandalm-testset-v1.json>

krippendorff is under the GPL: it is a reference here and no part of the product. Values were also published:
Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", has .095 (A), .692 (B), and of C .743 nominal, .815
ordinal and .849 interval.
"""

import hashlib
import json
import sys
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import krippendorff
import numpy as np
from nltk.metrics.agreement import AnnotationTask
from nltk.metrics.distance import binary_distance, interval_distance
from statsmodels.stats.inter_rater import cohens_kappa

NONE = None
PUBLISHED = {
    "A": [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]],
    "B": [[0, 0, 1, 1, 3, 2, 2, 2, 4, 3, 3, 0], [1, 0, 1, 1, 1, 2, 2, 2, 4, 3, 3, 3]],
    "C": [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ],
}


def main() -> None:
    source = Path(sys.argv[1])
    items = json.loads(source.read_text())
    panda = [[int(item[f"annotator{k}"]) for item in items] for k in (1, 2, 3)]
    cases = PUBLISHED | {f"drawn {seed}": drawn(seed) for seed in range(6)}
    told = {
        "how": Path(__file__).name + ": " + (__doc__ or "").split("\n")[0],
        "versions": {name: version(name) for name in ("krippendorff", "nltk", "statsmodels")},
        "alpha": [{"name": name, "values": values, **alphas(values)} for name, values in cases.items()],
        "kappa": [{"table": table, **kappas(np.array(table))} for table in tables()],
        "pandalm": {
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            **alphas(panda),
            "pairs": [pair(panda, i, k) for i, k in combinations(range(3), 2)],
        },
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


def drawn(seed):
    """Judges of different skill on 5 steps, a third of the values missing."""
    random = np.random.default_rng(seed)
    judges, units = int(random.integers(2, 7)), int(random.integers(15, 40))
    true = random.integers(1, 6, units)
    said = np.clip(np.round(true + random.normal(0, random.uniform(0.3, 2, judges)[:, None], (judges, units))), 1, 5)
    said = np.where(random.random(said.shape) < 1 / 3, np.nan, said)
    return [[None if np.isnan(v) else int(v) for v in row] for row in said]


def alphas(values):
    data = np.array([[np.nan if v is None else v for v in row] for row in values], dtype=float)
    found = {}
    for metric in ("nominal", "ordinal", "interval"):
        found[metric] = krippendorff.alpha(reliability_data=data, level_of_measurement=metric)
    rows = [(f"j{j}", f"u{u}", v) for j, row in enumerate(values) for u, v in enumerate(row) if v is not None]
    of = {u: sum(1 for _, unit, _ in rows if unit == u) for _, u, _ in rows}
    rows = [row for row in rows if of[row[1]] > 1]
    found["nltk_nominal"] = AnnotationTask(rows, distance=binary_distance).alpha()
    found["nltk_interval"] = AnnotationTask(rows, distance=interval_distance).alpha()
    return found


def tables():
    random = np.random.default_rng(7)
    return [random.integers(0, 30, (size, size)).tolist() for size in (2, 3, 4, 5)] + [[[20, 5], [10, 15]]]


def kappas(table):
    plain, squared = cohens_kappa(table), cohens_kappa(table, wt="quadratic")
    return {
        "nominal": [plain.kappa, plain.std_kappa],
        "ordinal": [squared.kappa, squared.std_kappa],
    }


def pair(said, i, k):
    table = np.zeros((3, 3), dtype=int)
    np.add.at(table, (said[i], said[k]), 1)
    agreed = sum(a == b for a, b in zip(said[i], said[k], strict=True))
    found = cohens_kappa(table)
    return {"judges": [i + 1, k + 1], "agreed": agreed, "n": len(said[i]), "kappa": [found.kappa, found.std_kappa]}


if __name__ == "__main__":
    main()
