"""A home whose runs go to a recorded Kubernetes API, and opening it as daemon and webserver do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from llmops_assets_tests.assets.tiny_lane import TinyLane
from llmops_assets_tests.deploy.homes import write_home
from llmops_assets_tests.deploy.kubernetes_api import KubernetesApi, write_kubeconfig
from llmops_assets_tests.deploy.recording_server import Recording

ENVIRONMENT = {"LLMOPS_K8S_NAMESPACE": "llmops", "LLMOPS_TRAINING_IMAGE": "registry.example/llmops-training:1"}


@dataclass
class Cluster:
    """A home whose runs go to a recorded API."""

    api: KubernetesApi
    recording: Recording
    home: Path

    def container(self, run_id: str) -> dict[str, Any]:
        return self.pod(run_id)["containers"][0]

    def pod(self, run_id: str) -> dict[str, Any]:
        return self.job(run_id)["spec"]["template"]["spec"]

    def job(self, run_id: str) -> dict[str, Any]:
        (job,) = [sent.body for sent in self.recording.sent("POST", "/jobs") if run_id in sent.body["metadata"]["name"]]
        return job


def cluster_home(folder: Path, server: str) -> Path:
    """A home of the shipped kubernetes instance; its kubeconfig names `server` (a URL)."""
    kubeconfig = write_kubeconfig(folder / "kubeconfig", server)
    return write_home(
        folder / "home", "kubernetes", {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    )


def open_home(home: Path, lane: TinyLane, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """The instance at `home`, with the variables that its file reads."""
    for name, value in {**ENVIRONMENT, "LLMOPS_STATE_DIR": lane.environment["LLMOPS_STATE_DIR"]}.items():
        monkeypatch.setenv(name, value)
    return dg.DagsterInstance.from_config(str(home))
