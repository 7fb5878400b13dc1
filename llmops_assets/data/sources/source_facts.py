"""What is known about a source at the time when it is read: where a data set's rows come from, and under what terms."""

from pydantic import BaseModel, ConfigDict, Field


class SourceFacts(BaseModel):
    """One source of a data set as it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(description="Its name in the recipe.")
    kind: str
    license: str = Field(description="SPDX expression, or unknown.")
    revision: str | None = Field(description="Commit of the hub or of LakeFS, or ETag of a single remote file.")
    content_hash: str = Field(description="Equal as long as building from the source gives the same records.")
    files: int | None = Field(default=None, description="None where the source is no set of files on this machine.")
    bytes: int | None = None
