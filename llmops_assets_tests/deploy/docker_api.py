"""As much of the Docker Engine API as a run launcher sees: containers, kept in memory."""

from typing import Any

from llmops_assets_tests.deploy.recording_server import Request

_API_VERSION = "1.47"


class DockerApi:
    """Call it with a request; `state` is what it says about every container."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.state: dict[str, Any] = {"Status": "running", "Running": True}

    def __call__(self, request: Request) -> tuple[int, Any]:
        if request.path == "/version":
            return 200, {"ApiVersion": _API_VERSION, "MinAPIVersion": "1.24", "Version": "27.0"}
        parts = request.path.removeprefix(f"/v{_API_VERSION}").strip("/").split("/")
        if parts == ["containers", "create"]:
            identifier = f"{len(self.containers) + 1:064x}"
            self.containers[identifier] = request.body
            return 201, {"Id": identifier, "Warnings": []}
        if parts[0] == "containers" and parts[1] in self.containers and parts[2] in ("start", "stop"):
            return 204, None
        if parts[0] == "containers" and parts[1] in self.containers and parts[2] == "json":
            body = self.containers[parts[1]]
            return 200, {"Id": parts[1], "Name": "/quiet_hopper", "State": self.state, "Config": body}
        return 404, {"message": f"{request.method} {request.path}: no such thing"}
