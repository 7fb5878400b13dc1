"""The register of adapters that may appear in battles: a content hash, and the label v<major>.<minor> it was given."""

from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Row, func, insert, select

from llmops_assets.feedback.errors import UnknownVersion, VersionRefused
from llmops_assets.feedback.records import AdapterVersion, describe
from llmops_assets.feedback.schema import deployment_version as table

PREFERENCE_STAGES = frozenset(["dpo"])


def label_for(connection: Connection, deployment: str, stage: str, parent_sha256: str | None) -> tuple[int, int]:
    """The next free (major, minor): a preference stage continues its parent's major, any other stage opens a new one.

    Raises `UnknownVersion` when a preference stage has no registered parent.
    """
    same = table.c.deployment == deployment
    if stage not in PREFERENCE_STAGES:
        return 1 + (connection.execute(select(func.max(table.c.major)).where(same)).scalar_one() or 0), 0
    parent = require(connection, deployment, parent_sha256 or "(none)", f"the parent of a {stage} adapter")
    minor = connection.execute(select(func.max(table.c.minor)).where(same, table.c.major == parent.major)).scalar_one()
    return parent.major, minor + 1


def require(connection: Connection, deployment: str, adapter_sha256: str, role: str) -> Row[Any]:
    """The row of a registered adapter. Raises `UnknownVersion` naming `role` when it is not there."""
    query = select(table).where(table.c.adapter_sha256 == adapter_sha256, table.c.deployment == deployment)
    found = connection.execute(query).first()
    if found is None:
        raise UnknownVersion(
            f"{role}: adapter {adapter_sha256} is not registered for deployment {deployment!r}; call register_version "
            "for it first (the adapter assets do so when they are materialized)."
        )
    return found


def find(connection: Connection, adapter_sha256: str) -> AdapterVersion | None:
    """A registered adapter, whatever its deployment."""
    row = connection.execute(select(table).where(table.c.adapter_sha256 == adapter_sha256)).first()
    return None if row is None else _record(row)


def of_deployment(connection: Connection, deployment: str) -> list[AdapterVersion]:
    """All adapters of a deployment, v1.0 first."""
    query = select(table).where(table.c.deployment == deployment).order_by(table.c.major, table.c.minor)
    return [_record(row) for row in connection.execute(query)]


def register(
    connection: Connection,
    *,
    adapter_sha256: str,
    deployment: str,
    stage: str,
    parent_sha256: str | None,
    base_model: str,
    asset_key: str,
    materialization_run: str | None,
    mlflow_run: str | None,
) -> str:
    """Give the adapter the next label, or return the one it has.

    Raises `VersionRefused` for malformed values or a hash of another deployment, `UnknownVersion` for a DPO adapter
    without a registered parent.
    """
    if known := find(connection, adapter_sha256):
        if known.deployment != deployment:
            raise VersionRefused(
                f"adapter {adapter_sha256} is {known.label} of deployment {known.deployment!r} already; "
                f"it cannot also be registered for {deployment!r}."
            )
        return known.label
    major, minor = label_for(connection, deployment, stage, parent_sha256)
    try:
        version = AdapterVersion(
            adapter_sha256=adapter_sha256,
            deployment=deployment,
            label=f"v{major}.{minor}",
            stage=stage,
            parent_sha256=parent_sha256,
            base_model=base_model,
            asset_key=asset_key,
            materialization_run=materialization_run,
            mlflow_run=mlflow_run,
            created_at=datetime.now(UTC),
        )
    except ValidationError as error:
        raise VersionRefused(f"adapter {adapter_sha256!r} cannot be registered: {describe(error)}") from error
    _insert(connection, version)
    return version.label


def restore(connection: Connection, version: AdapterVersion) -> bool:
    """Add an exported version under its own label; False if it is there already.

    Raises `VersionRefused` when the hash is registered otherwise, or the label stands for another adapter.
    """
    known = find(connection, version.adapter_sha256)
    if known == version:
        return False
    if known is not None:
        raise VersionRefused(
            f"adapter {version.adapter_sha256} is registered here as {known.label} of {known.deployment!r} with other "
            "details; keep one of the two records."
        )
    taken = [other for other in of_deployment(connection, version.deployment) if other.label == version.label]
    if taken:
        raise VersionRefused(
            f"label {version.label} of {version.deployment!r} is adapter {taken[0].adapter_sha256} here, not "
            f"{version.adapter_sha256}; import into an empty store, or drop this line."
        )
    _insert(connection, version)
    return True


def _insert(connection: Connection, version: AdapterVersion) -> None:
    major, minor = (int(part) for part in version.label.removeprefix("v").split("."))
    connection.execute(insert(table).values(version.model_dump(exclude={"label"}) | {"major": major, "minor": minor}))


def _record(row: Row[Any]) -> AdapterVersion:
    values = dict(row._mapping)
    label = f"v{values.pop('major')}.{values.pop('minor')}"
    return AdapterVersion.model_validate(values | {"label": label})
