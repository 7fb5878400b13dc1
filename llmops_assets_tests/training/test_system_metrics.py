"""How busy the machine is arrives in a real MLflow run, and ends with the training."""

import threading
from pathlib import Path

from mlflow.tracking import MlflowClient

from llmops_assets.training.system_metrics import SystemMetrics, sample
from llmops_assets.training.tracking import MlflowRun


def test_processor_and_memory_arrive_in_the_run_and_the_sampler_ends_with_it(tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.create_experiment("tiny", artifact_location=str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    run, enough = MlflowRun(client, run_id), threading.Event()

    class Counting:
        def log(self, step: int, metrics: dict[str, float]) -> None:
            run.log(step, metrics)
            if step == 2:
                enough.set()

        def close(self) -> None:
            run.close()

    with SystemMetrics(Counting(), seconds=0.02):
        assert enough.wait(60)
    run.close()
    history = client.get_metric_history(run_id, "system/cpu_utilization_percentage")
    assert [metric.step for metric in history][:3] == [0, 1, 2]
    assert client.get_run(run_id).data.metrics["system/training_process_memory_megabytes"] > 50
    assert "system-metrics" not in [thread.name for thread in threading.enumerate()]


def test_a_sample_has_percentages_of_this_machine() -> None:
    figures = sample()
    assert 0 < figures["system/system_memory_usage_percentage"] <= 100
    assert 0 <= figures["system/cpu_utilization_percentage"] <= 100
