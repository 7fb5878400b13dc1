"""A start decision as a Dagster run request."""

import dagster as dg

from llmops_assets.assets.preference_sets import THROUGH_TAG
from llmops_assets.automation.dpo_trigger import StartRun
from llmops_assets.automation.trigger_state import WATERMARK_TAG


def run_request(decision: StartRun, watermark: int) -> dg.RunRequest:
    """Return the request of `decision`; its tags let the next tick count attempts on the same votes."""
    return dg.RunRequest(
        run_key=decision.run_key,
        tags={THROUGH_TAG: str(decision.through_seq), WATERMARK_TAG: str(watermark)},
    )
