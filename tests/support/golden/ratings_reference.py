"""Makes `ratings_reference.json` from `arena_votes.json` with other people's tools; run by hand, outside the product.

    python -m venv reference && reference/bin/pip install choix==0.4.1 evalica==0.4.2 arena-rank==0.1.1 \\
        statsmodels==0.15.0 scikit-learn pandas tqdm && reference/bin/pip download --no-deps fschat==0.2.36
    reference/bin/python ratings_reference.py <unpacked fschat wheel> <FastChat's rating_systems.py>

The last is fastchat/serve/monitor/rating_systems.py of lm-sys/FastChat at commit 0e6d3e4 (its newest algorithm, never
released as a package). Of fschat only the text of `compute_elo` and `compute_elo_mle_with_tie` is run, for its module
imports a web server. With `--votes` it makes `arena_votes.json` anew: 40 voters of unequal zeal, each with tastes of
their own, who like long answers.
"""

import importlib.util
import json
import math
import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LABELS = ("model_a", "model_b", "tie", "tie (bothbad)")
SCALE = 400 / math.log(10)
FEATURES = ("length", "headers", "lists", "bold")


def make_votes() -> None:
    random = np.random.default_rng(20)
    voters, models, votes = 40, 6, 1200
    strength, taste = np.linspace(0.7, -0.7, models), random.normal(0, 0.5, (voters, models))
    zeal = random.lognormal(0, 0.8, voters)
    voter = np.sort(random.choice(voters, votes, p=zeal / zeal.sum()))
    a = random.integers(0, models, votes)
    b = (a + random.integers(1, models, votes)) % models
    sides = {}
    for side, model in (("a", a), ("b", b)):
        sides[side] = {
            "length": np.round(random.lognormal(6 + 0.1 * model, 0.5)).astype(int),
            "headers": random.poisson(0.4 + 0.1 * model),
            "lists": random.poisson(2.0, votes),
            "bold": random.poisson(1.0 + 0.2 * model),
        }
    gap = sides["a"]["length"] / (sides["a"]["length"] + sides["b"]["length"]) - 0.5
    delta = strength[a] - strength[b] + taste[voter, a] - taste[voter, b] + 2.0 * gap + 0.1
    weights = np.stack([np.exp(delta / 2), np.exp(-delta / 2), np.full(votes, 0.35), np.full(votes, 0.15)])
    said = (random.random(votes) > np.cumsum(weights / weights.sum(axis=0), axis=0)).sum(axis=0)
    columns = {"voter": voter, "a": a, "b": b, "said": said}
    columns |= {f"{name}_{side}": sides[side][name] for side in "ab" for name in FEATURES}
    text = ",\n".join(f' "{name}": {json.dumps(column.tolist())}' for name, column in columns.items())
    how = "simulated by ratings_reference.py --votes; said: 0 A is better, 1 B is better, 2 a tie, 3 both are bad"
    (HERE / "arena_votes.json").write_text(f'{{\n "how": {json.dumps(how)},\n{text}\n}}\n')


class Arena:
    """The votes as arrays, and what every reference needs of them."""

    def __init__(self):
        data = json.loads((HERE / "arena_votes.json").read_text())
        self.voter, self.a, self.b, self.said = (np.array(data[name]) for name in ("voter", "a", "b", "said"))
        self.models = int(max(self.a.max(), self.b.max())) + 1
        self.score = np.array([1, 0, 0.5, 0.5])[self.said]
        self.design = np.eye(self.models)[self.a] - np.eye(self.models)[self.b]
        sides = [np.array([data[f"{name}_{side}"] for name in FEATURES], dtype=float).T for side in "ab"]
        total = sides[0] + sides[1]
        self.difference = np.divide(sides[0] - sides[1], total, out=np.zeros_like(total), where=total > 0)

    def frame(self, both_bad: str = "tie (bothbad)"):
        import pandas as pd

        said = np.array([*LABELS[:3], both_bad])[self.said]
        names = np.array([f"m{k}" for k in range(self.models)])
        return pd.DataFrame({"model_a": names[self.a], "model_b": names[self.b], "winner": said})

    def in_order(self, by_name) -> list[float]:
        return [float(by_name[f"m{k}"]) for k in range(self.models)]


def centred(values) -> list[float]:
    values = np.asarray(values, dtype=float)
    return (values - values.mean() + 1000).tolist()


