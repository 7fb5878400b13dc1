"""The short way to record a preference from Python: a question, two answers, a choice."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from llmops_assets.feedback.errors import VoteRefused
from llmops_assets.feedback.records import Battle, Message, Rater, Response, Verdict
from llmops_assets.feedback.store import FeedbackStore

Choice = Literal["a", "b", "tie", "both_bad", "skip"]


@dataclass(frozen=True)
class PreferenceCollector:
    """Records one rater's choices about one deployment's answers."""

    store: FeedbackStore
    deployment: str
    rater: Rater
    source: str = "python"

    def collect_preference(
        self,
        question: str | list[Message],
        response_a: Response,
        response_b: Response,
        choice: Choice,
        *,
        seed: int | None = None,
        generation: dict[str, Any] | None = None,
    ) -> str:
        """Record a battle with `response_a` shown left and `response_b` right, and the vote; returns the vote's id.

        The caller decides at random which answer is shown as A, or the votes will carry a position bias. Raises
        `VoteRefused` for an unknown choice, `UnknownVersion` for an unregistered adapter.
        """
        if choice not in get_args(Choice):
            raise VoteRefused(f"choice {choice!r} is unknown; use one of {', '.join(get_args(Choice))}.")
        prompt = [Message(role="user", content=question)] if isinstance(question, str) else question
        battle = Battle(
            deployment=self.deployment,
            prompt=prompt,
            left=response_a,
            right=response_b,
            seed=seed,
            generation=generation or {},
            source=self.source,
        )
        verdict: Verdict = "left" if choice == "a" else "right" if choice == "b" else choice
        return self.store.record_vote(self.store.record_battle(battle), self.rater, verdict)
