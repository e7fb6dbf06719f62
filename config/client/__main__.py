"""Write the Python client into a folder, ready to be installed: python -m config.client [FOLDER]. See script/client."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django

from config.client.package import FOLDER, load_schema, write_client

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    write_client(load_schema(), folder)
    print(folder)
