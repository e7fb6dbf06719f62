from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option

MEASURES = {
    "perplexity": "how well it predicts texts",
    "overlap": "how similar its answers are to references: BLEU, chrF, ROUGE, METEOR",
    "choices": "how often the right one of several endings is the most likely for it",
    "classification": "how often a classifier is right, with F1 and MCC",
    "reward_accuracy": "how often a reward model agrees with annotators, compared with choosing the longer answer",
    "win_rate": "how often its answers are preferred to an opponent's",
    "fluency": "how unusual its answers are for its parent: surprise, entropy, foreign scripts, KL; by a reward model "
    "the score above the parent's",
}

URL_VARIABLE = "ASSAY_JUDGE_URL"  # with the same ending as a key's: the one address that the key goes to
KEY_VARIABLE = "ASSAY_JUDGE_KEY"  # a judge's key lies in a variable of such a name: no other secret is sent to a judge


@dataclass(frozen=True)
class EvaluateConfig:
    """One measure of one model. Options that name a measure in `only` mean something for that one alone."""

    kind: ClassVar[str] = "evaluate"
    measure: str = option(
        "perplexity",
        "; ".join(f"{name}: {measure}" for name, measure in MEASURES.items()),
        choices=tuple(MEASURES),
    )
    texts: str = option(
        "preferred",
        "without a dataset: preferred, the answers that annotators liked best; first, answers of the model's first "
        "ancestor, to see how far the model has moved",
        choices=("preferred", "first"),
        only=("perplexity", "overlap"),
    )
    limit: int = option(
        200, "maximum number of items, the same for every model; all votes are used", low=2, high=1_000_000
    )
    suite: str = option(
        "assay",
        "without a dataset: assay, the built-in suite, or names of tasks of lm-evaluation-harness, "
        "separated by commas, such as hellaswag,piqa (needs access to a hub)",
        only=("choices",),
    )
    num_fewshot: int = option(0, "solved examples before each item", low=0, high=64, only=("choices",), advanced=True)
    max_new_tokens: int = option(128, "longest generated answer, in tokens", low=1, high=8192, only=("overlap",))
    opponent: str = option("", "the name of the model to beat", only=("win_rate",))
    judged_by: str = option(
        "people",
        "people or simulation: counted votes; reward: the reward model chosen above; endpoint: a model with an "
        "OpenAI-compatible address, asked in both orders",
        choices=("people", "simulation", "reward", "endpoint"),
        only=("win_rate", "reward_accuracy"),
    )
    judge: str = option(
        "", "the name of a registered model as judge, with the settings and the key of its page", only=("win_rate",)
    )
    judge_url: str = option(
        "", "instead of a registered judge: the address of an OpenAI-compatible server, such as "
        "http://localhost:8100/v1",
        only=("win_rate",), advanced=True,
    )  # fmt: skip
    judge_model: str = option("", "the judge's name on that server", only=("win_rate",), advanced=True)
    judge_key_variable: str = option(
        "", "the environment variable with its key, if it needs one", only=("win_rate",), advanced=True
    )
    judge_tokens: int = option(
        1024,
        "longest reply of the judge in tokens, including its reasoning",
        low=16,
        high=65536,
        only=("win_rate",),
        advanced=True,
    )
    judge_at_once: int = option(
        4, "concurrent questions to the judge", low=1, high=64, only=("win_rate",), advanced=True
    )
    judge_per_minute: int = option(
        0, "maximum questions to the judge per minute; 0: no limit", low=0, high=100_000,
        only=("win_rate",), advanced=True,
    )  # fmt: skip
    judge_timeout: float = option(
        120.0, "seconds to wait for a reply", low=1, high=3600, only=("win_rate",), advanced=True
    )
    max_length: int = option(1024, "tokens in the context, including the prompt", low=16, high=131072, advanced=True)
    batch_size: int = option(8, "sequences per forward pass", low=1, high=4096, advanced=True)
    draws: int = option(1000, "bootstrap samples for intervals without a formula", low=100, high=100_000, advanced=True)
    contamination: bool = option(
        True,
        "mark items that are in the training data of the model or its ancestors, and give all figures also "
        "without them",
    )

    def cross_check(self) -> dict[str, str]:
        if self.measure == "win_rate" and not self.opponent.strip():
            return {"opponent": "Enter the name of the model to compare with."}
        if self.measure == "win_rate" and self.judged_by == "endpoint" and (wrong := self._judge_errors()):
            return wrong
        if self.measure == "choices" and not self.suite.strip():
            return {"suite": "Enter a suite: assay, the built-in one, or a task of lm-eval."}
        if self.measure == "reward_accuracy" and self.judged_by not in ("people", "simulation"):
            return {
                "judged_by": "A reward model is compared with annotations of people or of simulations; use people or "
                "simulation."
            }
        return {}

    def _judge_errors(self) -> dict[str, str]:
        by_address = (self.judge_url, self.judge_model, self.judge_key_variable)
        if self.judge.strip():
            return {"judge": "Enter a registered judge or a judge_url, not both."} if any(by_address) else {}
        if not (self.judge_url and self.judge_model):
            return {"judge": "Enter a registered model as judge, or its judge_url and judge_model."}
        return {}


@dataclass(frozen=True)
class VerdictsConfig:
    """Which pairs of answers a judge model of the project is asked about; only with `asked`, what it has judged."""

    kind: ClassVar[str] = "verdicts"
    judge: str = option("", "the name of a judge model of this project")
    version: int = option(0, "version of its rubric; 0: the newest", low=0, high=1_000_000)
    items: str = option(
        "both",
        "seen: pairs that people have compared; unseen: pairs of answers of models in the arena that nobody has "
        "compared; both; asked: what this version has judged before, to see whether the judge has changed",
        choices=("both", "seen", "unseen", "asked"),
    )
    annotators: str = option(
        "people", "whose comparisons make a pair seen", choices=("people", "simulation"), advanced=True
    )
    split: str = option(
        "eval", "the split of the prompts: eval for ratings, train for datasets", choices=("eval", "train")
    )
    limit: int = option(
        1000, "maximum number of pairs that nobody has compared, or that are asked again", low=1, high=1_000_000
    )
    max_tokens: int = option(1024, "longest reply in tokens, including its reasoning", low=16, high=65536)
    per_minute: int = option(0, "maximum questions per minute; 0: no limit", low=0, high=100_000, advanced=True)
    timeout: float = option(120.0, "seconds to wait for a reply", low=1, high=3600, advanced=True)

    def cross_check(self) -> dict[str, str]:
        return {} if self.judge.strip() else {"judge": "Enter the name of a judge model of this project."}
