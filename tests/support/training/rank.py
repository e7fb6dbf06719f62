"""Be one of a recipe's processes: `python -m tests.support.training.rank VARIABLES MODULE RUN_DIR`, where VARIABLES are
those that a launcher of torch sets, as JSON."""

from __future__ import annotations

import json
import os
import runpy
import sys


def main() -> None:
    os.environ |= json.loads(sys.argv[1])
    module = sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
