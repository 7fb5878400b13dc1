"""What the tests of more than one file use: the tiny lane, and a recorded Kubernetes cluster."""

from collections.abc import Iterator

import dagster as dg
import pytest

from llmops_assets_tests.assets.tiny_lane import TinyLane, make_tiny_lane
from llmops_assets_tests.deploy.kubernetes_api import KubernetesApi
from llmops_assets_tests.deploy.kubernetes_cluster import Cluster, cluster_home, open_home
from llmops_assets_tests.deploy.recording_server import recording_server


@pytest.fixture(scope="session")
def lane(tmp_path_factory: pytest.TempPathFactory) -> TinyLane:
    """The lane, with nothing built."""
    return make_tiny_lane(tmp_path_factory.mktemp("deploy") / "lane")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("kubernetes")
    api = KubernetesApi()
    with recording_server(api) as recording:
        yield Cluster(api, recording, cluster_home(folder, f"http://{recording.address}"))


@pytest.fixture
def kubernetes_instance(
    cluster: Cluster, lane: TinyLane, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The cluster's instance as daemon and webserver open it; afterwards the API is well again."""
    with open_home(cluster.home, lane, monkeypatch) as instance:
        yield instance
    cluster.api.broken = None
