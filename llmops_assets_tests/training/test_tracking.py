"""Metrics reach a real MLflow store, and a store that is away stops nothing."""

import socket
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from llmops_assets.training.tracking import MlflowRun, without_credentials


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def test_metrics_arrive_in_the_run_that_the_environment_names(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("tiny", artifact_location=str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    run = MlflowRun.from_environment()
    assert run is not None
    run.log(5, {"loss": 2.5, "rewards/margins": 0.25})
    run.log(10, {"loss": 2.0})
    run.close()
    assert [(metric.step, metric.value) for metric in client.get_metric_history(run_id, "loss")] == [
        (5, 2.5),
        (10, 2.0),
    ]
    assert client.get_run(run_id).data.metrics["rewards/margins"] == 0.25


def test_without_a_run_in_the_environment_nothing_is_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///unused.db")
    assert MlflowRun.from_environment() is None


def test_store_that_refuses_is_counted_and_said_once(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = MlflowRun(MlflowClient(tracking_uri=uri), "0" * 32)
    run.log(1, {"loss": 1.0})
    run.log(2, {"loss": 1.0})
    run.close()
    assert run.failures == 2
    assert capsys.readouterr().err.count("training goes on") == 1


def test_store_that_does_not_answer_holds_up_no_step_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        monkeypatch.setattr("llmops_assets.training.tracking._SECONDS_TO_FINISH", 0.1)
        run = MlflowRun(MlflowClient(tracking_uri=f"http://127.0.0.1:{silent.getsockname()[1]}"), "0" * 32)
        run.log(1, {"loss": 1.0})
        run.log(2, {"loss": 1.0})
        run.close()
        assert run.failures == 0  # still waiting for an answer, while the training is over


def test_user_and_password_of_a_server_are_not_repeated() -> None:
    said = without_credentials("API request to https://me:pa55@mlflow.example/api failed, see https://mlflow.example/x")
    assert said == "API request to https://***@mlflow.example/api failed, see https://mlflow.example/x"
