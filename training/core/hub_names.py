"""Tell names on a model hub, owner/name, from paths."""

from __future__ import annotations

import re

HUB_NAME = re.compile(r"(?!\.)[\w.-]+/[\w.-]+")
