"""An `nvidia-smi` for machines without a GPU: an executable that prints what the real one printed elsewhere."""

from pathlib import Path

import pytest

TWO_A10G = """\
0, GPU-2d1f1a3c-7a44-0c1b-9d3e-5f0a4be7c111, NVIDIA A10G, 23028, 22515
1, GPU-9b7e64f0-11d2-4c0e-8f6a-77c3a1d20222, NVIDIA A10G, 23028, 10240
"""


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, output: str = TWO_A10G, code: int = 0) -> None:
    """Make `nvidia-smi` on PATH print `output` and end with `code`; CUDA_VISIBLE_DEVICES is not set."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "output.txt").write_text(output)
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\nwhile read -r line; do echo "$line"; done < "{folder}/output.txt"\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
