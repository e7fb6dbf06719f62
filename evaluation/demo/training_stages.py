"""The stages in which models learn: finetuning, a reward model, PPO, and a small model pretrained from texts."""

from __future__ import annotations

from common.texts import percent
from evaluation.demo.pipeline_runs import dataset, finished_run
from evaluation.demo.plan import Report, Turn, TurnStopped
from training.core import reward_trust
from training.models import Run
from training.storage import reward_evidence


def finetune(turn: Turn, report: Report) -> str:
    assert turn.base is not None
    # At the demo's length most answers are cut off; the recipe teaches no end where there was none.
    examples = dataset(turn, "sft", "best-rated answers", whole_answers=False)
    run = finished_run(
        turn,
        report,
        kind="sft",
        name=f"{turn.project.slug}-sft",
        parent=turn.base,
        dataset=examples,
        config=turn.plan.sft,
    )
    turn.sft = run.output_model
    return f"{run.output_model} on {_counts(examples.counts)}"


def learn_reward(turn: Turn, report: Report) -> str:
    """Train the reward model. The SFT model is the trunk: PPO starts from it and can share it with its reward model."""
    assert turn.sft is not None
    run = finished_run(
        turn,
        report,
        kind="reward",
        name=f"{turn.project.slug}-reward",
        parent=turn.sft,
        dataset=dataset(turn, "preferences", "judgements"),
        config=turn.plan.reward,
    )
    turn.reward = run.output_model
    held_out = run.result.get("held_out", {}).get("pair_accuracy")
    return f"{run.output_model}" + (
        f", right on {percent(held_out['value'])} of {held_out['n']} unseen pairs" if held_out else ""
    )


def optimise(turn: Turn, report: Report) -> str:
    assert turn.sft is not None and turn.reward is not None
    name = f"{turn.project.slug}-ppo"
    _require_trusted_reward(turn, name)
    run = finished_run(
        turn,
        report,
        kind="ppo",
        name=name,
        parent=turn.sft,
        reward_model=turn.reward,
        dataset=dataset(turn, "prompts", "train prompts"),
        config={"at_bound": "finish", **turn.plan.ppo},  # nobody watches a turn
    )
    turn.ppo = run.output_model
    return str(run.output_model)


def _require_trusted_reward(turn: Turn, name: str) -> None:
    """Raise TurnStopped where PPO has not begun and its reward model did not beat chance on held-out annotations."""
    assert turn.reward is not None
    has_begun = Run.objects.filter(project=turn.project, kind="ppo", name=name).exists()
    if has_begun or turn.plan.ppo.get(reward_trust.OVERRULE) or turn.reward.path is None:
        return
    evidence = reward_evidence.of_model(turn.reward)
    if evidence.refuses:
        maker = getattr(turn.reward, "made_by", None)
        page = turn.page(f"/runs/{maker.pk}/" if maker else f"/p/{turn.project.slug}/runs/")
        raise TurnStopped(
            f"{turn.reward} is not reliable. {evidence.sentence} Everything so far is kept. Annotate more answers "
            f"in a new project (--project, --ratings, --comparisons), or choose a taste that more answers meet "
            f"; to use it anyway, queue a PPO run with trust_unproven_reward. See {page}"
        )


def gather_texts(turn: Turn, report: Report) -> str:
    run = finished_run(turn, report, kind="corpus", name=corpus_name(turn), config=turn.plan.corpus)
    turn.corpus = run.output_dataset
    assert turn.corpus is not None
    return str(turn.corpus.counts.get("sentence", turn.corpus.name))


def learn_tokenizer(turn: Turn, report: Report) -> str:
    assert turn.corpus is not None
    run = finished_run(
        turn,
        report,
        kind="tokenizer",
        name=f"{turn.project.slug}-tokenizer",
        dataset=turn.corpus,
        config=turn.plan.tokenizer,
    )
    turn.tokenizer = run.output_model
    return f"{run.output_model}, {run.result['vocab_size']:,} tokens"


def pretrain(turn: Turn, report: Report) -> str:
    """Pretrain a model that starts from random weights: beside the others it shows what the first stage alone is
    worth."""
    assert turn.corpus is not None and turn.tokenizer is not None
    run = finished_run(
        turn,
        report,
        kind="pretrain",
        name=f"{turn.project.slug}-pretrained",
        parent=turn.tokenizer,
        dataset=turn.corpus,
        config={**turn.plan.pretrain, "max_tokens": turn.plan.pretrain_tokens},
    )
    turn.pretrained = run.output_model
    size = run.result["parameters"] / 1e6
    return f"{run.output_model}, {size:.1f} M parameters, {run.result['bits_per_byte']:.2f} bits per byte"


def corpus_name(turn: Turn) -> str:
    return f"{turn.project.slug}-python-texts"


def _counts(counts: dict) -> str:
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if isinstance(n, int) and n)