def fschat(folder: Path) -> dict:
    """The two functions of the released package, by their text."""
    text = (folder / "fastchat/serve/monitor/elo_analysis.py").read_text()
    import pandas as pd

    space = {"np": np, "pd": pd, "math": math, "defaultdict": defaultdict}
    for name in ("compute_elo", "compute_elo_mle_with_tie"):
        exec(re.search(rf"^def {name}\(.*?(?=^def )", text, re.M | re.S).group(), space)
    return space


def bradley_terry(arena: Arena, released: dict, newest) -> dict:
    import choix
    import evalica
    import sklearn.linear_model
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    found = {}
    found["fastchat rating_systems.compute_bt"] = centred(arena.in_order(newest.compute_bt(arena.frame(), tol=1e-9)))
    found["fastchat elo_analysis.compute_elo_mle_with_tie, as published"] = centred(
        arena.in_order(released["compute_elo_mle_with_tie"](arena.frame()))
    )
    kept = sklearn.linear_model.LogisticRegression
    sklearn.linear_model.LogisticRegression = lambda **_: kept(fit_intercept=False, C=1e12, tol=1e-12, max_iter=10_000)
    found["fastchat elo_analysis.compute_elo_mle_with_tie, penalty off"] = centred(
        arena.in_order(released["compute_elo_mle_with_tie"](arena.frame()))
    )
    sklearn.linear_model.LogisticRegression = kept

    wins = []  # a win is two wins, a tie is one each way
    for a, b, score in zip(arena.a, arena.b, arena.score, strict=True):
        wins += [(a, b)] * int(2 * score) + [(b, a)] * int(2 - 2 * score)
    found["choix opt_pairwise"] = centred(
        SCALE * choix.opt_pairwise(arena.models, wins, alpha=0, method="Newton-CG", tol=1e-12)
    )
    found["choix ilsr_pairwise"] = centred(SCALE * choix.ilsr_pairwise(arena.models, wins, alpha=0, tol=1e-12))

    winners = [(evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw, evalica.Winner.Draw)[k] for k in arena.said]
    names = [f"m{k}" for k in range(arena.models)]
    xs, ys = [names[k] for k in arena.a], [names[k] for k in arena.b]
    result = evalica.bradley_terry(xs, ys, winners, tie_weight=0.5, tolerance=1e-12, limit=100_000)
    found["evalica bradley_terry"] = centred(SCALE * np.log(arena.in_order(result.scores)))

    dataset = PairDataset.from_pandas(arena.frame("both_bad"))
    model = BradleyTerry(arena.models, hessian_reg=1e-7, ftol=1e-15, gtol=1e-12)
    result = model.compute_ratings_and_cis(dataset)
    assert list(result["competitors"]) == names
    found["arena-rank BradleyTerry"] = centred(result["ratings"])
    error = np.sqrt(np.asarray(result["variances"]))
    newton = evalica.newman(xs, ys, winners, tolerance=1e-12, limit=1_000_000)
    return {
        "ratings": found,
        "arena-rank standard errors": error.tolist(),
        "evalica newman": {
            "ratings": centred(SCALE * np.log(arena.in_order(newton.scores))),
            "v": float(newton.v),
        },
        "elo": {
            "fastchat elo_analysis.compute_elo": arena.in_order(released["compute_elo"](arena.frame())),
            "fastchat rating_systems.compute_elo": arena.in_order(newest.compute_elo(arena.frame())),
            "evalica elo": arena.in_order(evalica.elo(xs, ys, winners, k=4.0, tie_weight=0.5).scores),
        },
    }


def spread(arena: Arena, covariance: np.ndarray) -> np.ndarray:
    """The covariance of all models' centred ratings, from one without model 0 and in log-odds."""
    size = arena.models
    padded = np.zeros((size, size))
    padded[1:, 1:] = covariance[: size - 1, : size - 1]
    centre = np.eye(size) - 1 / size
    return SCALE**2 * centre @ padded @ centre


