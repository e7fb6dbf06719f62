"""Check what may be registered as a model: its fields by themselves, and what a researcher may reach by them."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from django.conf import settings

from annotate.core.artefacts import local_copies
from annotate.core.errors import Refused
from annotate.core.network import outbound
from annotate.core.network.public_addresses import place
from annotate.language_models import model_server
from annotate.language_models.model_keys import LONGEST_KEY
from annotate.language_models.model_settings import ModelSettings
from annotate.models import LanguageModel, Project
from common.texts import NOT_STORABLE, is_storable

LONGEST_ADDRESS = 500  # characters, of a served name too: as many as the columns hold


def check(
    name: str,
    folder: str,
    endpoint: str,
    served_name: str,
    kind: str,
    stage: str,
    key: str,
    chosen_settings: ModelSettings,
) -> None:
    """Raises Refused, 400, with all that is wrong."""
    errors: dict[str, str] = {}
    if not name or len(name) > 120 or not is_storable(name):
        errors["name"] = "Enter a name of 1 to 120 characters."
    if kind not in LanguageModel.Kind.values:
        errors["kind"] = f"{kind!r} is not a kind of model; use one of {', '.join(LanguageModel.Kind.values)}."
    if len(stage) > 24:
        errors["stage"] = "Use at most 24 characters, such as base, SFT or PPO."
    if not folder and not endpoint:
        errors["folder"] = "Enter a folder with weights, an endpoint, or both."
    if folder and not local_copies.is_available(settings.DATA_DIR / folder):
        errors["folder"] = f"There is no folder {folder} below ASSAY_DATA; import the model first."
    errors |= endpoint_errors(endpoint, served_name, key) | chosen_settings.errors()
    if errors:
        raise Refused(400, **errors)


def endpoint_errors(endpoint: str, served_name: str, key: str) -> dict[str, str]:
    """Return what is wrong with an address, the name that is asked for there and its key."""
    errors: dict[str, str] = {}
    if endpoint:
        try:
            place(endpoint)
        except ValueError:
            errors["endpoint"] = "Enter an address such as https://models.example.org/v1, without a name or password."
        if len(endpoint) > LONGEST_ADDRESS:
            errors["endpoint"] = f"At most {LONGEST_ADDRESS} characters."
        if not served_name:
            errors["served_name"] = "Enter the name of the model at the endpoint."
    elif key:
        errors["key"] = "A key needs an endpoint: enter its address too."
    if len(served_name) > LONGEST_ADDRESS:
        errors["served_name"] = f"At most {LONGEST_ADDRESS} characters."
    elif not is_storable(served_name):
        errors["served_name"] = NOT_STORABLE
    if key and (len(key) > LONGEST_KEY or not key.strip().isascii() or not key.strip().isprintable()):
        errors["key"] = f"A key is at most {LONGEST_KEY} plain characters on one line."
    return errors


def require_reachable(endpoint: str) -> None:
    """Refuse endpoints that only this server reaches. It asks there, and tells what came back: the operator alone lets
    it ask.

    Raises Refused, 400. Looks the name up: not for a transaction."""
    try:
        if "@" in urlsplit(endpoint).netloc:
            raise Refused(
                400, endpoint="Remove the name and password from the address; enter the key in its own field."
            )
        to = place(endpoint)
        outbound.require_allowed(to.host, to.port, model_server.allowed_inside())
    except outbound.PrivateHost as error:
        words = f"{str(error).removesuffix('.')}: add {error.host} to {outbound.VARIABLE}, for web and worker."
        raise Refused(400, endpoint=words) from error
    except (ValueError, outbound.Refused) as error:
        raise Refused(400, endpoint=str(error)) from error
    except OSError as error:
        raise Refused(400, endpoint=f"The host name was not found ({error}); check its spelling.") from error


def is_below_models(folder: str) -> bool:
    """Return whether a folder may be named: a model may be exported, and runs and uploads of others lie elsewhere."""
    parts = PurePosixPath(folder).parts
    return ".." not in parts and parts[:1] == ("models",) and len(parts) >= 2


def require_not_own_server(endpoint: str) -> None:
    """Raises Refused, 403, for the site's own server: it may load whatever folder it is asked for by name, so it is
    asked by a model's own folder.

    Looks the name up: not for a transaction."""
    if endpoint and model_server.is_own(endpoint):
        raise Refused(403, endpoint="This is the site's own server: enter the folder of the weights, or ask the staff.")


def require_their_own(model: LanguageModel, project: Project) -> None:
    """Raises Refused where a registration would reach another project's weights; so does `require_not_own_server`."""
    if model.folder and model.served_name and not model.endpoint:
        raise Refused(403, served_name="Only staff set the served name on this site's own server; leave it empty.")
    if model.folder:
        require_own_folder(model.folder, project)


def require_own_folder(folder: str, project: Project) -> None:
    """Raises Refused, 400, for a folder that holds, or lies in, the weights of another project's model."""
    path, usable = (settings.DATA_DIR / folder).resolve(), LanguageModel.objects.usable_in(project).values("pk")
    others = LanguageModel.objects.exclude(folder="").exclude(pk__in=usable).values_list("folder", flat=True)
    for other in ((settings.DATA_DIR / other_folder).resolve() for other_folder in others):
        if path.is_relative_to(other) or other.is_relative_to(path):
            raise Refused(400, folder=f"There is no folder {folder} that {project.name} may use.")


def content_of(model: LanguageModel) -> tuple[str, str, str, str]:
    """Return what makes two registrations the same model. Weights without a hash are told by their folder."""
    weights = model.content_hash or model.folder
    return (model.kind, weights, model.endpoint, model.served_name)
