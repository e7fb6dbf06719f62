"""One way to rate votes, timed alone in a process of its own: `python ratings_peers.py NAME VOTES.npz [FASTCHAT.py]`.

Run by benchmarks/ratings.py, by whatever Python has the tool. Prints one line of JSON: milliseconds of each step (the
median of the repeats), the peak of memory, the ratings, or why there is nothing. A tool gets the votes in the shape
that its documentation shows; what it does to them is its own time, reading the file is not.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

SCALE = 400 / math.log(10)
DRAWS = 100


def timed(work: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """The result, and the median of the milliseconds."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = work()
        taken.append(1000 * (time.perf_counter() - begun))
    return result, statistics.median(taken)


def ours(votes: dict[str, np.ndarray], repeats: int, _: str) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from evaluation.ratings import Tally, bootstrap, tally_indices
    from evaluation.ratings.bradley_terry import fit
    from evaluation.ratings.incremental_fit import begin, vote

    models = int(votes["models"])
    tally = Tally(tuple(range(models)), tally_indices(votes["a"], votes["b"], votes["label"], models))
    counted = timed(lambda: tally_indices(votes["a"], votes["b"], votes["label"], models), repeats)[1]
    fitted, fit_time = timed(lambda: fit(tally), repeats)
    live = begin(tally)
    _, one_vote = timed(lambda: vote(live, 0, 1, 0), 10 * repeats)
    _, boot = timed(lambda: bootstrap(fitted, DRAWS), max(1, repeats // 2))
    steps = {"count": counted, "fit": fit_time, "one more vote": one_vote, "100 bootstraps": boot}
    return {"steps": steps, "ratings": fitted.rating.tolist()}


def fastchat(votes: dict[str, np.ndarray], repeats: int, path: str) -> dict[str, Any]:
    """lm-sys/FastChat, fastchat/serve/monitor/rating_systems.py: compute_bt and compute_bootstrap_bt."""
    if not Path(path).is_file():
        raise FileNotFoundError(path)
    specification = importlib.util.spec_from_file_location("rating_systems", path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["rating_systems"] = module  # its own processes look for it by name
    specification.loader.exec_module(module)
    frame = _frame(votes, "tie (bothbad)")
    found, fit_time = timed(lambda: module.compute_bt(frame), repeats)
    _, boot = timed(lambda: module.compute_bootstrap_bt(frame, num_round=DRAWS, num_cpu=1), 1)
    return {"steps": {"fit": fit_time, "100 bootstraps": boot}, "ratings": [found[n] for n in _names(votes)]}


def arena_rank(votes: dict[str, np.ndarray], repeats: int, _: str) -> dict[str, Any]:
    """Its intervals are the sandwich's, computed with the fit."""
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    frame = _frame(votes, "both_bad")
    dataset, load = timed(lambda: PairDataset.from_pandas(frame), 1)
    found, fit_time = timed(lambda: BradleyTerry(int(votes["models"])).compute_ratings_and_cis(dataset), repeats)
    by_name = dict(zip(found["competitors"], np.asarray(found["ratings"]).tolist(), strict=True))
    return {"steps": {"load": load, "fit": fit_time}, "ratings": [by_name[n] for n in _names(votes)]}


def choix(votes: dict[str, np.ndarray], repeats: int, _: str) -> dict[str, Any]:
    """It knows no ties: a win is two wins, a tie one each way. ilsr_pairwise is the quickest that it has."""
    import choix

    first, second, twice = votes["a"], votes["b"], votes["label"] < 2
    winner, loser = np.where(votes["label"] == 1, second, first), np.where(votes["label"] == 1, first, second)
    pairs = np.concatenate(
        [
            np.repeat(np.stack([winner, loser], 1)[twice], 2, axis=0),
            np.stack([first, second], 1)[~twice],
            np.stack([second, first], 1)[~twice],
        ]
    )
    data = list(map(tuple, pairs.tolist()))
    found, fit_time = timed(lambda: choix.ilsr_pairwise(int(votes["models"]), data, alpha=0), 1)
    return {"steps": {"fit": fit_time}, "ratings": (SCALE * found).tolist()}


def evalica(votes: dict[str, np.ndarray], repeats: int, _: str) -> dict[str, Any]:
    import evalica

    labels = (evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw, evalica.Winner.Draw)
    names = _names(votes)
    xs, ys = [names[k] for k in votes["a"]], [names[k] for k in votes["b"]]
    winners = [labels[k] for k in votes["label"]]
    limits = {"tie_weight": 0.5, "tolerance": 1e-9, "limit": 10_000}
    found, fit_time = timed(lambda: evalica.bradley_terry(xs, ys, winners, **limits), repeats)
    return {"steps": {"fit": fit_time}, "ratings": [SCALE * math.log(found.scores[n]) for n in names]}


TOOLS = {"ours": ours, "fastchat": fastchat, "arena-rank": arena_rank, "choix": choix, "evalica": evalica}


def _names(votes: dict[str, np.ndarray]) -> list[str]:
    return [f"m{k:04d}" for k in range(int(votes["models"]))]


def _frame(votes: dict[str, np.ndarray], both_bad: str) -> Any:
    import pandas

    names, label = np.array(_names(votes)), np.array(["model_a", "model_b", "tie", both_bad])
    return pandas.DataFrame(
        {"model_a": names[votes["a"]], "model_b": names[votes["b"]], "winner": label[votes["label"]]}
    )


def peak_megabytes() -> float:
    """Of this process since it began its program: ru_maxrss would begin with what its parent held at the fork."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    name, path, repeats, *rest = sys.argv[1:]
    try:
        found = TOOLS[name](dict(np.load(path)), int(repeats), *(rest or [""]))
        ratings = np.array(found["ratings"])
        found["ratings"] = (ratings - ratings.mean() + 1000).tolist()
    except (ImportError, FileNotFoundError, AttributeError) as error:
        found = {"missing": f"{type(error).__name__}: {error}"}
    found["peak_mb"] = peak_megabytes()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
