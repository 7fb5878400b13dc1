"""Where the ranks of a job go on a Ray cluster: what each reserves, what a node must see, and who is which rank."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmops_assets.errors import LlmopsError
from llmops_assets.resources.rank_host import HostFacts, file_digest
from llmops_assets.training.specs import StageSpec


class TooFewRayResources(LlmopsError):
    """The whole cluster has fewer GPUs or CPUs than the ranks ask for."""


class JobFileNotShared(LlmopsError):
    """A node does not see the job file that the driver wrote."""


def resources_per_rank(spec: StageSpec) -> dict[str, float]:
    """Return what Ray reserves for a rank: num_threads CPUs, one if that is 0, and a GPU with `device: gpu`."""
    cpus = {"CPU": float(max(1, spec.num_threads))}
    return cpus | {"GPU": 1.0} if spec.device == "gpu" else cpus


def require_resources(needs: dict[str, float], ranks: int, cluster: Mapping[str, float]) -> None:
    """Refuse what the cluster could not give, were it idle. Raises TooFewRayResources."""
    for kind, amount in needs.items():
        if amount * ranks > cluster.get(kind, 0):
            fewer = "num_processes or num_threads" if kind == "CPU" else "num_processes"
            raise TooFewRayResources(
                f"placement: ray, {ranks} ranks ask for {amount * ranks:g} {kind}s, and the whole Ray cluster has "
                f"{cluster.get(kind, 0):g}. Lower {fewer}, or add nodes."
            )


def require_job_file(job_file: Path, facts: Sequence[HostFacts]) -> None:
    """Refuse nodes that read another job file than this process, or none. Raises JobFileNotShared."""
    here = file_digest(job_file)
    blind = sorted({fact.address for fact in facts if fact.job_digest != here})
    if blind:
        raise JobFileNotShared(
            f"placement: ray, but {job_file} cannot be read on {', '.join(blind)}, or is another file there. "
            "LLMOPS_STATE_DIR must be a folder that all nodes of the cluster share under one path."
        )


def rank_order(facts: Sequence[HostFacts]) -> list[int]:
    """Return indices of `facts` in rank order: ranks of one node are neighbours, nodes come as they first appear."""
    nodes = list(dict.fromkeys(fact.node for fact in facts))
    return sorted(range(len(facts)), key=lambda index: nodes.index(facts[index].node))


def rank_environments(facts: Sequence[HostFacts]) -> list[dict[str, str]]:
    """Return each rank's variables for torch.distributed, as torchrun names them; `facts` are in rank order.

    All ranks of a node see all of the job's GPUs there and pick theirs by LOCAL_RANK, as under torchrun: NCCL then
    talks over NVLink between them.
    """
    on_node: dict[str, list[int]] = {}
    for rank, fact in enumerate(facts):
        on_node.setdefault(fact.node, []).append(rank)
    environments = []
    for rank, fact in enumerate(facts):
        local = on_node[fact.node]
        environments.append(
            {
                "RANK": str(rank),
                "WORLD_SIZE": str(len(facts)),
                "LOCAL_RANK": str(local.index(rank)),
                "LOCAL_WORLD_SIZE": str(len(local)),
                "MASTER_ADDR": facts[0].address,
                "MASTER_PORT": str(facts[0].port),
                "CUDA_VISIBLE_DEVICES": ",".join(gpu for other in local for gpu in facts[other].gpus),
            }
        )
    return environments
