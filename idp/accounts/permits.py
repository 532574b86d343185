"""Leave to set a password: what a right answer, a mailed link or an expired password opens, and nothing else (R-1)."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


class Means(enum.StrEnum):
    """How somebody came by a permit."""

    QUESTION = "question"
    LINK = "link"
    EXPIRED = "expired"
    INVITATION = "invitation"
    CURRENT = "current"
    """The current password, typed in the same form: such a permit is made and used within one call, never held."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to set the password of one account, in the browser that holds it, once.

    It ends at `expires_at`, and with the account's `epoch`: any change of the password, of the mail address or of the
    state voids it in the same transaction (R-4). The web layer keeps it in the browser's session on the server, as
    `to_json` gives it; no request can name or change what it is for (R-2).
    """

    account_id: str
    username: str
    """Canonical; for password managers, on the form."""
    epoch: int
    means: Means
    expires_at: datetime

    def is_over(self, now: datetime) -> bool:
        """Whether its time has passed; whether the epoch has, only the store knows."""
        return now >= self.expires_at

    def to_json(self) -> dict[str, Any]:
        """What JSON holds of it."""
        return {
            "account_id": self.account_id,
            "username": self.username,
            "epoch": self.epoch,
            "means": self.means.value,
            "expires_at": self.expires_at.astimezone(UTC).isoformat(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Permit":
        """What `to_json` gave."""
        return cls(
            account_id=value["account_id"],
            username=value["username"],
            epoch=value["epoch"],
            means=Means(value["means"]),
            expires_at=datetime.fromisoformat(value["expires_at"]),
        )
