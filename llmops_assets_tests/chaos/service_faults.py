"""Faults of the services around a run: the run is no child of theirs and goes on."""

import sys
import time
from collections.abc import Callable

from llmops_assets_tests.chaos.fault import SUCCESS, Fault, since
from llmops_assets_tests.chaos.observations import Trial
from llmops_assets_tests.chaos.services import HOST, Service, answers, free_port
from llmops_assets_tests.chaos.waiting import wait_for
from llmops_assets_tests.chaos.world import World

_START_DEV = "from llmops_assets.cli import main; main()"
_LOCATION_OF_DEV = "llmops_assets.definitions"


def _kill(name: str) -> Callable[[World, int], Trial]:
    def apply(world: World, repetition: int) -> Trial:
        world.forget_adapter()
        trained = world.launch_training()
        world.await_checkpoint(trained)
        began = time.monotonic()
        world.services[name].kill()
        # As a service manager would: compose, systemd and Kubernetes start it again.
        world.services[name].start()
        world.services.await_code_server()
        world.services.await_webserver()
        world.await_end(trained)
        reused = world.launch_training()
        world.await_end(reused)
        return Trial({trained: SUCCESS, reused: SUCCESS}, recovery_seconds=since(began))

    return apply


def _interrupt_dev(world: World, repetition: int) -> Trial:
    """Ctrl-C at a terminal reaches `llmops dev` alone: the servers under it lead sessions of their own."""
    world.forget_adapter()
    port, mlflow_port = free_port(), free_port()
    command = [sys.executable, "-c", _START_DEV, "dev", "--dagster-port", str(port), "--mlflow-port", str(mlflow_port)]
    dev = Service("llmops dev", command, world.services.environment, world.root / "logs" / "llmops-dev.log")
    url = f"http://{HOST}:{port}"
    dev.start()
    try:
        wait_for(lambda: dev.require_alive() or answers(url), "an answer of the UI of llmops dev")
        trained = world.launch_training(url, location=_LOCATION_OF_DEV)
        world.await_checkpoint(trained)
        began = time.monotonic()
        code = dev.interrupt()
        world.await_end(trained)
    finally:
        dev.stop()
    objections = [] if code == 0 else [f"llmops dev ended with code {code} after Ctrl-C"]
    return Trial({trained: SUCCESS}, objections=objections, recovery_seconds=since(began))


_UNHARMED = "the run under way SUCCESS; after a restart the next run starts and finds the adapter"

SERVICE_FAULTS = [
    Fault(
        "Ctrl-C of llmops dev", "dev ends with its servers; the run goes on, SUCCESS", _interrupt_dev, services=False
    ),
    Fault("kill -9 daemon", _UNHARMED, _kill("daemon")),
    Fault("kill -9 code server", _UNHARMED, _kill("code server")),
    Fault("kill -9 webserver", _UNHARMED, _kill("webserver")),
]
