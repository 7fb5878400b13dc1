"""Short ways to fill a feedback store in tests."""

from llmops_assets.feedback.records import Battle, Finish, Message, Rater, Response, Verdict
from llmops_assets.feedback.store import FeedbackStore

PEPPER = b"a pepper that only these tests use"
LANE = "python_docs"
SFT = "a" * 64
DPO = "b" * 64
ANN = Rater(subject="ann", kind="human")
BOB = Rater(subject="bob", kind="human")
CID = Rater(subject="cid", kind="human")
ROBOT = Rater(subject="length rule", kind="simulated")


def register_lane(store: FeedbackStore, deployment: str = LANE) -> None:
    """Register the SFT adapter (v1.0) and the DPO adapter trained from it (v1.1)."""
    register(store, SFT, "sft", None, deployment)
    register(store, DPO, "dpo", SFT, deployment)


def register(store: FeedbackStore, sha: str, stage: str, parent: str | None, deployment: str = LANE) -> str:
    """Register one adapter and return its label."""
    return store.register_version(
        adapter_sha256=sha,
        deployment=deployment,
        stage=stage,
        parent_sha256=parent,
        base_model="tiny-base",
        asset_key=f"{deployment}/{stage}_adapter",
        materialization_run="run-1",
        mlflow_run=None,
    )


def battle(
    question: str = "What does len() return?",
    left: str = "The number of items.",
    right: str = "A number.",
    *,
    left_version: str = SFT,
    right_version: str = DPO,
    finish: Finish = "stop",
    deployment: str = LANE,
) -> Battle:
    """A battle whose left side ended with `finish`."""
    return Battle(
        deployment=deployment,
        prompt=[Message(role="user", content=question)],
        left=Response(text=left, version=left_version, finish=finish, tokens=7, total_ms=12.5),
        right=Response(text=right, version=right_version),
        seed=7,
        generation={"temperature": 0.8, "stop": ["\n"]},
    )


def vote(store: FeedbackStore, verdict: Verdict, rater: Rater = ANN, shown: Battle | None = None) -> str:
    """Record a battle and one vote on it; returns the vote's id."""
    return store.record_vote(store.record_battle(shown or battle()), rater, verdict)
