"""Runs one command, follows its log, and guarantees that none of its processes outlives the call."""

import os
import shlex
import signal
import subprocess
import sys
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from llmops_assets.errors import LlmopsError
from llmops_assets.resources.process_guard import shell_exit_code
from llmops_assets.resources.process_tree import marked_processes, stop_processes

SUPERVISION_MARKER = "LLMOPS_SUPERVISION"
TAIL_LINES = 40
_ESCALATION_MARGIN_SECONDS = 15.0


class SupervisedProcessFailed(LlmopsError):
    """A supervised command ended with a code other than 0.

    Attributes:
        exit_code: As a shell reports it: 128 + N if signal N ended the command, 127 if it could not be started.
        log_path: Where all of its output is.
        last_lines: Up to 40 last lines of it, oldest first.
    """

    def __init__(self, command: Sequence[str], exit_code: int, log_path: Path, last_lines: Sequence[str]) -> None:
        self.exit_code = exit_code
        self.log_path = log_path
        self.last_lines = list(last_lines)
        output = "\n".join(self.last_lines) if self.last_lines else "(it printed nothing)"
        super().__init__(
            f"`{shlex.join(command)}` ended with {_describe(exit_code)}. Its last lines, all of them in {log_path}:\n"
            + output
        )


def run_supervised(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log_path: Path,
    grace_seconds: float,
    on_line: Callable[[str], None] | None = None,
    poll_seconds: float = 0.2,
) -> None:
    """Runs `command` in a session of its own to its end; returns or raises only when no process of it is left.

    Whatever ends the call early (KeyboardInterrupt, Dagster's interrupt, an error in `on_line`), the command gets
    SIGTERM, `grace_seconds` to write a checkpoint, and then its whole tree gets SIGKILL, ranks that lead sessions of
    their own included. A second interrupt during the grace period kills at once. If this process itself is
    killed, the guard between the two notices within a second and does the same.

    The output goes straight into the log file, not through a pipe: a command whose supervisor dies can
    then still print while it saves its work.

    Args:
        env: The command's whole environment, as in `subprocess`; PYTHONUNBUFFERED is set unless given.
        log_path: Gets stdout and stderr, appended, so that a resumed run keeps what was there.
        on_line: Called in this thread with every complete line, without its line end, within `poll_seconds`.

    Raises:
        SupervisedProcessFailed: the command ended with another code than 0.
        UnkillableProcesses: something outlived SIGKILL.
    """
    marker_value = uuid.uuid4().hex
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        output = _LogFollower(log_path, log.tell(), on_line)
        guard = subprocess.Popen(
            _guard_command(command, cwd, grace_seconds),
            env={"PYTHONUNBUFFERED": "1", **env, SUPERVISION_MARKER: marker_value},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    left_grace = grace_seconds
    try:
        while not _ended(guard, poll_seconds):
            output.deliver()
    except BaseException:
        left_grace = 0.0
        _stop_guard(guard, grace_seconds)
        raise
    finally:
        stop_processes(lambda: marked_processes(SUPERVISION_MARKER, marker_value), left_grace)
        exit_code = shell_exit_code(guard.wait())
    output.deliver()
    output.close()
    if exit_code != 0:
        raise SupervisedProcessFailed(command, exit_code, log_path, output.last_lines)


def _guard_command(command: Sequence[str], cwd: Path, grace_seconds: float) -> list[str]:
    return [
        sys.executable,
        "-m",
        "llmops_assets.resources.process_guard",
        *("--marker", SUPERVISION_MARKER),
        *("--grace-seconds", str(grace_seconds)),
        *("--parent-pid", str(os.getpid())),
        *("--cwd", str(cwd.absolute())),
        "--",
        *command,
    ]


def _ended(guard: subprocess.Popen[bytes], timeout_seconds: float) -> bool:
    try:
        guard.wait(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _stop_guard(guard: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Lets the guard stop its command; one that does not answer in time is left to the sweep that follows."""
    guard.terminate()
    _ended(guard, grace_seconds + _ESCALATION_MARGIN_SECONDS)


def _describe(exit_code: int) -> str:
    known = {int(number): number.name for number in signal.Signals}
    name = known.get(exit_code - 128)
    return f"exit code {exit_code} ({name})" if name else f"exit code {exit_code}"


class _LogFollower:
    """Reads what was appended to a log since the last look, hands on complete lines and keeps the last ones."""

    def __init__(self, path: Path, offset: int, on_line: Callable[[str], None] | None) -> None:
        self.last_lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._path = path
        self._offset = offset
        self._partial = b""
        self._on_line = on_line

    def deliver(self) -> None:
        with self._path.open("rb") as log:
            log.seek(self._offset)
            chunk = log.read()
        self._offset += len(chunk)
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        for line in lines:
            self._emit(line)

    def close(self) -> None:
        """Hands on a last line that has no line end."""
        if self._partial:
            self._emit(self._partial)
            self._partial = b""

    def _emit(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        self.last_lines.append(text)
        if self._on_line is not None:
            self._on_line(text)
