"""`make dev`: the Dagster UI with its daemon, and the MLflow UI, until Ctrl-C."""

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from subprocess import Popen

from llmops_assets.errors import LlmopsError
from llmops_assets.launchers.run_supervisor import tail_of_log
from llmops_assets.resources.background_process import background_process
from llmops_assets.settings import state_dir, tracking_uri

_ROOT = Path(__file__).resolve().parent.parent
_HOST = "127.0.0.1"  # neither server has a login, so neither leaves this machine
_START_SECONDS = 120


class ServerEnded(LlmopsError):
    """One of the servers ended by itself; the message says where its log is."""


def run_dev_servers(dagster_port: int, mlflow_port: int) -> None:
    """Serve until interrupted, then stop both servers. Runs that were launched go on: they are not their children.

    Raises:
        ServerEnded: a server did not come up or ended, e.g. because its port is taken.
    """
    logs = state_dir() / "logs"
    (state_dir() / "mlflow").mkdir(parents=True, exist_ok=True)
    dagster = [sys.executable, "-m", "dagster", "dev", "-w", str(_ROOT / "workspace.yaml")]
    mlflow = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri()]
    mlflow += ["--default-artifact-root", str(state_dir() / "mlflow" / "artifacts"), "--workers", "1"]
    with (
        background_process(
            [*dagster, "-h", _HOST, "-p", str(dagster_port)], cwd=_ROOT, log=logs / "dagster-dev.log"
        ) as dagster_process,
        background_process(
            [*mlflow, "--host", _HOST, "--port", str(mlflow_port)], cwd=_ROOT, log=logs / "mlflow.log"
        ) as mlflow_process,
    ):
        servers = {
            "Dagster UI": (f"http://{_HOST}:{dagster_port}", dagster_process, logs / "dagster-dev.log"),
            "MLflow UI": (f"http://{_HOST}:{mlflow_port}", mlflow_process, logs / "mlflow.log"),
        }
        try:
            for name, (url, process, log) in servers.items():
                _await_answer(name, url, process, log)
                print(f"{name:<11} {url}", flush=True)
            print("Ctrl-C stops both; runs under way go on.", flush=True)
            while True:
                time.sleep(1)
                for name, (_, process, log) in servers.items():
                    _require_alive(name, process, log)
        except KeyboardInterrupt:
            print("\nStopping", flush=True)


def _await_answer(name: str, url: str, process: "Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        _require_alive(name, process, log)
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise ServerEnded(f"{name} does not answer at {url} after {_START_SECONDS} s; its log is {log}")


def _require_alive(name: str, process: "Popen[bytes]", log: Path) -> None:
    if process.poll() is not None:
        raise ServerEnded(
            f"{name} ended with code {process.returncode}. The end of {log}:\n{tail_of_log(log, lines=15)}"
        )
