"""Settings: the environment and `agentloop.toml`, read once into one frozen object.

Only `loop` and `ui` read them; every room is told what it needs by argument.
"""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from agentloop.base.errors import ConfigError
from agentloop.base.records.record import Score, complaint

FILE = Path("agentloop.toml")


class Settings(BaseSettings):
    """Each may be given as `AGENTLOOP_<NAME>` or as a line of `agentloop.toml`; the environment
    wins. Secrets are not among them: a provider reads its key from the environment when it calls.
    """

    model_config = SettingsConfigDict(
        env_prefix="AGENTLOOP_", env_ignore_empty=True, toml_file=FILE, frozen=True, extra="forbid"
    )

    database_url: str = "sqlite:///traces/loop.db"
    """Where traces are kept: an SQLAlchemy URL of SQLite or PostgreSQL."""
    spill_dir: Path = Path("traces")
    """Where traces wait in files while the store cannot be written."""
    local_url: str = "http://127.0.0.1:8421/v1"
    """Where `agentloop local serve` listens."""
    local_root: Path = Path("traces/local")
    """Where `agentloop local serve` keeps files, jobs and models."""
    good: Score = 0.8
    """The lowest score that is imitated, in [0, 1]."""
    bad: Score = 0.2
    """The highest score that is a bad example, in [0, 1] and below `good`."""

    @model_validator(mode="after")
    def _good_above_bad(self) -> Self:
        if self.bad >= self.good:
            raise ValueError(f"bad ({self.bad}) must lie below good ({self.good})")
        return self

    @classmethod
    def read(cls) -> Self:
        """The settings as environment and file have them now.

        Raises:
            ConfigError: one is unknown or out of range; the message names it.
        """
        try:
            return cls()
        except ValidationError as error:
            raise ConfigError(f"setting {complaint(error)}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{FILE} is no TOML: {error}") from error
        except OSError as error:
            raise ConfigError(f"{FILE} cannot be read: {error.strerror}") from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings  # no file is read that nobody named
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
