"""Docker as a place for runs: dagster-docker with time limits, and with an answer for a Docker daemon that is away."""

from typing import Any

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_docker import DockerRunLauncher
from dagster_docker.container_context import DockerContainerContext

from llmops_assets.errors import LlmopsError

_ANSWER_SECONDS = 5
_LOG_LINES = 40


class DockerUnreachable(LlmopsError):
    """There is no Docker daemon at the address that the environment gives."""


class ContainerRunLauncher(DockerRunLauncher):
    """One container per run, configured exactly as `dagster_docker.DockerRunLauncher`.

    What it adds to that class: a daemon that is away is one sentence within seconds; it neither fails a run that is
    under way nor turns a cancel into a run that is CANCELED with its trainer alive. The last lines of a lost worker's
    output are part of the message.
    """

    def _get_client(self, container_context: DockerContainerContext) -> Any:
        """A client of a daemon that answers.

        Raises:
            DockerUnreachable: it does not, or it refuses the registry's login.
        """
        from docker.client import from_env
        from docker.errors import DockerException

        try:
            # Asks for the version. The client for the work has docker's own limit of 60 s: pulling an image is slow.
            from_env(timeout=_ANSWER_SECONDS).close()
            return super()._get_client(container_context)
        except DockerException as error:
            raise DockerUnreachable(
                f"the Docker daemon cannot be used: {error}. Check it with `docker info` where the Dagster daemon "
                "runs; in a container mount the host's /var/run/docker.sock and give the user its group; or set "
                "DOCKER_HOST."
            ) from error

    def terminate(self, run_id: str) -> bool:
        """Stops the container with SIGTERM and, `stop_timeout` seconds later, SIGKILL. False if nothing was done."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        try:
            self._get_client(self.get_container_context(run))
        except DockerUnreachable as error:
            self._instance.report_engine_event(f"Cannot stop the run now: {error}", run, cls=type(self))
            return False
        return super().terminate(run_id)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED or NOT_FOUND for a container that ended or is gone; UNKNOWN only while the daemon does not answer."""
        from docker.errors import DockerException
        from requests import RequestException

        try:
            return super().check_run_worker_health(run)
        except (DockerUnreachable, DockerException, RequestException) as error:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, str(error))

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        container = self._get_container(run)
        if container is None:
            return None
        place = f"container {container.name} ({container.short_id}), {container.status}"
        if not include_container_logs:
            return place
        return f"{place}\n{container.logs(tail=_LOG_LINES).decode(errors='replace')}"
