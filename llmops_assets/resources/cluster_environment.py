"""Which environment variables go along when work of this project moves to another machine of a cluster."""

from collections.abc import Mapping

from llmops_assets.resources.background_process import SERVICE_MARKER
from llmops_assets.resources.supervised_process import SUPERVISION_MARKER

NAMES = frozenset({"DAGSTER_HOME", "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM"})
PREFIXES = ("LLMOPS_", "MLFLOW_", "WANDB_", "HF_", "NCCL_", "GLOO_")

# They mark processes of this machine, for sweeps here; a copy elsewhere would put foreign work under such a sweep.
_STAYS_HERE = frozenset({SERVICE_MARKER, SUPERVISION_MARKER})


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environment` that say where things lie and how the libraries behave.

    Everything else (PATH, LD_LIBRARY_PATH, CUDA_VISIBLE_DEVICES) belongs to the machine that it was found on.
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in _STAYS_HERE and (name in NAMES or name.startswith(PREFIXES))
    }
