"""A full disk, said in a sentence: which folder, how much is free, and what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmops_assets.errors import LlmopsError

# No space, no quota left, or larger than `ulimit -f` allows.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# torch and safetensors write in C++ and Rust, and raise errors of their own, with the reason in the text or without it.
_REASONS = {os.strerror(number): os.strerror(number) for number in _NO_ROOM}
_TORCH_WRITER = ("PytorchStreamWriter failed", ". unexpected pos ", "basic_ios::clear: iostream error")
_REASONS |= dict.fromkeys(_TORCH_WRITER, "a file could not be written to its end")

_RESERVE = "room-for-last-words"
_RESERVE_BYTES = 16 * 1024


class DiskFull(LlmopsError):
    """Something could not be written because there is no room for it."""


@contextmanager
def room_for(what: str, folder: Path, advice: str) -> Iterator[None]:
    """Turn the errors of a full disk inside the block into DiskFull; others pass.

    Args:
        what: What is being written, as the subject of a sentence, e.g. `a checkpoint`.
        folder: Where; its file system's free space is named.
        advice: What happens to the work so far, e.g. `the next attempt resumes from step 50`.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        reason = no_room(error)
        if reason is None:
            raise
        raise DiskFull(
            f"{what} could not be written to {folder}: {reason}; {_free(folder)}. Free some space or move the folder "
            f"to a larger disk, then start the run again: {advice}"
        ) from error


def no_room(error: BaseException | None) -> str | None:
    """Return why `error`, or an error that led to it, means that there is no room to write; None for other errors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return os.strerror(error.errno)
        if not isinstance(error, LlmopsError):
            for text, reason in _REASONS.items():
                if text in str(error):
                    return reason
        error = error.__cause__ or error.__context__
    return None


def set_room_aside(folder: Path) -> None:
    """Occupy a little of the disk, so that a run that fills it can still say so; `give_room_back` frees it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _RESERVE).write_bytes(b"\0" * _RESERVE_BYTES)


def give_room_back(folder: Path) -> None:
    """Free what `set_room_aside` occupied; any rank may do so, also more than once."""
    (folder / _RESERVE).unlink(missing_ok=True)


def _free(folder: Path) -> str:
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    usage = shutil.disk_usage(existing)
    return f"{usage.free / 2**20:,.0f} MiB of {usage.total / 2**20:,.0f} MiB are free there"
