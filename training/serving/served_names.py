"""Say what a child is called at its base's server, and where that server finds its folder."""

from __future__ import annotations

from pathlib import PurePosixPath

from django.utils.text import slugify

from annotate.models import AdapterServer, LanguageModel
from training.core.export_names import file_stem
from training.serving.dialects import transformers_serve
from training.serving.dialects.exchange import Adapter


def settings_of(base: LanguageModel) -> AdapterServer:
    """Return how the base's server takes adapters: its row, or the defaults. Read once of each base in memory."""
    server: AdapterServer | None = getattr(base, "adapter_server", None)
    return server or AdapterServer(base=base)


def adapter_of(model: LanguageModel, base: LanguageModel, dialect: str) -> Adapter:
    """Return the child as its server is told of it.

    At the site's own server, and where a server loads folders by their names, the folder is the name; elsewhere the
    model's own with its number, which no other model of this site has.
    """
    folder = folder_at(settings_of(base), model)
    by_folder = not base.endpoint or dialect == transformers_serve.NAME
    name = folder if by_folder else f"{slugify(model.name)[:80] or 'model'}-{model.pk}"
    return Adapter(name=name, folder=folder, file_stem=file_stem(model.name))


def folder_at(server: AdapterServer, model: LanguageModel) -> str:
    """Return the child's folder as the server sees it."""
    if server.data_folder and not PurePosixPath(model.folder).is_absolute():
        return str(PurePosixPath(server.data_folder) / model.folder)
    return str(model.path)
