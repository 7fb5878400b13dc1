"""Resuming a ZeRO run on another number of ranks: its checkpoint is first converted to DeepSpeed's universal format.

A ZeRO checkpoint is one optimizer shard per rank, which DeepSpeed loads on the same number of ranks only. The universal
format (Lian et al. 2024, arXiv 2406.18820) holds each parameter's float32 master and moments whole.
"""

import contextlib
import io
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

from llmops_assets.errors import LlmopsError
from llmops_assets.training.checkpoints import CONVERSION_PREFIX, MARKER, step_of


class UnconvertibleCheckpoint(LlmopsError):
    """DeepSpeed cannot convert a checkpoint to its universal format."""


def universal_folder(checkpoint: Path) -> Path:
    """Return where the conversion of `checkpoint` goes: a folder beside it."""
    return checkpoint.with_name(f"{CONVERSION_PREFIX}{step_of(checkpoint)}")


def convert_to_universal(checkpoint: Path) -> Path:
    """Convert a whole ZeRO checkpoint and return the folder to resume from; the checkpoint itself stays as it is.

    The folder appears under its name when it is complete, and an older one is never reused: a conversion takes a
    moment, and one that a crash or a full disk cut is not believed. The random states of the ranks are left out: they
    belong to ranks that there may not be any more.

    Raises UnconvertibleCheckpoint.
    """
    target = universal_folder(checkpoint)
    temporary = target.with_name(f"{target.name}.tmp")
    for folder in (target, temporary):
        shutil.rmtree(folder, ignore_errors=True)
    temporary.mkdir()
    for file in checkpoint.iterdir():
        if file.is_file() and file.name not in (MARKER, "latest") and not file.name.startswith("rng_state"):
            shutil.copy2(file, temporary)
    tag = (checkpoint / "latest").read_text(encoding="utf-8").strip()
    try:
        _convert(checkpoint / tag, temporary / f"{tag}_universal")
    except (AssertionError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UnconvertibleCheckpoint(
            f"{checkpoint}: cannot be converted for another number of ranks ({type(error).__name__}: {error}); resume "
            "it on the number of ranks that wrote it, or delete the folder to resume from an older one"
        ) from error
    temporary.rename(target)
    return target


def loading_universal(deepspeed_config: dict[str, Any] | None) -> dict[str, Any]:
    """Return DeepSpeed's configuration with the loading of universal checkpoints switched on."""
    return {**(deepspeed_config or {}), "checkpoint": {"load_universal": True}}


def _convert(source: Path, target: Path) -> None:
    from deepspeed.checkpoint import ds_to_universal

    arguments = Namespace(
        input_folder=str(source),
        output_folder=str(target),
        # One worker is this process; more are forked from it, with torch's threads in it.
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        # Without pipeline or tensor parallelism the engine writes no universal_checkpoint_info; an empty one will do.
        inject_missing_state=True,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ds_to_universal.main(arguments)
