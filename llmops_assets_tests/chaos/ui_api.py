"""What the Dagster UI does, through the same GraphQL API: start a run, cancel a run."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

from llmops_assets.errors import LlmopsError
from llmops_assets_tests.chaos.waiting import PATIENCE_SECONDS

_LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PipelineNotFoundError { message }
  }
}
"""
_TERMINATE = """
mutation($runId: String!) {
  terminateRun(runId: $runId) {
    __typename
    ... on TerminateRunFailure { message }
    ... on PythonError { message }
  }
}
"""

_AGAIN_SECONDS = 0.2


class RefusedByTheApi(LlmopsError):
    """The webserver cannot be reached, or answered with something else than success."""


def materialize(url: str, *, location: str, keys: list[tuple[str, str]], config: dict[str, Any]) -> str:
    """The button "Materialize" on a selection of assets; returns the run's id."""
    selector = {
        "repositoryLocationName": location,
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": list(key)} for key in keys],
    }
    parameters = {"selector": selector, "mode": "default", "runConfigData": config}
    answer = _ask(url, _LAUNCH, {"params": parameters})["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise RefusedByTheApi(f"{url}: launchRun answered {json.dumps(answer)}")
    return answer["run"]["runId"]


def terminate(url: str, run_id: str) -> None:
    """The button "Terminate" of a run; pressed again while the run is STARTING, when Dagster refuses to stop it.

    Raises:
        RefusedByTheApi: it is refused for another reason, or for too long.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := _ask(url, _TERMINATE, {"runId": run_id})["terminateRun"])["__typename"] != "TerminateRunSuccess":
        if not answer.get("message", "").endswith("having status STARTING.") or time.monotonic() > deadline:
            raise RefusedByTheApi(f"{url}: terminateRun answered {json.dumps(answer)}")
        time.sleep(_AGAIN_SECONDS)


def _ask(url: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
    except (urllib.error.URLError, OSError) as error:
        raise RefusedByTheApi(f"{url}/graphql: {error}") from error
    if "errors" in answer:
        raise RefusedByTheApi(f"{url}: {json.dumps(answer['errors'])[:2000]}")
    return answer["data"]
