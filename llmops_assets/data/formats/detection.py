"""Tells the layout of a record by its keys, and says so when it could be several."""

from collections.abc import Mapping
from typing import Any

from llmops_assets.data.records import Reason, RecordError


def detect(value: Mapping[str, Any], needs: Mapping[str, tuple[str, ...]], *, what: str) -> str:
    """Return the name of the one layout of which `value` has all keys; `needs` has the keys of each.

    A key with null counts as absent: tables have the columns of all their rows. A layout whose keys are a part of
    another's that fits does not compete with it. Raises RecordError naming the choices if none or several fit; `what`
    is what the record should be, for the message.
    """
    fitting = [name for name, keys in needs.items() if all(value.get(key) is not None for key in keys)]
    best = [name for name in fitting if not any(set(needs[name]) < set(needs[other]) for other in fitting)]
    if len(best) == 1:
        return best[0]
    if best:
        choices = " or ".join(f"{name} ({', '.join(needs[name])})" for name in best)
        raise RecordError(
            Reason.AMBIGUOUS_FORMAT, f"could be {choices}; name one as `format` of the source (or with --format)"
        )
    known = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in needs.items())
    raise RecordError(Reason.UNKNOWN_FORMAT, f"keys are {sorted(value)}; a {what} has the keys of one of {known}")
