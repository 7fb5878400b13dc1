"""Feedback stores with a planted truth: every habit below is put in by hand, in known numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmops_assets.evaluation.preference_quality.report import PreferenceReport, report_on_votes
from llmops_assets.feedback.records import Battle, Message, Rater, Response, Verdict
from llmops_assets.feedback.specs import PreferenceSpec
from llmops_assets.feedback.store import FeedbackStore

LANE = "planted"
SFT, DPO = "a" * 64, "b" * 64
PEOPLE = [Rater(subject=name, kind="human") for name in ("ann", "bob", "cid", "dee", "eli")]
_OTHER: dict[Verdict, Verdict] = {"left": "right", "right": "left"}
SHORT, LONG = "It returns a number.", "It returns a number, that is the count of all items in it."


class Booth:
    """Notes votes on planted battles; a report records them first, in one transaction a rater.

    Unless a test gives texts, left and right are the longer answer in turn, whatever is voted.
    """

    def __init__(self, store: FeedbackStore) -> None:
        self.store = store
        self._noted: list[tuple[Rater, tuple[str, Battle, Verdict]]] = []
        for sha, stage, parent in ((SFT, "sft", None), (DPO, "dpo", SFT)):
            store.register_version(
                adapter_sha256=sha,
                deployment=LANE,
                stage=stage,
                parent_sha256=parent,
                base_model="embedded",
                asset_key=f"{LANE}/{stage}_adapter",
                materialization_run=None,
                mlflow_run=None,
            )

    def vote(
        self,
        number: int,
        rater: Rater,
        verdict: Verdict,
        *,
        left: str | None = None,
        right: str | None = None,
        prompt: str | None = None,
    ) -> None:
        """Note a vote on battle `number`."""
        longer = (" It is so.", "") if number // 4 % 2 == 0 else ("", " It is so.")
        battle = Battle(
            deployment=LANE,
            prompt=[Message(role="user", content=prompt or f"What does function {number} return?")],
            left=Response(text=left or f"Left answer {number:04}.{longer[0]}", version=SFT if number % 2 else DPO),
            right=Response(text=right or f"Right words {number:04}.{longer[1]}", version=DPO if number % 2 else SFT),
            seed=number,
        )
        self._noted.append((rater, (f"battle-{number}", battle, verdict)))

    def fair_votes(self, count: int) -> None:
        """One vote a battle, in turn by all people and for both sides."""
        for number in range(count):
            self.vote(number, PEOPLE[number % 5], fair_side(number))

    def shared_battles(self, count: int, agreeing: int, start: int) -> None:
        """Battles that two people judge, of which `agreeing` come out the same and the others opposite."""
        for number in range(start, start + count):
            side = fair_side(number)
            self.vote(number, PEOPLE[number % 5], side)
            self.vote(number, PEOPLE[(number + 1) % 5], side if number < start + agreeing else _OTHER[side])

    def report(self, section: PreferenceSpec | None = None) -> PreferenceReport:
        """Record what was noted and report on the store."""
        self.record()
        return report_on_votes(self.store, LANE, section or PreferenceSpec(), "embedded")

    def record(self) -> None:
        for rater in dict.fromkeys(rater for rater, _ in self._noted):
            self.store.record_judged_battles((vote for voter, vote in self._noted if voter is rater), rater)
        self._noted.clear()


def fair_side(number: int) -> Verdict:
    """Left and right as often, for the first and the second version as often."""
    return "left" if number % 4 in (0, 3) else "right"


@contextmanager
def booth(folder: Path) -> Iterator[Booth]:
    with FeedbackStore(f"sqlite:///{folder / 'planted.sqlite'}", rater_pepper=b"a pepper of the tests only") as store:
        yield Booth(store)
