"""Kubernetes as a place for runs: dagster-k8s with time limits, and an answer for each way a cluster is missing."""

import json
from typing import Any

from dagster import DagsterRun, DagsterRunStatus
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster_k8s import K8sRunLauncher
from dagster_k8s.client import (
    DagsterK8sAPIRetryLimitExceeded,
    DagsterK8sUnrecoverableAPIError,
    DagsterKubernetesClient,
    PatchedApiClient,
)
from dagster_k8s.job import get_job_name_from_run_id

from llmops_assets.errors import LlmopsError
from llmops_assets.launchers.run_demand import run_demand

_CONNECT_SECONDS = 3.0
_READ_SECONDS = 10.0
_ANSWER_SECONDS = 5.0


class ClusterUnreachable(LlmopsError):
    """The Kubernetes API cannot be found, does not answer in time, or does not let us in."""


class JobRefused(LlmopsError):
    """The Kubernetes API answers, and does not accept the run's Job."""


class GpuLimitTooLow(LlmopsError):
    """A run asks for more GPUs than its pod would get."""


class KubernetesRunLauncher(K8sRunLauncher):
    """One Kubernetes Job per run, configured exactly as `dagster_k8s.K8sRunLauncher`.

    What it adds to that class:

    - Every request has time limits and is not repeated by the HTTP client: without them a cluster behind a dead network
      holds the daemon for minutes per run.
    - A launch first asks for the Job that it is about to create, so a missing cluster fails the run within seconds. So
      does a recipe that asks for more GPUs than the configured limit: its ranks would wait for a node, only to fail.
    - Health tells a Job that is gone (FAILED: somebody deleted it) from an API that is down (UNKNOWN: the trainer may
      be alive). dagster-k8s says UNKNOWN to both.
    - A cancel that cannot reach the cluster leaves the run as it is. dagster-k8s would mark it CANCELING, and Dagster
      would call it CANCELED later with its trainer alive.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        from kubernetes.config import ConfigException

        try:
            super().__init__(*arguments, **settings)
        except ConfigException as error:
            raise ClusterUnreachable(
                f"no Kubernetes cluster is configured here: {error}. Inside a cluster give the pod a service account "
                "token; outside set `load_incluster_config: false` and `kubeconfig_file` for this launcher in "
                "dagster.yaml."
            ) from error
        self._api_client = _impatient_client()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Creates the run's Job.

        Raises:
            GpuLimitTooLow: nothing was created.
            ClusterUnreachable: nothing was created.
            JobRefused: the API's own sentence says why, e.g. a missing right or a quota on Jobs.
        """
        run = context.dagster_run
        self._require_gpus(run)
        self._has_job(run)
        try:
            super().launch_run(context)
        except (DagsterK8sUnrecoverableAPIError, DagsterK8sAPIRetryLimitExceeded) as error:
            raise JobRefused(
                f"Kubernetes did not accept the Job of run {run.run_id} in namespace {self._namespace(run)}: "
                f"{_reason(error.k8s_api_exception)}. Mend that, then launch the run again."
            ) from error

    def terminate(self, run_id: str) -> bool:
        """Deletes the run's Job and pods; the pods get SIGTERM and their grace period. False if nothing was done."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        try:
            found = self._has_job(run)
        except ClusterUnreachable as error:
            self._instance.report_engine_event(f"Cannot stop the run now: {error}", run, cls=type(self))
            return False
        if found:
            return bool(super().terminate(run_id))
        if run.status != DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        self._instance.report_run_canceled(run, f"The Job {self._job_name(run)} of the run was gone already.")
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED for a Job that failed or is gone; UNKNOWN only while the API does not answer."""
        try:
            found = self._has_job(run)
        except ClusterUnreachable as error:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, str(error))
        if not found:
            return CheckRunHealthResult(
                WorkerStatus.FAILED,
                f"The Job {self._job_name(run)} in namespace {self._namespace(run)} is gone; the run had not ended.",
            )
        return super().check_run_worker_health(run)

    def _require_gpus(self, run: DagsterRun) -> None:
        resources = self.get_container_context_for_run(run).run_k8s_config.container_config.get("resources", {})
        limit = sum(int(count) for name, count in resources.get("limits", {}).items() if _is_gpu(name))
        demand = run_demand(self._instance, run).gpus
        if demand > limit:
            raise GpuLimitTooLow(
                f"run {run.run_id} asks for {demand} GPUs (num_processes in its recipe or run config), and its pod "
                f"would get {limit}. Lower num_processes, or raise the GPU limit in dagster.yaml (run_launcher, "
                "run_k8s_config.container_config.resources.limits) up to what one node of the cluster has."
            )

    def _has_job(self, run: DagsterRun) -> bool:
        """Whether the cluster has the run's Job.

        Raises:
            ClusterUnreachable: no answer in time, or one that is not about the Job.
        """
        from kubernetes.client.rest import ApiException
        from urllib3.exceptions import HTTPError

        batch = self._api_client.batch_api
        try:
            batch.read_namespaced_job_status(
                self._job_name(run),
                namespace=self._namespace(run),
                _request_timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
            )
        except (ApiException, HTTPError) as error:
            if isinstance(error, ApiException) and error.status == 404:
                return False
            raise ClusterUnreachable(
                f"the Kubernetes API at {batch.api_client.configuration.host} gives no answer about Jobs in namespace "
                f"{self._namespace(run)}: {_reason(error)}. Check it with `kubectl -n {self._namespace(run)} get jobs` "
                "from where the Dagster daemon runs, then try again."
            ) from error
        return True

    def _namespace(self, run: DagsterRun) -> str:
        return str(self.get_container_context_for_run(run).namespace)

    def _job_name(self, run: DagsterRun) -> str:
        return get_job_name_from_run_id(run.run_id, resume_attempt_number=self._get_resume_attempt_number(run))


def _is_gpu(resource: str) -> bool:
    """Whether a Kubernetes resource is a GPU or a slice of one (MIG), as the vendors' device plugins name them."""
    return resource.endswith("/gpu") or "/mig-" in resource


def _impatient_client() -> DagsterKubernetesClient:
    """A client of the default configuration (which the parent class loads) with time limits and without retries."""
    from kubernetes.client import BatchV1Api, Configuration, CoreV1Api

    class ImpatientApiClient(PatchedApiClient):
        def request(self, *arguments: Any, **options: Any) -> Any:
            if options.get("_request_timeout") is None:
                options["_request_timeout"] = (_CONNECT_SECONDS, _READ_SECONDS)
            return super().request(*arguments, **options)

    configuration: Any = Configuration.get_default_copy()
    configuration.retries = 0
    api_client = ImpatientApiClient(configuration=configuration)
    return DagsterKubernetesClient.production_client(
        batch_api_override=BatchV1Api(api_client=api_client), core_api_override=CoreV1Api(api_client=api_client)
    )


def _reason(error: Exception) -> str:
    """The sentence in an API error's body (a Kubernetes `Status`), else status and reason, else the error itself."""
    body: Any = getattr(error, "body", None)
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        status = getattr(error, "status", None)
        return f"HTTP {status} {getattr(error, 'reason', '')}".strip() if status else str(error)
