"""MLflow as a Dagster resource: one run per training, linked both ways, and the registry's aliases."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from llmops_assets.training.tracking import PATIENCE, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"


# MLflow takes so many parameters, and metrics, in one request.
_PARAMS_PER_REQUEST = 100
_METRICS_PER_REQUEST = 1000


@dataclass(frozen=True)
class TrackedRun:
    """An MLflow run that a training process reports to; without an id if the server was away when it was opened."""

    run_id: str | None
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
        """Open an MLflow run, yield it for the worker, and end it FINISHED, or FAILED if the block raises.

        A server that is away costs the run its tracking, not its training: that is said in the log of the Dagster run.
        """
        run_id, url, status = None, self.ui_url, "FAILED"
        with self._at_most_a_warning("the training goes on untracked"):
            run_id, url = self._start_run(experiment, name, dagster_run_id, tags, params)
        environment = {} if run_id is None else {"MLFLOW_TRACKING_URI": self.uri, "MLFLOW_RUN_ID": run_id}
        try:
            yield TrackedRun(run_id=run_id, url=url, environment=environment)
            status = "FINISHED"
        finally:
            if run_id is not None:
                with self._at_most_a_warning(f"run {run_id} stays open there"):
                    self._client().set_terminated(run_id, status)

    def log_outcome(self, run_id: str | None, metrics: dict[str, float], files: list[Path], *, step: int = 0) -> None:
        """Attach final figures, as they are after `step`, and small files (loss curve, run card, manifest) to a run.

        Does nothing for a run without id, and nothing but a warning while the server is away.
        """
        if run_id is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        figures = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        with self._at_most_a_warning(f"run {run_id} lacks its outcome"):
            client = self._client()
            for first in range(0, len(figures), _METRICS_PER_REQUEST):
                client.log_batch(run_id, metrics=figures[first : first + _METRICS_PER_REQUEST])
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

    def _start_run(
        self, experiment: str, name: str, dagster_run_id: str, tags: dict[str, str], params: dict[str, Any]
    ) -> tuple[str, str]:
        """Create a run with its parameters; return its id and the address of its page."""
        from mlflow.entities import Param

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
        logged = [Param(key, str(value)) for key, value in params.items()]
        for first in range(0, len(logged), _PARAMS_PER_REQUEST):
            client.log_batch(run_id, params=logged[first : first + _PARAMS_PER_REQUEST])
        return run_id, f"{self.ui_url}/#/experiments/{run.info.experiment_id}/runs/{run_id}"

    @contextmanager
    def _at_most_a_warning(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a store, a proxy or a network may raise anything; none of it is worth a training
            reason = without_credentials(str(error))
            dg.get_dagster_logger("tracking").warning(
                f"MLflow at {without_credentials(self.uri)} does not answer as it should, {consequence}: {reason}"
            )

    def _client(self) -> "MlflowClient":
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
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
