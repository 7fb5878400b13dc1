"""A stand-in for a trainer: a leader, and a grandchild that leads a session and ignores SIGTERM like a hung rank.

`python -m llmops_assets_tests.resources.process_tree_payload FOLDER [--polite] [--leave]` writes each process' pid to
FOLDER/<role>.pid. A polite leader answers SIGTERM by writing FOLDER/checkpoint; one that leaves ends at once.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

LIFETIME_SECONDS = 60


def record_pid(folder: Path, role: str) -> None:
    """Writes FOLDER/<role>.pid so that a reader sees it complete or not at all."""
    partial = folder / f"{role}.partial"
    partial.write_text(str(os.getpid()))
    partial.rename(folder / f"{role}.pid")


def run_rank(folder: Path) -> None:
    """Ignores SIGTERM and SIGINT until it is killed, or a minute is over."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    record_pid(folder, "rank")
    time.sleep(LIFETIME_SECONDS)


def run_leader(folder: Path, *, polite: bool, leave: bool) -> None:
    """Starts the rank and waits for it; prints `ready` when both have recorded their pids."""

    def write_checkpoint(signal_number: int, frame: FrameType | None) -> None:
        (folder / "checkpoint").write_text("saved")
        sys.exit(143)

    if polite:
        signal.signal(signal.SIGTERM, write_checkpoint)
    rank = subprocess.Popen([sys.executable, "-m", __spec__.name, str(folder), "--rank"], start_new_session=True)
    while not (folder / "rank.pid").exists():
        time.sleep(0.02)
    record_pid(folder, "leader")
    print("ready", flush=True)
    if not leave:
        rank.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", action="store_true")
    parser.add_argument("--polite", action="store_true")
    parser.add_argument("--leave", action="store_true")
    options = parser.parse_args()
    if options.rank:
        run_rank(options.folder)
    else:
        run_leader(options.folder, polite=options.polite, leave=options.leave)
