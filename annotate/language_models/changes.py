"""Change where and how a registered model is asked. Its weights and its name never change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import Person, can
from annotate.language_models import actions, model_keys, registration
from annotate.language_models.model_settings import ModelSettings
from annotate.models import LanguageModel, User

MODEL_CHANGED = "model.changed"  # on the audit trail
# What changes no answer of a model, as the trail names it.
OF_THE_BILL = frozenset({"key", "concurrency", "prompt_price", "completion_price"})
_UNTOLD = frozenset({"key", "system_prompt", "template_options"})


@dataclass(frozen=True)
class ModelChange:
    """Hold a model's new settings. `key`: None keeps what there is, as far as the address stays; "" forgets it."""

    endpoint: str
    served_name: str
    settings: ModelSettings
    key: str | None = None


def may_change(model: LanguageModel, by: Person) -> bool:
    """Return whether somebody may change a model: staff, and whoever researches in the project that made or registered
    it."""
    return by.is_staff or any(can(by, "research", home) for home in actions.homes_of(model))


def change(*, model: LanguageModel, change: ModelChange, by: User | None) -> LanguageModel:
    """Look the address up first, then write. A key never goes along to another address. `by` is None for a command on
    this machine, which may do all that staff may.

    Raises Refused: 400 with all that is wrong, 403 for somebody of another project."""
    is_operator = by is None or by.is_staff
    if by is not None:
        require_change(model, by)
    endpoint = change.endpoint.strip().rstrip("/")
    if by is not None and endpoint and endpoint != model.endpoint:
        registration.require_reachable(endpoint)
    looked_up = _address_of(model)
    if not is_operator and looked_up != (endpoint, change.served_name.strip()):
        registration.require_not_own_server(endpoint)
    return _change(model=model, change=change, endpoint=endpoint, by=by, looked_up=looked_up)


def require_change(model: LanguageModel, by: Person) -> None:
    """Raise Refused unless somebody may change a model."""
    if not may_change(model, by):
        raise Refused(403, model="Only staff and researchers of the model's project can change it; ask one of them.")


def _address_of(model: LanguageModel) -> tuple[str, str]:
    return model.endpoint, model.served_name


@transaction.atomic
def _change(
    *, model: LanguageModel, change: ModelChange, endpoint: str, by: User | None, looked_up: tuple[str, str]
) -> LanguageModel:
    is_operator = by is None or by.is_staff
    if by is not None:
        require_change(model, by)
    model = LanguageModel.objects.select_for_update().get(pk=model.pk)
    if looked_up != _address_of(model):
        raise Refused(409, endpoint="Somebody has changed the model meanwhile; reload the page.")
    before = _fields_of(model)
    key = (change.key or "").strip()
    errors = registration.endpoint_errors(endpoint, change.served_name, key) | change.settings.errors()
    if not endpoint and not model.folder:
        errors["endpoint"] = "The model has no weights here, so it needs an endpoint."
    if errors:
        raise Refused(400, **errors)
    moves = model_keys.bound_to(endpoint) != model_keys.bound_to(model.endpoint)
    if change.key is not None or moves:
        model.sealed_key = model_keys.seal(key, endpoint)
    if model.origin.rstrip("/") == model.endpoint:  # as earlier versions noted it: an address that it leaves now
        model.origin = ""
    model.endpoint, model.served_name = endpoint, change.served_name.strip()
    if not is_operator and (home := actions.homes_of(model).first()) and looked_up != _address_of(model):
        registration.require_their_own(model, home)
    is_redirected = looked_up != _address_of(model) or before["key"] != model.sealed_key
    if by is not None and model.is_shared and is_redirected and not actions.may_share(model, by):
        raise Refused(
            403,
            endpoint="The model is shared with all projects, so only staff and managers of its project can change "
            "this.",
        )
    change.settings.apply_to(model)
    model.save()
    if changes := audit.differences(before, _fields_of(model)):
        told = {name: _told(name, *both) for name, both in changes.items()}
        actions.tell_trails(model, MODEL_CHANGED, by, changes=told)
    return model


def _fields_of(model: LanguageModel) -> dict[str, Any]:
    address = {"endpoint": model.endpoint, "served_name": model.served_name, "key": model.sealed_key}
    return address | asdict(ModelSettings.of(model))


def _told(name: str, before: Any, after: Any) -> list[Any]:
    """Return what was and is, as the trail tells it: neither a key nor a prompt, and no address of before, which may
    hold a password."""
    hidden = (name in _UNTOLD or name == "endpoint", name in _UNTOLD)
    both = ("…" if value and hides else value for value, hides in zip((before, after), hidden, strict=True))
    return [str(one) if isinstance(one, Decimal) else one if one != "" else None for one in both]
