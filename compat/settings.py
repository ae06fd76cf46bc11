"""Settings from the environment, read anew for every batch so that a switch works without a redeploy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from compat.errors import HomeUnavailableError, InvalidInputError, Problem

PREFIX = "KNOWLEDGE_"


# What the command's options or a flow's form say in place of a variable, for the batch that is begun in this context.
_OVER_THE_ENVIRONMENT: ContextVar[dict[str, Any]] = ContextVar("settings", default={})  # noqa: B039


@contextmanager
def settings_of_this_call(**values: Any) -> Iterator[None]:
    """Let values stand before the environment's while the block runs; None leaves the environment's."""
    given = {name: value for name, value in values.items() if value is not None}
    token = _OVER_THE_ENVIRONMENT.set({**_OVER_THE_ENVIRONMENT.get(), **given})
    try:
        yield
    finally:
        _OVER_THE_ENVIRONMENT.reset(token)


class Settings(BaseModel):
    """``KNOWLEDGE_*`` variables; an empty one counts as not set."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    home: Path = Field(Path("~/.knowledge-batch"), description="Folder of the embedded database and the logs.")
    database_url: str | None = Field(None, description="SQLAlchemy URL of the store; by default SQLite in the home.")
    workflow_mode: str | None = Field(None, description="legacy, engine or shadow; by default the stored switch decides.")
    workflow_enable_legacy_rollback: bool = Field(True, description="Whether legacy finishes a batch when Prefect fails.")
    extractor: str = Field("rules", description="rules, linear, llm, or package.module:factory.")
    run_on: Literal["threads", "processes", "dask", "ray"] = Field(
        "threads",
        description="Where the extractor runs: threads of the batch's process, processes (one for each core), dask or ray.",
    )
    cluster: str | None = Field(None, description="Address of the Dask scheduler or the Ray cluster, for KNOWLEDGE_RUN_ON.")
    retry_base_seconds: float = Field(
        1.0, ge=0, le=3600, description="The unit, in seconds, of the waits of 1, 2 and 4 before retries."
    )
    prefect_timeout_seconds: float = Field(
        3.0, gt=0, le=600, description="Seconds that Prefect's API may take to answer; then legacy finishes the batch."
    )
    lease_seconds: float = Field(
        60.0, gt=0, le=604_800, description="Seconds without a heartbeat after which a batch counts as dead."
    )

    sources_allow: str | None = Field(
        None,
        description="What runs of the deployments may read besides the sample and what their deployment names: "
        "folders, URLs that addresses begin with, env:NAME; with commas between them.",
    )

    linear_model: Path | None = Field(None, description="The model's file of the linear extractor; train writes it.")

    llm_model: str | None = Field(None, description="The model of the llm extractor: openai:NAME, anthropic:NAME, ollama:NAME.")
    llm_base_url: str | None = Field(None, description="Address of the model's server; by default the provider's own.")
    llm_api_key: SecretStr | None = Field(None, description="The model's key; by default the provider's own variable.")
    llm_calls: Literal["one", "three"] = Field(
        "one", description="Calls per chunk: one, or three (mentions, entities, relations)."
    )
    llm_requests_per_minute: int | None = Field(None, ge=1, description="Maximum requests per minute, over all processes.")
    llm_tokens_per_minute: int | None = Field(None, ge=1, description="Maximum tokens per minute, over all processes.")
    llm_token_budget: int | None = Field(None, ge=1, description="Maximum tokens per batch; it stops before it exceeds them.")
    llm_timeout_seconds: float = Field(60.0, gt=0, le=86_400, description="Seconds that a whole call may take.")
    llm_max_tokens: int = Field(4096, ge=1, description="Maximum tokens per answer.")
    llm_temperature: float | None = Field(None, ge=0, le=2, description="Sent with every call if it is set.")
    llm_price_in: float | None = Field(None, ge=0, description="Price of a million input tokens, in your currency.")
    llm_price_out: float | None = Field(None, ge=0, description="Price of a million output tokens, in your currency.")
    llm_fresh_since: float | None = Field(
        None, description="Answers stored before this moment (seconds since 1970) are ignored; the command's --fresh sets it."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_the_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        # By hand: pydantic-settings takes a tenth of a second of CPU to load, and every command would pay it.
        names = {PREFIX + name.upper(): name for name in cls.model_fields}
        found = {names[name.upper()]: value for name, value in os.environ.items() if value and name.upper() in names}
        return found | given

    @field_validator("home")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @classmethod
    def load(cls) -> Self:
        """Return the settings now. Raises InvalidInputError that names the variable."""
        try:
            return cls(**_OVER_THE_ENVIRONMENT.get())
        except ValidationError as error:
            problems = [
                Problem(PREFIX + str(item["loc"][0]).upper().removeprefix(PREFIX), item["input"], item["msg"])
                for item in error.errors()
            ]
            raise InvalidInputError(problems) from None

    def make_home(self, *parts: str) -> Path:
        """Make the home, or a folder in it, and return it. Raises HomeUnavailableError where it can't be made or written."""
        folder = self.home.joinpath(*parts)
        try:
            for each in (*reversed(folder.relative_to(self.home).parents), folder.relative_to(self.home)):
                (self.home / each).mkdir(mode=0o700, parents=True, exist_ok=True)
            # Only writing shows whether it can be: rights, a read-only or full disk.
            with TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            raise HomeUnavailableError(str(folder), error.strerror or type(error).__name__) from error

    @property
    def url(self) -> str:
        """The store's URL. The folder is made when the database is opened."""
        return self.database_url or f"sqlite:///{self.home / 'knowledge.db'}"
