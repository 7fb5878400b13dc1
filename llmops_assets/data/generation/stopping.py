"""When generation stops: enough rows, no budget, or a generator of which hardly anything can be used."""

from collections import deque

from llmops_assets.data.generation.specs import GenerationSpec


class AcceptRate:
    """The share of the last tries that were accepted."""

    def __init__(self, what: str, spec: GenerationSpec) -> None:
        """`what` is what tries are called in the sentence."""
        self._what = what
        self._least = spec.min_accept_rate
        self._tries: deque[bool] = deque(maxlen=spec.accept_window)

    def note(self, accepted: bool) -> None:
        self._tries.append(accepted)

    @property
    def too_low(self) -> str | None:
        """Why to stop, as a sentence; None while the window is not full or enough was accepted."""
        window = self._tries.maxlen or 0
        if len(self._tries) < window or sum(self._tries) >= self._least * window:
            return None
        return (
            f"{sum(self._tries)} of the last {window} {self._what} were accepted, less than "
            f"min_accept_rate = {self._least:.0%}"
        )
