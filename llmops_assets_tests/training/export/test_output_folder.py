"""Exports appear whole or not at all, and never change."""

from pathlib import Path

import pytest

from llmops_assets.training.export.output_folder import OutputExists, appearing, digests


def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), appearing(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_export_do_not_get_into_the_next(tmp_path: Path) -> None:
    with appearing(tmp_path / "out") as folder:
        left = folder
    left.mkdir()
    (left / "stale").write_text("x")
    (tmp_path / "out").rmdir()
    with appearing(tmp_path / "out") as folder:
        (folder / "fresh").write_text("y")
    assert list(digests(tmp_path / "out")) == ["fresh"]


def test_folder_in_use_is_not_overwritten_but_an_empty_one_is_filled(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with appearing(target) as folder:
        (folder / "first").write_text("x")
        (folder / "first").chmod(0o600)
    assert (target / "first").stat().st_mode & 0o777 == 0o644
    with pytest.raises(OutputExists, match="never overwritten"), appearing(target):
        pytest.fail("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
