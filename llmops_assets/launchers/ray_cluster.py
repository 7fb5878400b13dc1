"""What the launcher asks a Ray cluster, over HTTP and never for longer than a few seconds: is it there, has it room."""

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmops_assets.errors import LlmopsError
from llmops_assets.launchers.run_demand import RunDemand

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_ALL_NODES = 10_000


class RayNotConfigured(LlmopsError):
    """The Ray launcher's configuration in dagster.yaml cannot be used."""


class RayUnreachable(LlmopsError):
    """The cluster's job server does not answer."""


class TooFewGpus(LlmopsError):
    """The cluster has fewer GPUs than a run asks for, so the run would wait for ever."""


@dataclass(frozen=True)
class GpuCapacity:
    """GPUs of the nodes that are alive, in use or not."""

    total: int
    largest_node: int


class RayCluster:
    """The job server at one address; connected to when first needed."""

    def __init__(
        self,
        address: str | None,
        metadata: dict[str, Any] | None,
        headers: dict[str, Any] | None,
        cookies: dict[str, Any] | None,
    ) -> None:
        # Ray's client lets these variables win over its argument; what is checked must be what is used.
        self.address = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or address or ""
        self._arguments = {"metadata": metadata, "headers": headers, "cookies": cookies}
        self._connected: JobSubmissionClient | None = None

    def client(self) -> "JobSubmissionClient":
        """Return Ray's client for a job server that answered a moment ago.

        Raises:
            RayNotConfigured: the address is not that of a job server.
            RayUnreachable: nothing listens there, or it does not answer as a job server.
        """
        url = urlsplit(self.address)
        if url.scheme not in ("http", "https"):
            raise RayNotConfigured(
                f"dagster.yaml, run_launcher, ray.address: {self.address!r} is no URL of a Ray dashboard; give one "
                "such as http://head-node:8265 (RAY_API_SERVER_ADDRESS and RAY_ADDRESS win over the file)"
            )
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            # Ray's own requests have no connect timeout: an address that drops packets would hold the daemon up.
            socket.create_connection((url.hostname or "", port), timeout=_CONNECT_SECONDS).close()
            if self._connected is None:
                self._connected = _patient_client(self.address, self._arguments)
        except (OSError, RuntimeError) as error:
            raise self._unreachable(error) from error
        return self._connected

    def job(self, submission_id: str) -> "JobDetails | None":
        """Return a job as the cluster knows it, None if it does not know it.

        Raises:
            RayUnreachable: the cluster does not answer, or not with a job.
        """
        client = self.client()
        try:
            return client.get_job_info(submission_id)
        except (OSError, RuntimeError) as error:
            if "status code 404" in str(error) and "does not exist" in str(error):
                return None
            raise self._unreachable(error) from error

    def capacity(self) -> GpuCapacity:
        """Return how many GPUs the cluster's live nodes have, as Ray's state API lists them.

        Raises:
            RayUnreachable: the cluster does not answer.
        """
        client = self.client()
        try:
            answer = client._do_request("GET", f"/api/v0/nodes?limit={_ALL_NODES}")
            answer.raise_for_status()
            nodes = answer.json()["data"]["result"]["result"]
        except (OSError, RuntimeError, KeyError) as error:
            raise self._unreachable(error) from error
        gpus = [int(node["resources_total"].get("GPU", 0)) for node in nodes if node["state"] == "ALIVE"]
        return GpuCapacity(total=sum(gpus), largest_node=max(gpus, default=0))

    def _unreachable(self, error: Exception) -> RayUnreachable:
        return RayUnreachable(
            f"The Ray cluster at {self.address} does not answer ({error}). Start it (`ray start --head`) or correct "
            "the address in dagster.yaml (run_launcher, ray.address)."
        )


def require_room(demand: RunDemand, gpus: int, capacity: GpuCapacity) -> None:
    """Refuse what the whole cluster could not give, were it idle.

    Args:
        gpus: GPUs of the run's own Ray job. They must lie on one node: its ranks are processes of one machine.

    Raises:
        TooFewGpus: says what is asked for, what there is, and what to change.
    """
    if gpus > capacity.largest_node:
        raise TooFewGpus(
            f"The run asks for {gpus} GPUs on one node, and the largest node of the Ray cluster has "
            f"{capacity.largest_node} ({capacity.total} in the whole cluster). Lower num_processes, add a larger node, "
            "or set `placement: ray` to spread the ranks over nodes."
        )
    if gpus + demand.placed_gpus > capacity.total:
        raise TooFewGpus(
            f"The run asks for {gpus + demand.placed_gpus} GPUs ({demand.placed_gpus} of them for ranks placed by "
            f"Ray), and the Ray cluster has {capacity.total}. Lower num_processes or add nodes."
        )


def _patient_client(address: str, arguments: dict[str, Any]) -> "JobSubmissionClient":
    from ray.job_submission import JobSubmissionClient

    class ClientWithTimeout(JobSubmissionClient):
        """Ray's client waits for ever for an answer; this one gives up."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": _ANSWER_SECONDS, **options})

    return ClientWithTimeout(address, **arguments)
