"""All trackers of a run: MLflow where the environment names a run, TensorBoard and W&B where the spec asks for them."""

import importlib.util
import netrc
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from llmops_assets import settings
from llmops_assets.errors import LlmopsError
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.process import is_main_rank
from llmops_assets.training.progress import METRICS_FILE, read_metrics
from llmops_assets.training.specs import StageSpec
from llmops_assets.training.system_metrics import SystemMetrics
from llmops_assets.training.tracking import MlflowRun, Tracker, without_credentials

_WANDB_SERVER = "https://api.wandb.ai"


class TrackerNotReady(LlmopsError):
    """The spec asks for a tracker that cannot start: its package or its key is missing."""


class TensorBoard:
    """Event files under `<state folder>/tensorboard/<recipe>/<asset>/<fingerprint>`.

    They lie apart from the artifact, whose files are what its version is the hash of, and stay when it is deleted.
    `tensorboard --logdir` on that folder, or on one above it, shows runs while they train, and beside each other.
    """

    def __init__(self, job: TrainingJob, *, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = settings.state_dir() / "tensorboard" / job.recipe / job.asset / job.fingerprint[:12]
        # Steps that run again, after a resume or from the start, replace those of the first time.
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Write one point for each figure, at `step`."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class WandbRun:
    """A run of Weights & Biases: project `WANDB_PROJECT` (default: the recipe), named `<recipe>/<asset>`.

    A resumed training goes on in the same run. It is given the settings of the job and nothing of the environment, of
    the source code or of the terminal. `WANDB_MODE=offline` writes to `WANDB_DIR` (default: the state folder), and
    `wandb sync` uploads it later.
    """

    def __init__(self, job: TrainingJob) -> None:
        import wandb

        folder = os.environ.get("WANDB_DIR", str(settings.state_dir()))
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - wandb falls back to the working folder without it
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", job.recipe),
            name=f"{job.recipe}/{job.asset}",
            id=f"{job.recipe}-{job.asset}-{job.fingerprint[:12]}",
            resume="allow" if not _wandb_is_local() else None,
            dir=folder,
            config=job.spec.model_dump(mode="json") | {"fingerprint": job.fingerprint, "inputs": job.inputs},
            tags=[job.spec.stage],
            settings=wandb.Settings(console="off", disable_git=True, disable_code=True, silent=True, init_timeout=30),
        )

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Hand the figures at `step` to W&B's own process, which uploads them."""
        self._run.log(metrics, step=step)

    def close(self) -> None:
        """Wait until W&B's process has what was logged."""
        self._run.finish()


class Trackers:
    """Several trackers as one."""

    def __init__(self, trackers: list[Tracker]) -> None:
        self._trackers = trackers

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Hand `metrics` to each."""
        for tracker in self._trackers:
            tracker.log(step, metrics)

    def close(self) -> None:
        """Close each."""
        for tracker in self._trackers:
            tracker.close()


def require_trackers(spec: StageSpec) -> None:
    """Raise TrackerNotReady, with what to do, if a tracker of `report_to` cannot start. Asks no server."""
    packages = {"tensorboard": "tensorboard", "wandb": "wandb"}
    missing = [name for name in spec.report_to if importlib.util.find_spec(packages[name]) is None]
    if missing:
        raise TrackerNotReady(
            f"report_to: {', '.join(missing)} is not installed here; run `pip install -e '.[trackers]'`, or take it "
            "out of report_to"
        )
    if "wandb" in spec.report_to and not _wandb_is_local() and not _has_wandb_key():
        raise TrackerNotReady(
            "report_to: wandb needs the environment variable WANDB_API_KEY, and it is not set; set it, or "
            "WANDB_MODE=offline to write to the disk and upload later with `wandb sync`, or take wandb out of report_to"
        )


@contextmanager
def open_trackers(job: TrainingJob, *, first_step: int = 0) -> Iterator[Tracker | None]:
    """Yield what the figures of a run go to, on rank 0 with the system's own figures; None on every other rank.

    Every tracker is closed at the end, however the run ends. `first_step` is the step that a run resumes from: MLflow,
    where each attempt has a run of its own, is given the figures up to it again; the others still have them.

    Raises TrackerNotReady; a tracking server that does not answer is said and left out.
    """
    require_trackers(job.spec)
    if not is_main_rank():
        yield None
        return
    with ExitStack() as closing:
        mlflow = MlflowRun.from_environment()
        opened: list[Tracker] = [mlflow] if mlflow is not None else []
        if mlflow is not None and first_step:
            mlflow.replay([row for row in read_metrics(job.output_dir / METRICS_FILE) if row["step"] <= first_step])
        if "tensorboard" in job.spec.report_to:
            opened.append(TensorBoard(job, first_step=first_step))
        if "wandb" in job.spec.report_to and (wandb := _open_wandb(job)) is not None:
            opened.append(wandb)
        for tracker in opened:
            closing.callback(tracker.close)
        if mlflow is not None:
            closing.enter_context(SystemMetrics(mlflow))
        yield Trackers(opened) if opened else None


def _open_wandb(job: TrainingJob) -> WandbRun | None:
    from wandb.errors import AuthenticationError, Error

    try:
        return WandbRun(job)
    except AuthenticationError as error:
        raise TrackerNotReady(
            f"report_to: wandb refuses the key in WANDB_API_KEY ({without_credentials(str(error))})"
        ) from error
    except Error as error:
        reason = without_credentials(str(error))
        print(f"W&B does not take metrics ({reason}); training goes on without", file=sys.stderr, flush=True)
        return None


def _wandb_is_local() -> bool:
    return os.environ.get("WANDB_MODE", "online") in ("offline", "disabled", "dryrun")


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _WANDB_SERVER)).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
