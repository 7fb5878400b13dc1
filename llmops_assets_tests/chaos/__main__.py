"""`python -m llmops_assets_tests.chaos --repetitions 10 [--fault NAME ...] [--out table.md]`: all rows, one table.

Exit code 1 if anything at all was wrong. Ctrl-C ends everything that was started and prints the rows that were done.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from llmops_assets.errors import LlmopsError
from llmops_assets.settings import state_dir
from llmops_assets_tests.assets.tiny_lane import REPOSITORY, make_tiny_lane
from llmops_assets_tests.chaos.matrix import FAULTS, Row
from llmops_assets_tests.chaos.row import ROW_FILE
from llmops_assets_tests.chaos.services import own_environment
from llmops_assets_tests.chaos.table import markdown_table

# Enough for a champion that a fault could wrongly move, and for a parent that the trainings continue.
BUILD = ("corpus", "sft_set", "cpt_rows", "cpt_adapter", "sft_rows", "sft_adapter", "sft_report", "champion")
_POLL_SECONDS = 1.0


class LaneNotBuilt(LlmopsError):
    """The lane that all instances are copied from could not be built."""


def main() -> int:
    """Build the lane, run the rows, print and write the table."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    names: list[str] = options.fault or list(FAULTS)
    folder = state_dir() / "chaos" / time.strftime("%Y%m%d-%H%M%S")
    began = time.monotonic()
    print(f"Everything is under {folder}. Building the lane that all instances are copied from", flush=True)
    interrupted = False
    rows: list[Row] = []
    try:
        lane = options.lane.resolve() if options.lane is not None else _built_lane(folder / "lane")
        print(f"built in {time.monotonic() - began:.0f} s; {len(names)} faults x {options.repetitions}", flush=True)
        _run_rows(names, lane, folder, options.repetitions, options.parallel)
    except KeyboardInterrupt:
        interrupted = True
    for name in names:
        if (file := _folder(folder, name) / ROW_FILE).is_file():
            rows.append(Row.model_validate_json(file.read_text()))
    table = markdown_table(rows)
    print(f"\n{table}\n\n{time.monotonic() - began:.0f} s for {sum(row.repetitions for row in rows)} repetitions")
    for row in rows:
        for sentence in row.sentences:
            print(f"- {row.fault}, {sentence}")
    if options.out is not None:
        options.out.write_text(f"{table}\n")
    if interrupted:
        return 130
    return 0 if len(rows) == len(names) and all(row.is_clean for row in rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Apply faults to real instances and count what went wrong.")
    parser.add_argument("-n", "--repetitions", type=int, default=10, help="of each fault (default 10)")
    parser.add_argument("--fault", action="append", choices=sorted(FAULTS), help="only this one; may be repeated")
    parser.add_argument("--parallel", type=int, default=2, help="faults at a time, on instances of their own")
    parser.add_argument("--lane", type=Path, help="a lane that an earlier call of the same code built: <folder>/lane")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    return parser.parse_args()


def _built_lane(root: Path) -> Path:
    done = make_tiny_lane(root).materialize(*BUILD)
    if done.returncode != 0:
        raise LaneNotBuilt(f"the lane under {root} could not be built:\n{done.stderr[-3000:]}")
    return root


def _run_rows(names: Sequence[str], lane: Path, folder: Path, repetitions: int, parallel: int) -> None:
    """One process per row, `parallel` at a time; each leads a session, so Ctrl-C reaches it through this process."""
    waiting = list(names)
    running: list[subprocess.Popen[bytes]] = []
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                running.append(_start_row(waiting.pop(0), lane, folder, repetitions))
            running = [process for process in running if process.poll() is None]
            time.sleep(_POLL_SECONDS)
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            # A second Ctrl-C is for this process alone; the rows still clean up.
            with contextlib.suppress(KeyboardInterrupt):
                process.wait()


def _start_row(name: str, lane: Path, folder: Path, repetitions: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "llmops_assets_tests.chaos.row", name, "-n", str(repetitions)]
    command += ["--lane", str(lane), "--folder", str(_folder(folder, name))]
    return subprocess.Popen(command, cwd=REPOSITORY, env=own_environment(), start_new_session=True)


def _folder(folder: Path, fault: str) -> Path:
    return folder / fault.replace(" ", "-").replace(",", "")


if __name__ == "__main__":
    sys.exit(main())
