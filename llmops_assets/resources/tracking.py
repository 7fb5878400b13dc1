"""MLflow as a Dagster resource: one run per training, linked both ways, and the registry's aliases."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class TrackedRun:
    """An MLflow run that a training process reports to."""

    run_id: str
    url: str
    environment: dict[str, str]


class Tracking(dg.ConfigurableResource):
    """Creates MLflow runs and moves `champion` and `challenger`; an embedded SQLite server-less store by default."""

    uri: str = Field(description="MLflow tracking URI.")
    artifact_root: str = Field(description="Where MLflow keeps the files of runs when the URI is a local database.")
    ui_url: str = Field(description="Address of the MLflow UI, for links.")
    dagster_url: str = Field(description="Address of the Dagster UI, for links back.")

    @contextmanager
    def training_run(
        self, *, experiment: str, name: str, dagster_run_id: str, tags: dict[str, str], params: dict[str, Any]
    ) -> Iterator[TrackedRun]:
        """Open an MLflow run, yield it for the worker, and end it FINISHED, or FAILED if the block raises."""
        client = self._client()
        run = client.create_run(
            self._experiment(client, experiment),
            run_name=name,
            tags={
                **tags,
                "dagster/run_id": dagster_run_id,
                "dagster/run_url": f"{self.dagster_url}/runs/{dagster_run_id}",
                "mlflow.note.content": f"Started by Dagster run {self.dagster_url}/runs/{dagster_run_id}",
            },
        )
        run_id = run.info.run_id
        for key, value in params.items():
            client.log_param(run_id, key, value)
        status = "FAILED"
        try:
            yield TrackedRun(
                run_id=run_id,
                url=f"{self.ui_url}/#/experiments/{run.info.experiment_id}/runs/{run_id}",
                environment={"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_RUN_ID": run_id},
            )
            status = "FINISHED"
        finally:
            client.set_terminated(run_id, status)

    def log_outcome(self, run_id: str, metrics: dict[str, float], files: list[Path]) -> None:
        """Attach final figures and small files (loss curve, manifest) to a run."""
        client = self._client()
        for key, value in metrics.items():
            client.log_metric(run_id, key, value)
        for file in files:
            client.log_artifact(run_id, str(file))

    def register_version(self, *, model: str, source: str, run_id: str | None, tags: dict[str, str]) -> str:
        """Return the registry version whose source is `source`, created on first sight."""
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for version in client.search_model_versions(f"name='{model}'"):
            if version.source == source:
                return str(version.version)
        return str(client.create_model_version(model, source=source, run_id=run_id, tags=tags).version)

    def set_alias(self, *, model: str, alias: Literal["champion", "challenger"], version: str) -> None:
        """Point `alias` of the registered `model` at `version`."""
        self._client().set_registered_model_alias(model, alias, version)

    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        if self.uri.startswith(_SQLITE):
            Path(self.uri.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _experiment(self, client: "MlflowClient", name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        location = f"{self.artifact_root}/{name}" if self.uri.startswith(_SQLITE) else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            again = client.get_experiment_by_name(name)
            assert again is not None, f"MLflow says that experiment {name} exists, and does not return it"
            return again.experiment_id
