"""Say why a run that asks an endpoint cannot go on, with the remedy. What has arrived is kept."""

from __future__ import annotations

from annotate.core.chat_api.asking import Refusal
from annotate.core.chat_api.refusals import Kind
from training.core.run_directory import RecipeFailure

_KEPT = "Then resume this run: what it has answered is kept and not asked again."
_WORDS: dict[Kind, tuple[str, str]] = {
    Kind.KEY: ("The server does not accept the key.", "Give the model another key on its page."),
    Kind.QUOTA: ("What was paid for is used up.", "Renew it with the provider."),
    Kind.NAME: ("The server knows no model of this name.", "Correct the served name on the model's page."),
    Kind.ADDRESS: (
        "The server cannot be reached, or the path of its address is wrong.",
        "Check that it runs, and the address on the model's page: it usually ends with /v1.",
    ),
    Kind.TLS: (
        "The secure connection to the server failed: its certificate is not valid, or it speaks plain http://.",
        "Check the start of the address on the model's page, or renew the certificate.",
    ),
    Kind.PRIVATE: (
        "The address is inside a private network, which the operator does not allow.",
        "Ask the operator to add it to ASSAY_PRIVATE_ENDPOINTS, for web and worker.",
    ),
    Kind.PROTOCOL: (
        "The server there has no OpenAI-compatible API.",
        "Check the address on the model's page: it usually ends with /v1.",
    ),
    Kind.CONTEXT: (
        "The prompts and the new tokens do not fit into the model's context.",
        "Queue it again with fewer max_new_tokens, or a shorter system prompt.",
    ),
    Kind.TEMPLATE: (
        "The server could not put the prompts into the model's chat template.",
        "Check the template options on the model's page; some templates have no system prompt.",
    ),
    Kind.THROTTLED: (
        "The server accepted no requests for a long time.",
        "Set a lower concurrency on the model's page, or wait for the provider's limit.",
    ),
    Kind.TIME_OUT: ("The server accepted requests but sent no answer in time.", "Raise request_timeout, or try later."),
}
_OTHERS = ("The server refused the requests, or failed.", "The log has its response.")


def failure_of(refusal: Refusal) -> RecipeFailure:
    message, remedy = _WORDS.get(refusal.kind, _OTHERS)
    return RecipeFailure(f"endpoint_{refusal.kind.replace('-', '_')}", message, f"{remedy} {_KEPT}")


def no_prices() -> RecipeFailure:
    return RecipeFailure(
        "no_prices",
        "The run has a max_cost, but the model has no prices.",
        "Enter prices on the model's page, or queue the run again without a max_cost.",
    )


def uncounted() -> RecipeFailure:
    return RecipeFailure(
        "endpoint_uncounted",
        "The server does not report token counts, so the run cannot respect its max_cost.",
        "Queue the run again without a max_cost.",
    )


def too_many_unanswered(unanswered: int, total: int) -> RecipeFailure:
    return RecipeFailure(
        "endpoint_unanswered",
        f"The server failed repeatedly at {unanswered:,} of {total:,} completions.",
        f"The log has its responses; try later. {_KEPT}",
    )
