"""One row in a process of its own: `python -m llmops_assets_tests.chaos.row FAULT --lane L --folder F -n N`.

Writes F/row.json when it is done. SIGINT and SIGTERM end it with everything that it started.
"""

import argparse
import signal
import sys
from pathlib import Path

from llmops_assets_tests.chaos.matrix import FAULTS, run_row

ROW_FILE = "row.json"


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def main() -> int:
    """Run the row; the exit code is 130 if it was interrupted."""
    parser = argparse.ArgumentParser(description="Apply one fault again and again.")
    parser.add_argument("fault", choices=sorted(FAULTS))
    parser.add_argument("--lane", type=Path, required=True, help="a built tiny lane to copy")
    parser.add_argument("--folder", type=Path, required=True, help="where instance, logs and row.json go")
    parser.add_argument("-n", "--repetitions", type=int, required=True)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        row = run_row(FAULTS[options.fault], options.lane, options.folder, options.repetitions, _say)
    except KeyboardInterrupt:
        return 130
    (options.folder / ROW_FILE).write_text(row.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
