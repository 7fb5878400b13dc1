"""`python -m llmops_assets_tests.resources.two_ray_nodes` runs two Ray nodes with one CPU each until it is killed.

A process of its own, because Ray's client ends its process when the head node is gone. Prints the head's host:port.
"""

import signal
import sys
from typing import Any

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": int(sys.argv[1])}
    cluster = Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    print(f"address {cluster.address}", flush=True)
    signal.pause()
