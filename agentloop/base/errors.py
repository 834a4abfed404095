"""Every error agentloop raises, on one page. `except AgentloopError` catches all of them.

AgentloopError
├── ConfigError          your settings: missing, unknown, or contradicting each other
├── RecordError          your data: a record breaks a rule of its own kind
│   ├── EmptyHarvest     nothing passed the selection, so there is nothing to train on
│   ├── ExpressionError  a `--where` that cannot be read
│   └── GraderError      a grader that cannot be compiled
├── NotFound             nothing is stored under that id or name
├── TransitionError      a state machine was asked to step where no arrow leads
├── GateClosed           a version may not go live; the message gives every reason
├── StoreError           the store did not take or give what was asked
│   ├── StoreBusy        somebody else holds it; the same request may pass later
│   └── StoreSchema      its schema is not the one this release reads
└── ProviderError        a fine-tuning service said no
    ├── ProviderRefused  the same request will be refused again; change it
    └── ProviderBusy     the same request may pass later; wait `retry_after` seconds

`tests/base/test_errors.py` walks the classes and compares them with this tree.
"""


class AgentloopError(Exception):
    """Base of everything below. Messages name the value (`!r`) and the way out."""


class ConfigError(AgentloopError, ValueError):
    """A setting is missing, unknown, or contradicts another."""


class RecordError(AgentloopError, ValueError):
    """A record breaks a rule of its own kind."""


class EmptyHarvest(RecordError):
    """Nothing passed the selection, so there is nothing to train on."""


class ExpressionError(RecordError):
    """A `--where` expression cannot be read, or asks for something that does not exist."""


class GraderError(RecordError):
    """A grader cannot be compiled: unknown type, bad template, bad formula."""


class NotFound(AgentloopError, LookupError):
    """Nothing is stored under that id or name."""


class TransitionError(AgentloopError):
    """A state machine was asked to step where no arrow leads."""


class GateClosed(AgentloopError):
    """A version may not go live; the message gives every reason."""


class StoreError(AgentloopError):
    """The store did not take or give what was asked: unreachable, full, read-only, damaged."""


class StoreBusy(StoreError):
    """Somebody else holds the store; the same request may pass later."""


class StoreSchema(StoreError):
    """The store's schema is newer than this release, or not agentloop's."""


class ProviderError(AgentloopError):
    """A fine-tuning service said no. `provider` is the name it is registered under."""

    def __init__(self, message: str, *, provider: str = "") -> None:
        super().__init__(message)
        self.provider = provider


class ProviderRefused(ProviderError):
    """The same request will be refused again; change it. `code` is the service's own."""

    def __init__(self, message: str, *, provider: str = "", code: str = "") -> None:
        super().__init__(message, provider=provider)
        self.code = code


class ProviderBusy(ProviderError):
    """The same request may pass later. `retry_after` is in seconds."""

    def __init__(self, message: str, *, provider: str = "", retry_after: float = 30.0) -> None:
        super().__init__(message, provider=provider)
        self.retry_after = retry_after
