"""Ask a model one question and say in words what is wrong: the address, the key, the name, the context, the template.

By the product's own client, so that what answers here answers in the arena and in runs. What the server says in its own
words is not shown: whoever registered it may not be able to read what answers there. The names that it lists are.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from decimal import Decimal

from annotate.core.chat_api.prices import cost_of
from annotate.core.chat_api.refusals import Kind
from annotate.core.network import outbound
from annotate.language_models import model_keys, model_server, model_server_errors
from annotate.language_models.model_settings import sampling_for, system_prompt_for
from annotate.models import LanguageModel, Project
from common.sampling import CUT, with_system_prompt

log = logging.getLogger(__name__)

QUESTION = "Which colour does the sky have on a clear day? Answer in one word."
LONGEST_QUESTION = 2000  # characters
ENOUGH_TOKENS = 512  # for a short answer, and for a model that thinks before it
_MOST_NAMES, _LONGEST_NAME = 20, 100

# What each kind of failure means, and what to do. The names that the server lists come behind that of a name.
_WORDS = {
    Kind.ADDRESS: (
        "The address cannot be reached.",
        "No server runs there, the host name is unknown, or the path is wrong: an address usually ends with /v1. "
        "Check that the server runs and that this machine reaches it.",
    ),
    Kind.TLS: (
        "The secure connection failed.",
        "The certificate is not valid for this name, or the server speaks plain http://. Check the start of the "
        "address, or renew the certificate.",
    ),
    Kind.PRIVATE: (
        "The address is inside a private network, which this site may not use.",
        f"The operator can allow it: {outbound.VARIABLE} names hosts, addresses or networks, for web and worker.",
    ),
    Kind.KEY: (
        "The server does not accept the key.",
        "Enter a key that is valid for this address and model.",
    ),
    Kind.NAME: ("The server knows no model of this name.", "Correct the served name."),
    Kind.CONTEXT: (
        "The question and the new tokens do not fit into the model's context.",
        "Set a smaller number of new tokens for this model, or a shorter system prompt.",
    ),
    Kind.TEMPLATE: (
        "The server could not put the conversation into the model's chat template.",
        "Check the template options; some templates have no system prompt: leave it empty here and in the project.",
    ),
    Kind.THROTTLED: (
        "The server is busy, or it allows fewer requests.",
        "Try again later, and set fewer concurrent requests.",
    ),
    Kind.QUOTA: ("The quota at the provider is used up.", "Renew it with the provider."),
    Kind.TIME_OUT: (
        "The server accepted the question but sent nothing in time.",
        "It may be loading the model: try again in a few minutes.",
    ),
    Kind.CUT: (
        "The connection ended in the middle of the answer.",
        "Try again. If it happens again, ask the server's operator.",
    ),
    Kind.PROTOCOL: (
        "The server there has no OpenAI-compatible API.",
        "Check the address: it usually ends with /v1.",
    ),
    Kind.REFUSED: (
        "The server refused the question.",
        "Check sampling and template options: the server may not support one of them.",
    ),
    Kind.FAILED: ("The server failed at the answer.", "Try again. If it happens again, its own log says why."),
}


@dataclass(frozen=True)
class Checked:
    """Hold what came of one question. `problem` is a `refusals.Kind`; "" when it answered."""

    question: str
    problem: str = ""
    what: str = ""
    remedy: str = ""
    offered: tuple[str, ...] = ()  # names that the server lists, where the name is wrong
    answer: str = ""
    reasoning: str = ""
    tokens: int | None = None
    prompt_tokens: int | None = None
    seconds: float = 0.0
    cost: Decimal | None = None

    @property
    def is_ok(self) -> bool:
        return not self.problem


def ask_one_question(model: LanguageModel, project: Project, question: str = "") -> Checked:
    """Ask as this project would, and return the answer or what is wrong. Takes as long as the server: outside of
    transactions."""
    question = question.strip()[:LONGEST_QUESTION] or QUESTION
    sampling = sampling_for(project, model)
    sampling["max_new_tokens"] = min(sampling["max_new_tokens"], ENOUGH_TOKENS)
    messages = with_system_prompt([{"role": "user", "content": question}], system_prompt_for(project, model))
    began = time.monotonic()
    try:
        reply = model_server.complete_chat(model, messages, seed=0, **sampling)
    except model_server_errors.ModelServerError as error:
        log.warning("%s did not answer a question: %s (%s)", model, error, error.detail)
        return _in_words(model, question, error, time.monotonic() - began)
    seconds = time.monotonic() - began
    problem = ("", "", "")
    if not reply.text.strip():
        cut = reply.finish_reason == CUT
        problem = (
            "empty",
            "The model gave no answer" + (": it reached the token limit while reasoning." if cut else "."),
            "Allow more new tokens, or turn reasoning off by a template option.",
        )
    return Checked(
        question,
        *problem,
        answer=reply.text,
        reasoning=reply.reasoning,
        tokens=reply.tokens,
        prompt_tokens=reply.prompt_tokens,
        seconds=seconds,
        cost=cost_of(model.prompt_price, model.completion_price, reply.prompt_tokens, reply.tokens),
    )


def ask_for_names(model: LanguageModel) -> Checked:
    """Return the names that its server lists as `offered`, or what is wrong. Takes as long as the server."""
    began = time.monotonic()
    try:
        return Checked("", offered=_listed(model), seconds=time.monotonic() - began)
    except model_server_errors.ModelServerError as error:
        return _in_words(model, "", error, time.monotonic() - began)


def _in_words(
    model: LanguageModel, question: str, error: model_server_errors.ModelServerError, seconds: float
) -> Checked:
    message, remedy = _WORDS[error.kind]
    offered = _offered(model) if error.kind in (Kind.NAME, Kind.ADDRESS) else ()
    if offered:  # the address is right, then: it lists models
        if model.server_name in offered:
            message, remedy = error.what, error.remedy
            return Checked(question, error.kind, message, remedy, offered, seconds=seconds)
        message, remedy = _WORDS[Kind.NAME]
    elif error.kind == Kind.KEY and not model.sealed_key:
        message, remedy = "The server needs a key.", "Enter a valid key."
    if not model.endpoint:  # the site's own server: what it says is for researchers, too
        message = f"{message} {error.detail}".strip()
    return Checked(question, Kind.NAME if offered else error.kind, message, remedy, offered, seconds=seconds)


def _offered(model: LanguageModel) -> tuple[str, ...]:
    try:
        return _listed(model)
    except (model_server_errors.ModelServerError, model_keys.KeyLost):
        return ()


def _listed(model: LanguageModel) -> tuple[str, ...]:
    key = model_keys.key_of(model)
    names = model_server.served_models(model.server_url, key, allowed=model_server.allowed_for(model))
    return tuple(str(name)[:_LONGEST_NAME] for name in names[:_MOST_NAMES])
