"""What all tests share: no hub, no telemetry, and a state folder of their own."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point every default location at a temporary folder."""
    folder = tmp_path / "state"
    folder.mkdir()
    monkeypatch.setenv("LLMOPS_STATE_DIR", str(folder))
    for name in ("LLMOPS_ARTIFACTS_URL", "LLMOPS_FEEDBACK_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return folder
