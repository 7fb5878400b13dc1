"""The long-lived services of an instance (code server, daemon, webserver), each started, killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path

import psutil

from llmops_assets.launchers.run_supervisor import tail_of_log
from llmops_assets.resources.background_process import SERVICE_MARKER
from llmops_assets.resources.process_tree import marked_processes, stop_processes
from llmops_assets_tests.chaos.waiting import NeverHappened, wait_for

HOST = "127.0.0.1"
_GRACE_SECONDS = 10.0


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Service:
    """One process with its own log and marker; `kill` is SIGKILL, as a crash or the kernel's OOM killer would."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.marker = uuid.uuid4().hex
        self._command = command
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start the process in a session of its own."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                self._command,
                env={**self._environment, SERVICE_MARKER: self.marker},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9 of this one process; what it started stays."""
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def interrupt(self) -> int:
        """Ctrl-C: SIGINT, and the exit code of the process once it has ended."""
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=120)

    def stop(self) -> None:
        """End the process and everything that it left behind."""
        stop_processes(lambda: marked_processes(SERVICE_MARKER, self.marker), _GRACE_SECONDS)
        if self._process is not None:
            self._process.wait()

    def require_alive(self) -> None:
        """Raises `NeverHappened` with the end of the log if the process has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            raise NeverHappened(f"{self.name} ended by itself; the end of {self.log}:\n{tail_of_log(self.log)}")


class Services:
    """Code server, daemon and webserver of one instance, as they run on a server: apart from each other."""

    def __init__(self, folder: Path, environment: Mapping[str, str], location: str) -> None:
        self.environment = dict(environment)
        grpc, web = free_port(), free_port()
        self.url = f"http://{HOST}:{web}"
        workspace = folder / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - grpc_server: {{host: {HOST}, port: {grpc}, location_name: {location}}}\n"
        )
        module = [sys.executable, "-m"]
        commands = {
            "code server": [
                *(*module, "dagster", "api", "grpc", "-h", HOST, "-p", str(grpc)),
                *("-m", "llmops_assets.definitions", "--location-name", location),
            ],
            "daemon": [*module, "dagster._daemon", "run", "-w", str(workspace)],
            "webserver": [*module, "dagster_webserver", "-h", HOST, "-p", str(web), "-w", str(workspace)],
        }
        logs = folder / "logs"
        self._services = {
            name: Service(name, command, environment, logs / f"{name.replace(' ', '-')}.log")
            for name, command in commands.items()
        }
        self._grpc_port = grpc

    def __getitem__(self, name: str) -> Service:
        return self._services[name]

    def markers(self) -> set[str]:
        """The markers of these services' processes."""
        return {service.marker for service in self._services.values()}

    def start(self) -> None:
        """Start all three and wait until the UI's API answers."""
        self._services["code server"].start()
        self.await_code_server()
        self._services["daemon"].start()
        self._services["webserver"].start()
        self.await_webserver()

    def stop(self) -> None:
        """End all three, the daemon first, so that it starts nothing meanwhile."""
        for name in ("daemon", "webserver", "code server"):
            self._services[name].stop()

    def await_code_server(self) -> None:
        """Wait until the code server takes connections."""
        wait_for(lambda: self._alive("code server") and _listens(self._grpc_port), "the code server's port")

    def await_webserver(self) -> None:
        """Wait until the webserver answers."""
        wait_for(lambda: self._alive("webserver") and answers(self.url), "the webserver's answer")

    def _alive(self, name: str) -> bool:
        self._services[name].require_alive()
        return True


def answers(url: str) -> bool:
    """Whether an HTTP server answers at `url`."""
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def environment_of(process: psutil.Process) -> dict[str, str]:
    """A process' environment; empty for one that has ended or belongs to another user."""
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return {}


def own_environment(**changes: str) -> dict[str, str]:
    """This process' environment without what would point at another instance, and with `changes`."""
    foreign = (
        "LLMOPS_ARTIFACTS_URL",
        "LLMOPS_FEEDBACK_URL",
        "MLFLOW_TRACKING_URI",
        "LLMOPS_POSTGRES_URL",
        "RAY_TMPDIR",
    )
    return {name: value for name, value in os.environ.items() if name not in foreign} | changes
