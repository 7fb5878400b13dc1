"""A program that does nothing but supervise the payload: `python -m ...supervising_parent FOLDER GRACE_SECONDS`."""

import signal
import sys
from pathlib import Path

from llmops_assets_tests.resources.waiting import supervise_payload

if __name__ == "__main__":
    # A test run that a shell started in the background has SIGINT ignored, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    supervise_payload(Path(sys.argv[1]), grace_seconds=float(sys.argv[2]))
