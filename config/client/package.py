"""Write the client's package: what is written by hand, and the modules that are made of the schema."""

from __future__ import annotations

import shutil
from pathlib import Path

from config.client.models_module import models_module
from config.client.operations_module import operations_module
from config.client.schema_types import Components, Schema

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = ROOT / "clients" / "python"  # by hand
FOLDER = WRITTEN / "dist" / "assay-client"


def write_client(schema: Schema, folder: Path) -> None:
    """Write the package into a folder, ready to be installed. SystemExit where the folder holds something else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "assay_client").exists():
        raise SystemExit(f"{folder} holds something else; name an empty folder.")
    components = Components(schema)
    made = {"models.py": models_module(components), "operations.py": operations_module(schema, components)}
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(WRITTEN, folder, ignore=shutil.ignore_patterns("dist", "build", "*.egg-info", "__pycache__"))
    for name, source in made.items():
        (folder / "assay_client" / name).write_text(source, encoding="utf-8")


def load_schema() -> Schema:
    """Return the API's schema. Django must be set up."""
    from annotate.core.api.exception_handler import KeptSchema

    return KeptSchema().get_schema()
