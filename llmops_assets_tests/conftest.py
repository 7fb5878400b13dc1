"""What all tests share: no hub, no telemetry, a state folder of their own, and PostgreSQL where it can run."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from llmops_assets_tests.postgres_server import running_server, server_binaries, unprivileged_user

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


_database_names = itertools.count()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL pattern of a real server, with `{database}` to fill in."""
    binaries, user = server_binaries(), unprivileged_user()
    if binaries is None or user is None:
        pytest.skip("PostgreSQL's server binaries (Debian: postgresql) or an account to run them are missing")
    with running_server(binaries, user) as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_url: str) -> str:
    """URL of a new, empty database."""
    name = f"test_{next(_database_names)}"
    admin = create_engine(
        postgres_url.format(database="postgres").replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return postgres_url.format(database=name)
