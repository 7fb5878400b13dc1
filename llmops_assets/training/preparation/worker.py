"""The preparation process: `python -m llmops_assets.training.preparation.worker job.json`.

Exit code 0: rows.json is written. 1: failed, with a sentence on stderr.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from llmops_assets.errors import LlmopsError


def main(arguments: Sequence[str]) -> int:
    """Prepare the rows of the job file named by the one argument and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m llmops_assets.training.preparation.worker job.json", file=sys.stderr)
        return 2
    os.environ.update({"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    from llmops_assets.training.preparation.job import PreparationJob
    from llmops_assets.training.preparation.prepare import prepare

    try:
        counts = prepare(PreparationJob.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8")))
    except LlmopsError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    print(", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
