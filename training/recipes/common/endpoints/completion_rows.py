"""Write the answer of an endpoint as rows of completions.jsonl, with what it has cost by the model's prices."""

from __future__ import annotations

from annotate.core.chat_api.asking import Answer
from annotate.core.chat_api.prices import cost_of
from common.sampling import kept_sampling
from training.configs import SampleConfig
from training.core.run_directory import Row, RunSpec


def row_of(spec: RunSpec, config: SampleConfig, prompt_id: int, index: int, answer: Answer, number: int) -> Row:
    """Return one line of completions.jsonl. What the request cost is shared by its choices alike."""
    choice, choice_count, body = answer.choices[number], len(answer.choices), answer.request_body
    tokens = answer.completion_tokens if choice_count == 1 else len(choice.logprobs) or None
    used: Row = {name: body[name] for name in ("temperature", "top_p") if name in body}
    used["max_new_tokens"] = body.get("max_tokens") or body["max_completion_tokens"]
    if options := body.get("chat_template_kwargs"):
        used["template_options"] = options
    model = spec.endpoints["parent"]
    prices = model.get("prompt_price"), model.get("completion_price")
    cost = cost_of(*prices, answer.prompt_tokens, answer.completion_tokens)
    row: Row = {
        "prompt_id": prompt_id,
        "index": index,
        "text": choice.text,
        "reasoning": choice.reasoning,
        "tokens": tokens,
        "prompt_tokens": answer.prompt_tokens,
        "cost": None if cost is None else str(cost / choice_count),
        "finish_reason": choice.finish_reason,
        "seed": body.get("seed"),
        "sampling": kept_sampling(used, config.system_prompt),  # type: ignore[arg-type]
        "request": answer.request,
        "request_tokens": [answer.prompt_tokens, answer.completion_tokens],
    }
    return row | ({"logprobs": list(choice.logprobs)} if choice.logprobs else {})
