from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option

MEASURES = {
    "perplexity": "how well it foresees texts",
    "overlap": "how much of given references its answers say: BLEU, chrF, ROUGE, METEOR",
    "choices": "how often it finds the right one of several endings the likeliest",
    "classification": "how often a classifier is right, with F1 and MCC",
    "reward_accuracy": "how often a reward model agrees with annotators, beside the longer answer",
    "win_rate": "how often its answers are preferred to an opponent's",
    "fluency": "how strange its answers are to its parent: surprise, entropy, foreign scripts",
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
        "ancestor, to see how far it has moved from them",
        choices=("preferred", "first"),
        only=("perplexity", "overlap"),
    )
    limit: int = option(
        200, "how many items at most, the same ones for every model; votes are all taken", low=2, high=1_000_000
    )
    suite: str = option(
        "assay",
        "without a dataset: assay, the suite that comes with this project, or names of lm-evaluation-harness's tasks "
        "parted by commas, for who has a hub, such as hellaswag,piqa",
        only=("choices",),
    )
    num_fewshot: int = option(0, "solved examples before each item", low=0, high=64, only=("choices",), advanced=True)
    max_new_tokens: int = option(128, "of a generated answer", low=1, high=8192, only=("overlap",))
    opponent: str = option("", "the name of the model to beat", only=("win_rate",))
    judged_by: str = option(
        "people",
        "people or simulation: votes that count; reward: the reward model chosen above; endpoint: a model behind an "
        "OpenAI-compatible address, asked in both orders",
        choices=("people", "simulation", "reward", "endpoint"),
        only=("win_rate", "reward_accuracy"),
    )
    judge: str = option(
        "", "the name of a registered model that judges, asked as its page says, with its key", only=("win_rate",)
    )
    judge_url: str = option(
        "", "in place of a registered judge: of an OpenAI-compatible server, such as http://localhost:8100/v1",
        only=("win_rate",), advanced=True,
    )  # fmt: skip
    judge_model: str = option("", "what that server calls the judge", only=("win_rate",), advanced=True)
    judge_key_variable: str = option(
        "", "the environment variable that holds its key, when it wants one", only=("win_rate",), advanced=True
    )
    judge_tokens: int = option(
        1024, "of a judge's reply, its reasons included", low=16, high=65536, only=("win_rate",), advanced=True
    )
    judge_at_once: int = option(
        4, "questions to the judge at one time", low=1, high=64, only=("win_rate",), advanced=True
    )
    judge_per_minute: int = option(
        0, "questions to the judge in a minute at most; 0: as fast as it answers", low=0, high=100_000,
        only=("win_rate",), advanced=True,
    )  # fmt: skip
    judge_timeout: float = option(
        120.0, "seconds to wait for a reply", low=1, high=3600, only=("win_rate",), advanced=True
    )
    max_length: int = option(1024, "tokens seen at once, prompt included", low=16, high=131072, advanced=True)
    batch_size: int = option(8, "sequences forwarded at once", low=1, high=4096, advanced=True)
    draws: int = option(
        1000, "samples with replacement behind an interval that has no formula", low=100, high=100_000, advanced=True
    )
    contamination: bool = option(
        True, "mark items that the training data of the model or its ancestors hold, and say every figure without them"
    )

    def cross_check(self) -> dict[str, str]:
        if self.measure == "win_rate" and not self.opponent.strip():
            return {"opponent": "Name the model that the answers are to be set against."}
        if self.measure == "win_rate" and self.judged_by == "endpoint" and (wrong := self._judge_errors()):
            return wrong
        if self.measure == "choices" and not self.suite.strip():
            return {"suite": "Name a suite: assay, the one that comes with this project, or a task of lm-eval."}
        if self.measure == "reward_accuracy" and self.judged_by not in ("people", "simulation"):
            return {"judged_by": "A reward model is set beside the judgements of people or of simulation."}
        return {}

    def _judge_errors(self) -> dict[str, str]:
        by_address = (self.judge_url, self.judge_model, self.judge_key_variable)
        if self.judge.strip():
            return {"judge": "Name a registered judge or give a judge_url, not both."} if any(by_address) else {}
        if not (self.judge_url and self.judge_model):
            return {"judge": "Name a registered model that judges (judge), or give its judge_url and its judge_model."}
        return {}
