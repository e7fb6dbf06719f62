"""Answer to the old name of `config.watched`, for one version."""

from __future__ import annotations

import sys

from config.watched import main

if __name__ == "__main__":
    main(sys.argv[1:])
