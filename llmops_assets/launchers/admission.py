"""Whether a run fits the place that it is about to be sent to; asked before anything of that place is taken."""

from dataclasses import dataclass

from llmops_assets.errors import LlmopsError
from llmops_assets.launchers.run_demand import RunDemand, gpus_of


class RunRefused(LlmopsError):
    """The run asks for more than a run can get where its route leads."""


@dataclass(frozen=True)
class Offer:
    """What one run gets from a launcher, as `offers` in dagster.yaml says.

    Attributes:
        gpus: GPUs of the machine, pod or container that the run gets.
    """

    gpus: int


def admit(demand: RunDemand, offer: Offer, launcher: str) -> None:
    """Let a run pass that `offer` can serve.

    Stages with `placement: ray` take their GPUs elsewhere and are not judged here.

    Raises:
        RunRefused: some stage wants more GPUs; the message names it, and what to change.
    """
    for op_name, spec in demand.stages.items():
        if spec.placement == "local" and gpus_of(spec) > offer.gpus:
            raise RunRefused(
                f"{op_name.replace('__', '/')} asks for {gpus_of(spec)} GPUs (device: gpu, num_processes: "
                f"{spec.num_processes}), a run of launcher '{launcher}' gets {offer.gpus}. Lower num_processes and "
                "raise gradient_accumulation by the same factor, route the pool elsewhere, or raise what the launcher "
                f"gives and says (run_launcher.config.launchers.{launcher} in dagster.yaml)."
            )
