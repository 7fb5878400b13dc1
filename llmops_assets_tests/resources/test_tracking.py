"""One MLflow run per training in a real store; a server that is away costs the tracking alone."""

import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from llmops_assets.resources.tracking import TrackedRun, Tracking


def tracking(uri: str, folder: Path) -> Tracking:
    return Tracking(uri=uri, artifact_root=str(folder / "artifacts"), ui_url="http://ui", dagster_url="http://dagster")


def train(tracked: Tracking, folder: Path) -> TrackedRun:
    card = folder / "run_card.json"
    card.write_text("{}")
    params = {f"key_{number}": number for number in range(130)}
    with tracked.training_run(
        experiment="tiny", name="tiny/sft_adapter", dagster_run_id="d1", tags={"a": "b"}, params=params
    ) as run:
        tracked.log_outcome(run.run_id, {"loss": 1.5, "gpu_hours": 0.0}, [card], step=60)
    return run


def test_run_has_its_parameters_its_outcome_at_the_last_step_and_its_files(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run = train(tracking(uri, tmp_path), tmp_path)
    assert run.run_id is not None
    assert run.environment == {"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": run.run_id}
    assert run.url.endswith(run.run_id)
    client = MlflowClient(tracking_uri=uri)
    kept = client.get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert len(kept.data.params) == 130
    assert [(metric.step, metric.value) for metric in client.get_metric_history(run.run_id, "loss")] == [(60, 1.5)]
    assert [file.path for file in client.list_artifacts(run.run_id)] == ["run_card.json"]


def test_run_of_a_training_that_failed_is_marked_so(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with (
        pytest.raises(RuntimeError, match="diverged"),
        tracking(uri, tmp_path).training_run(
            experiment="tiny", name="tiny/sft_adapter", dagster_run_id="d1", tags={}, params={}
        ) as run,
    ):
        raise RuntimeError("diverged")
    assert run.run_id is not None
    assert MlflowClient(tracking_uri=uri).get_run(run.run_id).info.status == "FAILED"


def test_server_that_is_away_costs_the_tracking_alone_and_keeps_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    run = train(tracking(f"http://user:pa55@127.0.0.1:{port}", tmp_path), tmp_path)
    assert run == TrackedRun(run_id=None, url="http://ui", environment={})
    assert "training goes on untracked" in caplog.text
    assert "pa55" not in caplog.text