def generalised_linear(arena: Arena, newest) -> dict:
    """statsmodels' GLM: its HC0 and cluster covariance, without and with style."""
    import statsmodels.api as sm

    family, voters = sm.families.Binomial(), len(np.unique(arena.voter))
    found = {}
    z = arena.difference / arena.difference.std(axis=0)
    for name, design in (("plain", arena.design[:, 1:]), ("style", np.column_stack([arena.design[:, 1:], z]))):
        model = sm.GLM(arena.score, design, family=family)
        robust = model.fit(tol=1e-14, cov_type="HC0")
        cluster = model.fit(
            tol=1e-14,
            cov_type="cluster",
            cov_kwds={"groups": arena.voter, "use_correction": False, "df_correction": False},
        )
        entry = {
            "ratings": centred(SCALE * np.concatenate([[0], robust.params[: arena.models - 1]])),
            "covariance HC0": spread(arena, robust.cov_params()).tolist(),
            "covariance cluster": (voters / (voters - 1) * spread(arena, cluster.cov_params())).tolist(),
        }
        if name == "style":
            tail = slice(arena.models - 1, None)
            entry["coefficients"] = robust.params[tail].tolist()
            entry["errors HC0"] = robust.bse[tail].tolist()
            entry["errors cluster"] = (math.sqrt(voters / (voters - 1)) * cluster.bse[tail]).tolist()
        found[name] = entry
    matchups, outcomes, models = newest.preprocess_for_elo(arena.frame())
    fitted = newest.fit_contextual_bt(matchups, z, outcomes, models, reg=0.0, tol=1e-9)
    found["style"]["fastchat fit_contextual_bt"] = {
        "ratings": centred(arena.in_order(dict(zip(models, 400 * fitted[: len(models)], strict=True)))),
        "coefficients": fitted[len(models) :].tolist(),
    }
    return found


def ties(arena: Arena) -> dict:
    """By scipy on single votes: the likelihoods written out as in the papers, derivatives by central differences."""
    from scipy.optimize import minimize

    outcome = np.array([0, 1, 2, 2])[arena.said]

    def chances(model: str, point: np.ndarray, first: bool) -> np.ndarray:
        strength = np.exp(np.concatenate([[0], point[: arena.models - 1]]))
        one, other = strength[arena.a] * (math.exp(point[arena.models - 1]) if first else 1), strength[arena.b]
        if model == "davidson":
            middle = math.exp(point[-1]) * np.sqrt(one * other)
            parts = np.stack([one, other, middle]) / (one + other + middle)
        else:
            theta = math.exp(point[-1])
            win, loss = one / (one + theta * other), other / (theta * one + other)
            parts = np.stack([win, loss, 1 - win - loss])
        return parts[outcome, np.arange(len(outcome))]

    found = {}
    for model in ("davidson", "rao-kupper"):
        for first in (False, True):
            start = np.zeros(arena.models + first)
            start[-1] = 0.5

            def each(point, model=model, first=first):
                return np.log(chances(model, point, first))

            best = minimize(lambda p, each=each: -each(p).mean(), start, method="BFGS", options={"gtol": 1e-6}).x
            for _ in range(3):  # polish: Newton with the numerical derivatives
                scores, hessian = derivatives(each, best)
                best = best - np.linalg.solve(hessian, scores.sum(axis=0))
            scores, hessian = derivatives(each, best)
            inverse = np.linalg.inv(hessian)
            covariance = inverse @ (scores.T @ scores) @ inverse
            voters = np.unique(arena.voter)
            summed = np.stack([scores[arena.voter == voter].sum(axis=0) for voter in voters])
            by_voters = len(voters) / (len(voters) - 1) * inverse @ (summed.T @ summed) @ inverse
            size = arena.models
            found[f"{model}{', first' if first else ''}"] = {
                "ratings": centred(SCALE * np.concatenate([[0], best[: size - 1]])),
                "covariance": spread(arena, covariance).tolist(),
                "covariance cluster": spread(arena, by_voters).tolist(),
                "error of log tie cluster": math.sqrt(by_voters[-1, -1]),
                "tie": math.exp(best[-1]),
                "error of log tie": math.sqrt(covariance[-1, -1]),
                "first": SCALE * best[size - 1] if first else None,
                "error of first": SCALE * math.sqrt(covariance[size - 1, size - 1]) if first else None,
                "log_likelihood": float(each(best).sum()),
            }
    found["statsmodels OrderedModel (rao-kupper, first)"] = ordered(arena, outcome)
    found["statsmodels Poisson (davidson, first)"] = log_linear(arena, outcome)
    return found


