"""A run launcher that starts nothing and writes what it was asked into run tags, where every process can read it."""

from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from llmops_assets.launchers.routing import LAUNCHER_TAG


class RecordingLauncher(RunLauncher, ConfigurableClass):
    """Its `name` comes from the configuration; `health` is what it answers, or nothing if it cannot check."""

    def __init__(self, name: str, health: str | None = None, inst_data: ConfigurableClassData | None = None) -> None:
        self.name = name
        self.disposed = False
        self.join_timeouts: list[int] = []
        self._health = health
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {"name": dg.StringSource, "health": dg.Field(str, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        run = self._instance.get_run_by_id(context.dagster_run.run_id)
        assert run is not None
        recorded = run.tags.get(LAUNCHER_TAG, "nothing")
        self._instance.add_run_tags(run.run_id, {"launched_by": self.name, "recorded_before_launch": recorded})

    def terminate(self, run_id: str) -> bool:
        self._instance.add_run_tags(run_id, {"terminated_by": self.name})
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return self._health is not None

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        return CheckRunHealthResult(WorkerStatus(self._health), f"asked {self.name}")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        return f"{self.name}, logs {include_container_logs}"

    def join(self, timeout: int = 30) -> None:
        self.join_timeouts.append(timeout)

    def dispose(self) -> None:
        self.disposed = True
