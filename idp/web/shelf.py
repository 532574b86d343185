"""What a browser's session keeps for the forms that are open in it, so that no tab acts on what another tab shows."""

from typing import Any

from flask import session

from idp.policy import OPEN_FORMS_MAX


class Shelf:
    """The newest few things of one kind, each under the key that its form carries in a hidden field.

    A key finds something within this session and nowhere else. Values are what JSON holds, and stay on the server.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Keep `value`, as the newest; of more than `OPEN_FORMS_MAX` the oldest goes, and its form is refused."""
        # Pairs, not an object: a database may order an object's names as it likes.
        others = [pair for pair in self._pairs() if pair[0] != key]
        session[self._name] = [*others, [key, value]][-OPEN_FORMS_MAX:]

    def find(self, key: str) -> dict[str, Any] | None:
        """What is kept under this key."""
        return dict(self._pairs()).get(key)

    def all(self) -> list[tuple[str, dict[str, Any]]]:
        """Keys and values, the newest first."""
        return [(key, value) for key, value in reversed(self._pairs())]

    def drop(self, *keys: str) -> None:
        """Keep these no longer."""
        if any(key in keys for key, _ in self._pairs()):
            session[self._name] = [pair for pair in self._pairs() if pair[0] not in keys]

    def _pairs(self) -> list[Any]:
        found: list[Any] = session.get(self._name, [])
        return found
