"""Makes `pandalm.json` from PandaLM's test set with other people's tools; run by hand, outside the product.

    python -m venv reference && reference/bin/pip install choix==0.4.1 evalica==0.4.2 statsmodels==0.15.0 pandas
    reference/bin/python pandalm.py <pandalm-testset-v1.json>

Three annotators judged 999 pairs of answers by five models: 1, 2, or 0 for a tie. A tie is half a win for each: to
choix every vote is two, a tie one each way; to statsmodels a score of ½; to evalica a tie of weight ½. Ratings are
1000 + 400/ln 10 · r.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import choix
import evalica
import numpy as np
import statsmodels.api as sm

SCALE = 400 / math.log(10)


def main() -> None:
    source = Path(sys.argv[1])
    items = json.loads(source.read_text())
    votes = [(*item["cmp_key"].split("_"), item[f"annotator{k}"], item["idx"]) for item in items for k in (1, 2, 3)]
    models = sorted({name for a, b, _, _ in votes for name in (a, b)})
    place = {name: k for k, name in enumerate(models)}
    a, b = (np.array([place[vote[side]] for vote in votes]) for side in (0, 1))
    said, item = np.array([vote[2] for vote in votes]), np.array([vote[3] for vote in votes])
    score = np.where(said == 1, 1.0, np.where(said == 2, 0.0, 0.5))

    told = {
        "how": Path(__file__).name + ": " + (__doc__ or "").split("\n")[0],
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "models": models,
        "votes": {"first": int((said == 1).sum()), "second": int((said == 2).sum()), "tie": int((said == 0).sum())},
        "choix": by_choix(a, b, score, len(models)),
        "evalica": by_evalica(a, b, score, len(models)),
        "standard_errors": standard_errors(a, b, score, item, len(models)),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


def by_choix(a, b, score, size):
    won, lost = (np.repeat(np.stack(way, axis=1), times.astype(int), axis=0) for way, times in (
        ((a, b), 2 * score), ((b, a), 2 - 2 * score),
    ))  # fmt: skip
    return points(choix.opt_pairwise(size, np.concatenate([won, lost]).tolist(), alpha=0, tol=1e-12))


def by_evalica(a, b, score, size):
    winner = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    xs, ys, winners = list(map(str, a)), list(map(str, b)), [winner[y] for y in score]
    scores = evalica.bradley_terry(xs, ys, winners, tie_weight=0.5, tolerance=1e-13, limit=100_000).scores
    return points(np.log([scores[str(k)] for k in range(size)]))


def points(log_odds):
    return (1000 + SCALE * (np.asarray(log_odds) - np.mean(log_odds))).tolist()


def standard_errors(a, b, score, item, size):
    """Of each model's difference to the last one: White's (HC0), and by items with the factor G/(G − 1)."""
    design = np.eye(size)[a] - np.eye(size)[b]
    model = sm.GLM(score, design[:, :-1], family=sm.families.Binomial())
    votes = model.fit(cov_type="HC0", tol=1e-12)
    groups = len(np.unique(item))
    items = model.fit(cov_type="cluster", cov_kwds={"groups": item, "use_correction": False}, tol=1e-12)
    return {
        "votes": (SCALE * votes.bse).tolist(),
        "items": (SCALE * items.bse * math.sqrt(groups / (groups - 1))).tolist(),
    }


if __name__ == "__main__":
    main()
