"""Parts of a page that are the same for everybody, rendered once for each language."""

from collections.abc import Callable

from flask import request
from jinja2 import Environment
from markupsafe import Markup

from idp.web.i18n import current_language

_KEPT_MAX = 256


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
