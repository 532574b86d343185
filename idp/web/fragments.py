"""The templates: their environment, and parts that are the same for everybody, rendered once for each language."""

from collections.abc import Callable, MutableMapping
from typing import Any

from flask import request
from flask.templating import Environment
from markupsafe import Markup

from idp.web.i18n import current_language

_KEPT_MAX = 256


class PageTemplates(Environment):
    """Flask's, where a template has no globals of its own: ours have none.

    Jinja lays a map over the environment's, in which each import and each page look through all names one by one.
    """

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        return super().make_globals(d) if d else self.globals


def install(environment: Environment) -> None:
    """Give the templates `same_for_all`, for call blocks: `{% call same_for_all("foot", year) %}`.

    What stands inside may depend on the deployment, the language, the path that the server is mounted at, and the
    values that stand in the call; never on the request nor on who makes it, for everybody is shown the same. The name
    is that of one place.
    """
    kept: dict[tuple[str | int, ...], Markup] = {}

    def same_for_all(name: str, *values: str | int, caller: Callable[[], Markup]) -> Markup:
        key = (name, current_language().tag, request.script_root, *values)
        found = kept.get(key)
        if found is None:
            found = caller()
            # Whoever edits a template wants to see it.
            if len(kept) < _KEPT_MAX and not environment.auto_reload:
                kept[key] = found
        return found

    environment.globals["same_for_all"] = same_for_all
