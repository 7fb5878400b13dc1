"""Licences of sources: SPDX expressions, checked at the door, and the patterns of those that a lane does not want."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

UNKNOWN = "unknown"
_OPERATORS = frozenset({"AND", "OR", "WITH"})


def checked_license(expression: str) -> str:
    """Return an SPDX expression as SPDX writes it, such as `MIT` for `mit`; `unknown` stays.

    `LicenseRef-` and a name of your own stands for a licence that SPDX does not list. Raises ValueError with close
    matches.
    """
    if expression.strip().lower() == UNKNOWN:
        return UNKNOWN
    try:
        return canonicalize_license_expression(expression)
    except InvalidLicenseExpression as error:
        raise ValueError(f"{expression!r} is no SPDX expression; {_advice(expression)}") from error


License = Annotated[str, AfterValidator(checked_license)]


class LicensePolicy(BaseModel):
    """Licences that a lane does not want to train on; a check of each data set and adapter warns of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deny: list[str] = Field(
        min_length=1, description="SPDX ids, with * for any characters, such as *-NC-*; or unknown."
    )


def denied(licenses: Mapping[str, str], deny: Sequence[str]) -> dict[str, str]:
    """Return those of `licenses` (SPDX expression by source) that name an id which a pattern of `deny` matches."""
    return {source: expression for source, expression in licenses.items() if _names_one(expression, deny)}


def union(expressions: Iterable[str]) -> str:
    """Return the expression of what is made from parts under `expressions`: each of them holds."""
    parts = sorted(set(expressions))
    return " AND ".join(f"({part})" if " OR " in part and len(parts) > 1 else part for part in parts)


def _names_one(expression: str, deny: Sequence[str]) -> bool:
    ids = [word for word in re.split(r"[\s()]+", expression) if word and word not in _OPERATORS]
    return any(fnmatchcase(one.lower(), pattern.lower()) for one in ids for pattern in deny)


def _advice(expression: str) -> str:
    from packaging.licenses._spdx import LICENSES

    written = re.sub(r"[\s_]+", "-", expression.strip().lower())
    close = [LICENSES[key]["id"] for key in get_close_matches(written, LICENSES, n=3)]
    suggestion = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{suggestion}Write an id of SPDX's list, LicenseRef-<name> for a licence that it lacks, or unknown"
