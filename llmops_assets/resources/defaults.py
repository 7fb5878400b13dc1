"""The resources as the environment describes them; Dagster and the command line use the same ones."""

from pathlib import Path

from llmops_assets import settings
from llmops_assets.resources.artifacts import ArtifactStore
from llmops_assets.resources.data_workers import DataWorkers
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.resources.tracking import Tracking
from llmops_assets.resources.trainer import Trainer


def artifact_store() -> ArtifactStore:
    """Return the artifact store of this environment."""
    return ArtifactStore(root=settings.artifact_root(), staging=str(settings.state_dir() / "staging"))


def feedback_resource() -> FeedbackResource:
    """Return the feedback store of this environment; a local SQLite file's folder is created."""
    url = settings.feedback_url()
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return FeedbackResource(url=url)


def data_workers() -> DataWorkers:
    """Return the workers for data of this environment."""
    return DataWorkers(name=settings.data_workers())


def trainer() -> Trainer:
    """Return the trainer of this environment."""
    return Trainer.model_validate({"memory_check": settings.memory_check()})


def default_resources() -> dict[str, object]:
    """Return the resources that `definitions.py` hands to every asset, sensor and schedule."""
    return {
        "artifacts": artifact_store(),
        "feedback": feedback_resource(),
        "data_workers": data_workers(),
        "trainer": trainer(),
        "tracking": Tracking(
            uri=settings.tracking_uri(),
            artifact_root=str(settings.state_dir() / "mlflow" / "artifacts"),
            ui_url=settings.mlflow_ui_url(),
            dagster_url=settings.dagster_ui_url(),
        ),
    }
