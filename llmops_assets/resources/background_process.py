"""A service that runs beside a command and ends with it, whatever ends the command."""

import os
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmops_assets.resources.process_tree import marked_processes, stop_processes

SERVICE_MARKER = "LLMOPS_SERVICE"
_GRACE_SECONDS = 20.0


@contextmanager
def background_process(command: Sequence[str], *, cwd: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start `command` in a session of its own, its output to `log`; stop its whole tree when the block ends.

    A run that a Dagster service launches is not part of that tree: run launchers take the marker away.
    """
    marker = uuid.uuid4().hex
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, SERVICE_MARKER: marker},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop_processes(lambda: marked_processes(SERVICE_MARKER, marker), _GRACE_SECONDS)
        process.wait()
