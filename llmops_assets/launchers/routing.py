"""Chooses a run launcher by the concurrency pools of a run, and remembers the choice in a run tag."""

import logging
import threading
from collections.abc import Mapping
from typing import Any, Self

import yaml
from dagster import DagsterRun, Field, Map, Permissive
from dagster._config import UserConfigSchema
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._core.storage.tags import MAX_RETRIES_TAG
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from llmops_assets.errors import LlmopsError
from llmops_assets.launchers.admission import Offer, admit
from llmops_assets.launchers.run_demand import run_demand

logger = logging.getLogger(__name__)

LAUNCHER_TAG = "llmops/launcher"


class LauncherConfigError(LlmopsError):
    """`run_launcher` in dagster.yaml names a launcher that it does not configure."""


class ConflictingRoutes(LlmopsError):
    """One run asks for pools that different launchers serve."""


class RoutingRunLauncher(RunLauncher, ConfigurableClass):
    """Sends each run to the launcher that dagster.yaml configures for its pool.

    Pools mark the work (`@asset(pool="gpu")`) because they are known for every run, whoever started it; the tags of a
    job are lost on ad-hoc and command-line runs. The choice is written to the tag `llmops/launcher` before the launch.
    Everything later (terminate, health, debug info) obeys that tag, so a changed dagster.yaml or another process
    cannot address a run to a launcher that never saw it.

    Launchers are built when first needed: one for Kubernetes may refuse to be built outside a cluster,
    and a laptop that never routes to it does not care.
    """

    def __init__(
        self,
        routes: Mapping[str, str],
        default: str,
        launchers: Mapping[str, Mapping[str, Any]],
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        for key, name in {"default": default, **{f"routes.{pool}": name for pool, name in routes.items()}}.items():
            if name not in launchers:
                raise LauncherConfigError(
                    f"dagster.yaml, run_launcher.config.{key}: there is no launcher '{name}' under `launchers`; "
                    f"configured are {sorted(launchers)}. Add it there or change {key}."
                )
        self._routes = dict(routes)
        self._default = default
        self._launchers = dict(launchers)
        self._inst_data = inst_data
        self._built: dict[str, RunLauncher[Any]] = {}
        self._building = threading.Lock()
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {
            "routes": Field(
                Map(str, str, key_label_name="pool"),
                default_value={},
                description="Which launcher serves the runs of a pool.",
            ),
            "default": Field(str, description="The launcher of runs without a routed pool."),
            "launchers": Field(
                Map(
                    str,
                    {
                        "module": str,
                        "class": str,
                        "config": Field(Permissive(), is_required=False, description="As the launcher itself has it."),
                        "offers": Field(
                            {
                                "gpus": Field(int, is_required=False, description="GPUs that one run gets there."),
                                "gpu_memory": Field(str, is_required=False, description="Of each GPU, as 80GB."),
                            },
                            is_required=False,
                            description="A run that asks for more is refused at launch, before a GPU is taken for it.",
                        ),
                    },
                    key_label_name="name",
                ),
                description="The launchers, each as it would stand under `run_launcher` alone.",
            ),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def route(self, run: DagsterRun) -> str:
        """The name of the launcher for a run that has not been launched yet.

        Raises:
            ConflictingRoutes: its pools lead to different launchers.
        """
        pools = (run.run_op_concurrency.all_pools if run.run_op_concurrency else None) or set()
        chosen = {pool: self._routes[pool] for pool in sorted(pools) if pool in self._routes}
        names = set(chosen.values())
        if len(names) > 1:
            listed = ", ".join(f"pool '{pool}' -> '{name}'" for pool, name in chosen.items())
            raise ConflictingRoutes(
                f"Run {run.run_id} of {run.job_name} cannot run in one place: {listed}. Select assets of one of these "
                "pools, or give both pools the same launcher in dagster.yaml (run_launcher.config.routes)."
            )
        return names.pop() if names else self._default

    def launch_run(self, context: LaunchRunContext) -> None:
        """Records the choice, then launches; a launch that fails leaves the record for `terminate` to use.

        Raises:
            ConflictingRoutes: as `route`.
            RunRefused, UnknownDemand: it asks for more than the launcher offers, or does not tell what it asks for.
        """
        run = context.dagster_run
        name = self.route(run)
        child = self._child(name)
        self._instance.add_run_tags(run.run_id, {LAUNCHER_TAG: name})
        if "offers" in self._launchers[name]:
            self._require_admission(run, name)
        child.launch_run(context)

    def _require_admission(self, run: DagsterRun, name: str) -> None:
        try:
            admit(run_demand(self._instance, run), Offer(**self._launchers[name]["offers"]), name)
        except LlmopsError:
            # Dagster would retry it like a lost worker, and hear the same answer.
            self._instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
            raise

    def terminate(self, run_id: str) -> bool:
        """Hands the request to the launcher that has the run; False if no launcher was recorded.

        Raises:
            LauncherConfigError: the recorded launcher is no longer in dagster.yaml.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        name = run.tags.get(LAUNCHER_TAG)
        if name is None:
            self._instance.report_engine_event(
                f"Cannot stop the run: it has no tag {LAUNCHER_TAG}, so no launcher of this instance started it.",
                run,
                cls=type(self),
            )
            return False
        if name not in self._launchers:
            raise LauncherConfigError(
                f"Run {run_id} was launched by '{name}', which dagster.yaml (run_launcher.config.launchers) no longer "
                f"has: it has {sorted(self._launchers)}. Put '{name}' back until the run has ended."
            )
        return self._child(name).terminate(run_id)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """What the run's launcher says, but never UNKNOWN.

        Run monitoring fails a run on UNKNOWN although its worker may live and hold the GPU; a launcher that cannot tell
        counts as RUNNING, and the reason is logged.
        """
        name = run.tags.get(LAUNCHER_TAG)
        if name is None or name not in self._launchers:
            return _taken_as_running(run, f"its launcher is '{name}', configured are {sorted(self._launchers)}")
        child = self._child(name)
        if not child.supports_check_run_worker_health:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"launcher '{name}' has no health check")
        result = child.check_run_worker_health(run)
        if result.status == WorkerStatus.UNKNOWN:
            return _taken_as_running(run, f"launcher '{name}' cannot tell: {result.msg}")
        return result

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        name = run.tags.get(LAUNCHER_TAG)
        if name is None or name not in self._launchers:
            return None
        return self._child(name).get_run_worker_debug_info(run, include_container_logs=include_container_logs)

    def dispose(self) -> None:
        for child in self._built.values():
            child.dispose()

    def join(self, timeout: int = 30) -> None:
        for child in self._built.values():
            child.join(timeout)

    def _child(self, name: str) -> RunLauncher[Any]:
        with self._building:
            if name not in self._built:
                entry = self._launchers[name]
                data = ConfigurableClassData(entry["module"], entry["class"], yaml.safe_dump(entry.get("config", {})))
                child = data.rehydrate(as_type=RunLauncher)
                child.register_instance(self._instance)
                self._built[name] = child
            return self._built[name]


def _taken_as_running(run: DagsterRun, reason: str) -> CheckRunHealthResult:
    logger.warning("health of run %s is not known, taken as running: %s", run.run_id, reason)
    return CheckRunHealthResult(WorkerStatus.RUNNING, reason)
