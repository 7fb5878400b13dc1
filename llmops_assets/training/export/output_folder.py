"""A folder that appears whole or not at all, with the digests of what it holds."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from llmops_assets.errors import LlmopsError
from llmops_assets.training.digests import file_sha256
from llmops_assets.training.disk_space import room_for


class OutputExists(LlmopsError):
    """The folder to export into holds something already."""


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `target` that is renamed to it at the end of the block, or removed by an error.

    A server that was told about a version's folder must never see its content change, so nothing is overwritten.

    Raises OutputExists, and DiskFull with the free space.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputExists(f"{target} holds something already, and exports are never overwritten; name another folder")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    try:
        with room_for("the export", target.parent, "nothing was left behind"):
            partial.mkdir(parents=True)
            yield partial
            for file in _files(partial):
                file.chmod(0o644)  # some libraries write for the owner alone
                _sync(file)
            partial.replace(target)
            _sync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file under `folder`, by its relative path."""
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in _files(folder)}


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the tokenizer's files and its chat template, without what transformers notes about where they came from."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    for key in ("is_local", "local_files_only"):
        config.pop(key, None)
    file.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
