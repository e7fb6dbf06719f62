"""Cut an adapter to a smaller rank: `python -m training.recipes.export.cut_adapter ADAPTER FOLDER RANK`.

Each layer's update is replaced by its best approximation of that rank, as bfloat16. The last line of output is JSON:
the rank, the share of the updates' norm that was lost, and the hash of what was written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from training.recipes.common.adapters import adapter_hash, base_of, read_adapter, write_adapter
from training.rl.factors import shrink


def main(adapter: str, folder: str, rank: int) -> None:
    base = base_of(adapter)
    update, lost = shrink(read_adapter(adapter), rank)
    write_adapter(folder, update, base)
    print(json.dumps({"rank": rank, "norm_lost": round(lost, 4), "hash": adapter_hash(Path(folder), base.hash)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
