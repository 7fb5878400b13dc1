"""A lane's sensor and schedule against a real instance, a real vote store and seeded run records."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from llmops_assets.assets.adapters import WATERMARK
from llmops_assets.assets.lineage import asset_key
from llmops_assets.assets.preference_sets import THROUGH_TAG
from llmops_assets.automation.jobs import AssetJob, dpo_job, dpo_job_name
from llmops_assets.automation.trigger_state import WATERMARK_TAG
from llmops_assets.feedback.records import Battle, Message, Rater, Response
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.recipe import Recipe, load_recipe
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.settings import configs_dir

ADAPTER = "a" * 64


@dataclass
class Lane:
    """The embedded recipe with an instance and a vote store that a test can fill."""

    recipe: Recipe
    instance: dg.DagsterInstance
    feedback: FeedbackResource
    store: FeedbackStore
    votes: int = field(default=0)

    @property
    def job(self) -> AssetJob:
        return dpo_job(self.recipe)

    def vote(self, count: int, verdict: str = "left") -> None:
        """Record `count` battles over different prompts, each with one vote."""
        for _ in range(count):
            self.votes += 1
            battle = Battle(
                deployment=self.recipe.name,
                prompt=[Message(role="user", content=f"Question {self.votes}?")],
                left=Response(text=f"Good answer {self.votes}.", version=ADAPTER),
                right=Response(text=f"Bad answer {self.votes}.", version=ADAPTER),
                seed=1,
            )
            battle_id = self.store.record_battle(battle)
            self.store.record_vote(battle_id, Rater(subject="ada", kind="human"), verdict)  # type: ignore[arg-type]

    def materialize(self, asset: str, **metadata: int) -> None:
        """Report a materialization, as a finished run would."""
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset_key(self.recipe.name, asset), metadata=metadata)
        )

    def trained_through(self, seq: int) -> None:
        """Report a DPO adapter that was trained and judged on all votes up to `seq`."""
        self.materialize("dpo_report", **{WATERMARK: seq})

    def run(self, status: dg.DagsterRunStatus, *, after: int = 0, through: int) -> str:
        """Seed a DPO run record with the tags that sensor and schedule give it."""
        run = create_run_for_test(
            self.instance,
            job_name=dpo_job_name(self.recipe),
            status=status,
            tags={WATERMARK_TAG: str(after), THROUGH_TAG: str(through)},
        )
        return run.run_id


@contextmanager
def open_lane(instance: dg.DagsterInstance, feedback_url: str) -> Iterator[Lane]:
    """The embedded recipe with small minimums, and a vote store at `feedback_url` that knows `ADAPTER`."""
    recipe = load_recipe(configs_dir() / "recipes" / "python_docs.yaml")
    assert recipe.preferences is not None
    preferences = recipe.preferences.model_copy(update={"minimum": 5, "weekly_minimum": 2, "cooldown_minutes": 0})
    with FeedbackStore(feedback_url) as store:
        store.register_version(
            adapter_sha256=ADAPTER,
            deployment=recipe.name,
            stage="sft",
            parent_sha256=None,
            base_model="base",
            asset_key=f"{recipe.name}/sft_adapter",
            materialization_run=None,
            mlflow_run=None,
        )
        feedback = FeedbackResource(url=feedback_url)
        yield Lane(recipe.model_copy(update={"preferences": preferences}), instance, feedback, store)


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    url = f"sqlite:///{tmp_path / 'feedback.sqlite'}"
    with dg.instance_for_test() as instance, open_lane(instance, url) as lane:
        yield lane
