"""Trackers beside MLflow: real event files, a real offline W&B run, and sentences before training starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from llmops_assets.training.job import TrainingJob
from llmops_assets.training.trackers import TrackerNotReady, open_trackers, require_trackers
from llmops_assets_tests.training.control.tiny_run import tiny_job

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def untracked(state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No tracker is configured, and no key of whoever runs the tests is found."""
    for name in [*filter(lambda name: name.startswith("WANDB_"), os.environ), "MLFLOW_RUN_ID"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(state_folder))
    monkeypatch.delenv("NETRC", raising=False)
    return state_folder


def log_steps(job: TrainingJob, *steps: int, first_step: int = 0) -> None:
    with open_trackers(job, first_step=first_step) as tracker:
        assert tracker is not None
        for step in steps:
            tracker.log(step, {"loss": float(step), "eval_loss": step / 2})


def test_tensorboard_gets_each_figure_and_a_resumed_run_replaces_the_steps_that_run_again(untracked: Path) -> None:
    job = tiny_job(untracked, report_to=["tensorboard"])
    log_steps(job, 1, 2, 3)
    log_steps(job, 3, 4, first_step=2)
    events = EventAccumulator(str(untracked / "tensorboard" / "tiny" / "sft_adapter" / ("f" * 12)))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("loss")] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert events.Scalars("eval_loss")[-1].value == 2.0


def test_resumed_run_gives_its_own_mlflow_run_the_curve_before_it(
    untracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny_job(untracked, report_to=["tensorboard"])
    client = MlflowClient(tracking_uri=f"sqlite:///{untracked / 'mlflow.db'}")
    experiment = client.create_experiment("tiny", artifact_location=str(untracked / "artifacts"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{untracked / 'mlflow.db'}")
    runs = [client.create_run(experiment).info.run_id for _ in range(2)]
    job.output_dir.mkdir()
    # Step 3 was logged, but the checkpoint is of step 2; the last line was being written when the run was killed.
    lines = [f'{{"step": {step}, "loss": {step}.0, "eval_loss": {step / 2}}}\n' for step in (1, 2, 3)]
    (job.output_dir / "metrics.jsonl").write_text("".join(lines) + '{"step": 4, "lo')
    monkeypatch.setenv("MLFLOW_RUN_ID", runs[0])
    log_steps(job, 1, 2, 3)
    monkeypatch.setenv("MLFLOW_RUN_ID", runs[1])
    log_steps(job, 3, 4, first_step=2)

    whole = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    for name, share in (("loss", 1.0), ("eval_loss", 0.5)):
        history = client.get_metric_history(runs[1], name)
        assert sorted((metric.step, metric.value) for metric in history) == [(s, v * share) for s, v in whole]
    assert len(client.get_metric_history(runs[0], "loss")) == 3, "the run of the first attempt keeps what it had"
    assert not client.get_metric_history(runs[1], "step")
    events = EventAccumulator(str(untracked / "tensorboard" / "tiny" / "sft_adapter" / ("f" * 12)))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("loss")] == whole, "no point of it is doubled"


def test_missing_package_is_said_before_training_starts(untracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tiny_job(untracked, report_to=["tensorboard"])
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    with pytest.raises(TrackerNotReady, match=r"report_to: tensorboard is not installed here; run `pip install"):
        require_trackers(job.spec)


def test_missing_wandb_key_is_said_before_training_starts(untracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny_job(untracked, report_to=["wandb"]).spec
    with pytest.raises(TrackerNotReady, match="needs the environment variable WANDB_API_KEY"):
        require_trackers(spec)
    (untracked / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    (untracked / ".netrc").chmod(0o600)
    require_trackers(spec)
    (untracked / ".netrc").unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    require_trackers(spec)


def test_offline_wandb_run_lies_in_the_state_folder_and_holds_no_secret(untracked: Path) -> None:
    secret = "k" * 40
    job_file = untracked / "job.json"
    job_file.write_text(tiny_job(untracked, report_to=["wandb"]).model_dump_json())
    script = (
        "import sys; from llmops_assets.training.job import TrainingJob\n"
        "from llmops_assets.training.trackers import open_trackers\n"
        "job = TrainingJob.model_validate_json(open(sys.argv[1]).read())\n"
        "with open_trackers(job) as tracker: tracker.log(1, {'loss': 2.5})\n"
    )
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_API_KEY": secret, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", script, str(job_file)]
    done = subprocess.run(command, env=environment, cwd=untracked, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (record,) = (untracked / "wandb").glob("offline-run-*/run-*.wandb")
    content = record.read_bytes()
    assert b"learning_rate" in content
    assert b"tiny/sft_adapter" in content
    files = [file for file in (untracked / "wandb").rglob("*") if file.is_file()]
    assert not [file for file in files if secret.encode() in file.read_bytes()]
    assert secret not in done.stdout + done.stderr


def test_other_ranks_track_nothing(untracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with open_trackers(tiny_job(untracked, report_to=["tensorboard"])) as tracker:
        assert tracker is None
    assert not (untracked / "tensorboard").exists()