def derivatives(each, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, p) scores of single votes and the (p, p) Hessian, by central differences."""
    step, size = 1e-4, len(point)
    units = step * np.eye(size)
    scores = np.stack(
        [
            (8 * (each(point + u) - each(point - u)) - each(point + 2 * u) + each(point - 2 * u)) / (12 * step)
            for u in units
        ],
        axis=1,
    )
    hessian = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            plus, minus = units[i] + units[j], units[i] - units[j]
            four = (
                each(point + plus).sum()
                + each(point - plus).sum()
                - each(point + minus).sum()
                - each(point - minus).sum()
            )
            hessian[i, j] = four / (4 * step**2)
    return scores, hessian


def ordered(arena: Arena, outcome: np.ndarray) -> dict:
    """Rao and Kupper's model is an ordered logit whose two thresholds are −κ − η and κ − η."""
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    level = np.array([2, 0, 1])[outcome]
    model = OrderedModel(level, arena.design[:, 1:], distr="logit")
    result = model.fit(method="bfgs", gtol=1e-9, maxiter=5000, disp=False)
    low, high = model.transform_threshold_params(result.params)[1:3]
    return {
        "ratings": centred(SCALE * np.concatenate([[0], result.params[: arena.models - 1]])),
        "tie": math.exp((high - low) / 2),
        "first": -SCALE * (high + low) / 2,
        "log_likelihood": float(result.llf),
    }


def log_linear(arena: Arena, outcome: np.ndarray) -> dict:
    """Davidson's model as a log-linear one of the table pair × outcome (Fienberg and Larntz, 1976)."""
    import statsmodels.api as sm

    size = arena.models
    counts = np.zeros((size, size, 3))
    np.add.at(counts, (arena.a, arena.b, outcome), 1)
    pairs = [(i, j) for i in range(size) for j in range(size) if counts[i, j].sum()]
    rows, response = [], []
    for number, (i, j) in enumerate(pairs):
        for k, (utility, first, tie) in enumerate(((0.5, 0.5, 0), (-0.5, -0.5, 0), (0, 0, 1))):
            pair, models = np.zeros(len(pairs)), np.zeros(size)
            pair[number], models[i], models[j] = 1, utility, -utility
            rows.append(np.concatenate([models[1:], [first, tie], pair]))
            response.append(counts[i, j, k])
    result = sm.GLM(np.array(response), np.array(rows), family=sm.families.Poisson()).fit(tol=1e-14)
    return {
        "ratings": centred(SCALE * np.concatenate([[0], result.params[: size - 1]])),
        "tie": math.exp(result.params[size]),
        "first": SCALE * result.params[size - 1],
    }


HOW = """Made by ratings_reference.py from arena_votes.json. Ratings are centred at 1000 (tools anchor them elsewhere).
Conventions that differ, and what was done:
- FastChat's elo_analysis counts a battle twice, and a tie once each way (the same maximum), and shrinks by
  scikit-learn's default L2 penalty: 'as published' keeps it, 'penalty off' sets C=1e12. FastChat's newest stops at a
  tolerance of 1e-6; here 1e-9.
- choix has no ties: a win was given as two wins, a tie as one each way. evalica: tie_weight=0.5.
- arena-rank adds hessian_reg (1e-5) to the Hessian of its sandwich; here 1e-7.
- statsmodels: HC0 has no factor. Its cluster covariance was taken without any correction and multiplied by V/(V-1); by
  default it multiplies by (n-1)/(n-k) too. Covariance without model 0 was carried to that of centred ratings.
- style: z = (a-b)/(a+b) / standard deviation, 0 where both are 0, not centred. FastChat's own preprocessing centres,
  divides by a+b+1 and penalises with reg=0.5; its fit was given our z and reg=0.
- evalica's newman is Davidson's model; its v is nu/2 where its strengths are ours.
- Davidson's and Rao-Kupper's likelihoods were written out per vote and maximised by scipy; covariance is the sandwich,
  by votes and (cluster) by voters with V/(V-1).
"""


def main() -> None:
    if "--votes" in sys.argv:
        make_votes()
        return
    released = fschat(Path(sys.argv[1]))
    spec = importlib.util.spec_from_file_location("rating_systems", sys.argv[2])
    newest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(newest)
    arena = Arena()
    found = bradley_terry(arena, released, newest)
    found["glm"] = generalised_linear(arena, newest)
    found["ties"] = ties(arena)
    versions = {
        name: importlib.metadata.version(name)
        for name in ("choix", "evalica", "arena-rank", "statsmodels", "scikit-learn", "scipy", "numpy")
    }
    versions |= {"fschat": "0.2.36", "lm-sys/FastChat": "0e6d3e4 (rating_systems.py)"}
    text = json.dumps({"how": HOW.strip().split("\n"), "versions": versions, **found}, indent=1)
    (HERE / "ratings_reference.json").write_text(text + "\n")


if __name__ == "__main__":
    import importlib.metadata

    main()
