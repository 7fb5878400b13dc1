"""As much of the Kubernetes API as a run launcher sees: Jobs and their pods in one namespace, kept in memory."""

from pathlib import Path
from typing import Any

import yaml

from llmops_assets_tests.deploy.recording_server import Request


class KubernetesApi:
    """Call it with a request; `broken` is an HTTP status that it gives to everything instead."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.broken: int | None = None

    def __call__(self, request: Request) -> tuple[int, Any]:
        if self.broken is not None:
            return self.broken, _status(self.broken, "the API server is not itself")
        parts = request.path.strip("/").split("/")
        kind, name = parts[parts.index("namespaces") + 2], parts[parts.index("namespaces") + 3 :]
        if kind == "jobs" and request.method == "POST":
            job = {**request.body, "status": {"active": 1}}
            self.jobs[job["metadata"]["name"]] = job
            return 201, job
        if kind == "jobs":
            return self._existing_job(request.method, name[0])
        if kind == "pods" and request.method == "GET" and not name:
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods(request)}
        if kind == "pods" and request.method == "DELETE":
            return 200, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name[0]}}
        return 404, _status(404, f"{request.method} {request.path} is not recorded")

    def _existing_job(self, method: str, name: str) -> tuple[int, Any]:
        if name not in self.jobs:
            return 404, _status(404, f'jobs.batch "{name}" not found')
        if method == "DELETE":
            del self.jobs[name]
            return 200, _status(200, "deleted")
        return 200, self.jobs[name]

    def _pods(self, request: Request) -> list[dict[str, Any]]:
        name = request.query["labelSelector"].removeprefix("job-name=")
        return [{"metadata": {"name": f"{name}-x7k2p"}, "status": {"phase": "Running"}}] if name in self.jobs else []


def write_kubeconfig(file: Path, server: str) -> Path:
    """A kubeconfig that points at `server` (a URL) with a token."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "llmops"}}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {"token": "not-a-secret"}}],
    }
    file.write_text(yaml.safe_dump(config))
    return file


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "message": message, "code": code}
