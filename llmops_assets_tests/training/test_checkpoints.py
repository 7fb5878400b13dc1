"""Which checkpoints a run may resume from, and which are deleted."""

import shutil
from pathlib import Path

import pytest

from llmops_assets.training.checkpoints import (
    MARKER,
    discard_torn,
    latest_complete,
    mark_complete,
    prune,
    seconds_of,
    world_sizes_of,
)


def checkpoint(folder: Path, step: int, fingerprint: str | None = "job") -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "global_step").mkdir(parents=True)
    (path / "trainer_state.json").write_text("{}")
    (path / "global_step" / "optimizer.pt").write_bytes(b"0" * 100)
    if fingerprint is not None:
        mark_complete(path, fingerprint, {0: 1})
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_newest_whole_checkpoint_wins_by_number_not_by_name(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    assert latest_complete(tmp_path, "job") == newest


def test_checkpoint_without_marker_is_skipped(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 5)
    checkpoint(tmp_path, 10, fingerprint=None)
    assert latest_complete(tmp_path, "job") == whole


def test_checkpoint_with_a_cut_or_missing_file_is_skipped(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 5)
    (checkpoint(tmp_path, 10) / "global_step" / "optimizer.pt").write_bytes(b"0" * 99)
    (checkpoint(tmp_path, 15) / "trainer_state.json").unlink()
    assert latest_complete(tmp_path, "job") == whole


def test_checkpoint_with_a_flipped_byte_is_skipped(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 5)
    (checkpoint(tmp_path, 10) / "global_step" / "optimizer.pt").write_bytes(b"0" * 99 + b"1")
    assert latest_complete(tmp_path, "job") == whole


@pytest.mark.parametrize("text", ["", "[]", '{"fingerprint": "job"}', '{"fingerprint": "job", "files": {"trainer_st'])
def test_checkpoint_with_a_torn_marker_is_skipped(tmp_path: Path, text: str) -> None:
    (checkpoint(tmp_path, 10) / MARKER).write_text(text)
    assert latest_complete(tmp_path, "job") is None


def test_checkpoint_of_another_job_is_never_resumed(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5, fingerprint="other")
    assert latest_complete(tmp_path, "job") is None


def test_no_folder_means_no_checkpoint(tmp_path: Path) -> None:
    assert latest_complete(tmp_path / "absent", "job") is None


def test_a_checkpoint_remembers_how_many_ranks_trained_from_which_step_on_and_how_long(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 20, fingerprint=None)
    mark_complete(path, "job", {0: 2, 10: 1}, seconds=12.5)
    assert world_sizes_of(path) == {0: 2, 10: 1}
    assert seconds_of(path) == 12.5


def test_prune_keeps_the_newest_whole_ones_and_removes_torn_ones_before_them(tmp_path: Path) -> None:
    for step in (5, 10, 20, 25):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 15, fingerprint=None)
    prune(tmp_path, "job", keep=2)
    assert names(tmp_path) == ["checkpoint-20", "checkpoint-25"]


def test_prune_deletes_nothing_while_no_checkpoint_is_whole(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5, fingerprint=None)
    prune(tmp_path, "job", keep=1)
    assert (tmp_path / "checkpoint-5").is_dir()


def test_prune_removes_conversions_that_a_later_checkpoint_has_made_useless(tmp_path: Path) -> None:
    shutil.copytree(checkpoint(tmp_path, 5), tmp_path / "universal-5")
    (tmp_path / "universal-5.tmp").mkdir()
    checkpoint(tmp_path, 10)
    prune(tmp_path, "job", keep=1)
    assert names(tmp_path) == ["checkpoint-10"]


def test_torn_checkpoints_after_the_one_resumed_from_are_discarded(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5)
    whole = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 15, fingerprint=None)
    (tmp_path / "universal-15.tmp").mkdir()
    discard_torn(tmp_path, whole)
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-5"]
    discard_torn(tmp_path, None)
    assert names(tmp_path) == []
