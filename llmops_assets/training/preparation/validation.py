"""Which rows give the validation loss: drawn by the hash of their content, so the draw does not move when rows come."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_BUCKETS = 1 << 64


def is_validation(row: Mapping[str, Any], share: float) -> bool:
    """Return whether `row` belongs to the `share` of rows that is not trained on.

    Equal rows fall on the same side, in every set that holds them.
    """
    if not share:
        return False
    content = json.dumps(row, sort_keys=True, ensure_ascii=False).encode("utf-8")
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") < share * _BUCKETS
