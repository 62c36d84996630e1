"""What can go wrong at a publisher or a consumer, drawn once.

```
ClientError
|-- Invalid           unknown form, field or purpose, or no fit for the schema; raised by publish() at once
|-- QueueFull         nothing is taken at the moment: the queue is full (or the event was dropped from it)
|-- Undelivered       the event did not become durable: retries are used up or the service is gone
|   `-- Turned        the service refused this event for good; `code` says why
`-- KeysUnavailable   the key endpoint does not answer; ask again later, nothing was opened
```

No text ever quotes an event: a code and the name of a member at most.
"""


class ClientError(Exception):
    """Anything this package raises; `code` is one of Lapse's public codes where it has one."""

    def __init__(self, what: str, *, code: str = "", where: str = "") -> None:
        super().__init__(what, code, where)
        self.what = what
        self.code = code
        self.where = where

    def __str__(self) -> str:
        return " ".join(
            filter(None, (self.code and f"{self.code}:", self.what, self.where and f"({self.where})"))
        )


class Invalid(ClientError):
    """The event does not fit the policy or its schema."""


class QueueFull(ClientError):
    """The queue has no room."""


class Undelivered(ClientError):
    """The event did not become durable; `retry_after` is in seconds where the service named it."""

    def __init__(self, what: str, *, code: str = "", where: str = "", retry_after: float = 0.0) -> None:
        super().__init__(what, code=code, where=where)
        self.retry_after = retry_after


class Turned(Undelivered):
    """The service refused the event for good: sending it again would get the same answer."""


class KeysUnavailable(ClientError):
    """The key endpoint does not answer, or asks to wait."""
