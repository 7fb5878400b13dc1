"""Licences of sources are SPDX expressions, and a lane may say which it does not want."""

import pytest
from pydantic import ValidationError

from llmops_assets.data.licenses import LicensePolicy, checked_license, denied, union
from llmops_assets.data.sources.named_sets import NAMED_SETS
from llmops_assets.data.sources.specs import TextFilesSource


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("mit", "MIT"),
        ("apache-2.0 or MIT", "Apache-2.0 OR MIT"),
        ("unknown", "unknown"),
        ("LicenseRef-Ours-2024", "LicenseRef-Ours-2024"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
    ],
)
def test_expressions_are_kept_as_spdx_writes_them(written: str, kept: str) -> None:
    assert TextFilesSource(name="docs", pattern="*", license=written).license == kept


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("CC-BY-SA 3.0", "did you mean CC-BY-SA-3.0"),
        ("apache 2", "did you mean Apache-2.0"),
        ("cc_by_nc_4.0", "did you mean CC-BY-NC-4.0"),
        ("whatever we like", "Write an id of SPDX's list"),
        ("MIT AND", "Write an id of SPDX's list"),
        ("", "Write an id of SPDX's list"),
    ],
)
def test_what_is_no_expression_is_refused_with_close_ones(written: str, advice: str) -> None:
    with pytest.raises(ValidationError, match=advice) as refused:
        TextFilesSource(name="docs", pattern="*", license=written)
    assert refused.value.errors()[0]["loc"] == ("license",)


def test_named_sets_have_licences_that_spdx_knows() -> None:
    assert all(checked_license(known.license) == known.license for known in NAMED_SETS.values())


def test_a_policy_denies_by_id_with_wildcards() -> None:
    licenses = {"a": "MIT", "b": "CC-BY-NC-4.0", "c": "unknown", "d": "MIT AND (CC-BY-NC-SA-3.0 OR MIT)"}
    assert denied(licenses, ["unknown"]) == {"c": "unknown"}
    assert sorted(denied(licenses, ["*-nc-*", "unknown"])) == ["b", "c", "d"]
    assert denied(licenses, ["NC"]) == {}
    with pytest.raises(ValidationError):
        LicensePolicy(deny=[])


def test_what_is_made_of_parts_is_under_all_their_licences() -> None:
    assert union(["MIT", "CC0-1.0", "MIT"]) == "CC0-1.0 AND MIT"
    assert union(["MIT OR Apache-2.0", "CC0-1.0"]) == "CC0-1.0 AND (MIT OR Apache-2.0)"
    assert union(["MIT OR Apache-2.0"]) == "MIT OR Apache-2.0"
