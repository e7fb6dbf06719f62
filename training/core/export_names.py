"""Name the files of an export, for the recipe that writes them and for whoever looks for them on a server.

Tell names on a model hub, owner/name, from paths. Pure.
"""

from __future__ import annotations

import re

ORIGIN_FILE = "origin.json"  # where imported weights came from and lie, with folders of this machine: it stays here
HUB_NAME = re.compile(r"(?!\.)[\w.-]+/[\w.-]+")


def file_stem(name: str) -> str:
    """Return what the files of an export are called after the model of this name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
