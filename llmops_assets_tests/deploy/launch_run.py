"""`python -m llmops_assets_tests.deploy.launch_run <asset> ...`: launches one run per asset of the lane `tiny`.

A process of its own, because the recipes are read when the code location is loaded. Prints the run ids, one a line.
"""

import sys
from typing import Any

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository

from llmops_assets.definitions import defs


def launch(instance: dg.DagsterInstance, asset: str) -> str:
    """Create a run of one asset as "Materialize" in the UI does, hand it to the run launcher, return its id."""
    whole_graph = defs.resolve_implicit_global_asset_job_def()
    key = dg.AssetKey(["tiny", asset])
    origin = ReconstructableRepository.for_module("llmops_assets.definitions", "defs")
    run = instance.create_run_for_job(
        job_def=whole_graph.get_subset(asset_selection={key}),
        asset_selection=frozenset({key}),
        job_code_origin=origin.get_reconstructable_job(whole_graph.name).get_python_origin(),
    )
    no_workspace: Any = None  # Only the default launcher needs one, to find a code server.
    instance.launch_run(run.run_id, no_workspace)
    return run.run_id


if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        for asset in sys.argv[1:]:
            print(launch(instance, asset), flush=True)
