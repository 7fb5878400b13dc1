"""Which errors mean a full disk, and what is said about it."""

import errno
from pathlib import Path

import pytest

from llmops_assets.errors import LlmopsError
from llmops_assets.training.disk_space import DiskFull, no_room, room_for


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "write"),
        OSError(errno.EDQUOT, "write"),
        # As safetensors and torch said it on a full tmpfs.
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
        RuntimeError("basic_ios::clear: iostream error"),
    ],
)
def test_a_full_disk_is_recognized_however_it_is_said(error: Exception, tmp_path: Path) -> None:
    said = r"a checkpoint could not be written to .* MiB are free there.*: it resumes"
    with pytest.raises(DiskFull, match=said), room_for("a checkpoint", tmp_path, "it resumes"):
        raise error


def test_an_error_that_followed_from_a_full_disk_is_one_too() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "write")
        except OSError:
            raise ValueError("I/O operation on closed file")  # noqa: B904
    except ValueError as error:
        assert no_room(error) == "No space left on device"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
        PermissionError(errno.EACCES, "write"),
        LlmopsError("advice: No space left on device"),
    ],
)
def test_other_errors_pass(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as passed, room_for("a checkpoint", tmp_path, "it resumes"):
        raise error
    assert passed.value is error
