"""Where things lie: the state folder, the configs and the addresses, each from one environment variable."""

import os
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def state_dir() -> Path:
    """The one folder that everything is written under: `LLMOPS_STATE_DIR`, else `.llmops` beside the package."""
    return Path(os.environ.get("LLMOPS_STATE_DIR", _ROOT / ".llmops")).resolve()


def configs_dir() -> Path:
    """The folder with `recipes/` and `deepspeed/`: `LLMOPS_CONFIGS_DIR`, else `configs` beside the package."""
    return Path(os.environ.get("LLMOPS_CONFIGS_DIR", _ROOT / "configs")).resolve()


def artifact_root() -> str:
    """fsspec URL of the artifact store: `LLMOPS_ARTIFACTS_URL`, else a folder under the state folder."""
    return os.environ.get("LLMOPS_ARTIFACTS_URL", str(state_dir() / "artifacts"))


def generation_cache() -> Path:
    """Folder with the responses of generators, by the hash of their request; all recipes share it."""
    return state_dir() / "generation_cache"


def feedback_url() -> str:
    """SQLAlchemy URL of the feedback store: `LLMOPS_FEEDBACK_URL`, else SQLite under the state folder."""
    return os.environ.get("LLMOPS_FEEDBACK_URL", f"sqlite:///{state_dir() / 'feedback' / 'feedback.sqlite'}")


def tracking_uri() -> str:
    """MLflow tracking URI: `MLFLOW_TRACKING_URI`, else SQLite under the state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{state_dir() / 'mlflow' / 'mlflow.sqlite'}")


def memory_check() -> str:
    """What becomes of a training that would not fit its GPUs: `LLMOPS_MEMORY_CHECK`, `refuse` (default) or `warn`."""
    return os.environ.get("LLMOPS_MEMORY_CHECK", "refuse")


def data_workers() -> str:
    """Where the stages of corpora run: `LLMOPS_DATA_WORKERS`, `local` (default), `processes:8` or `ray:64`."""
    return os.environ.get("LLMOPS_DATA_WORKERS", "local")


def mlflow_ui_url() -> str:
    """Address of the MLflow UI that metadata links to."""
    return os.environ.get("LLMOPS_MLFLOW_UI_URL", "http://127.0.0.1:5000").rstrip("/")


def dagster_ui_url() -> str:
    """Address of the Dagster UI that MLflow runs link to."""
    return os.environ.get("LLMOPS_DAGSTER_UI_URL", "http://127.0.0.1:3000").rstrip("/")
