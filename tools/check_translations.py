"""Says whether every text of the pages has its English: `python -m tools.check_translations`.

Fails on a text that is missing, fuzzy or no longer used, and on one whose placeholders or tags differ.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "idp/translations/en/LC_MESSAGES/messages.po"
KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None,
    "gettext": None,
    "lazy_gettext": None,
    "ngettext": (1, 2),
}

_KEPT = re.compile(r"%\(\w+\)s|</?\w+[^>]*>")


def used_texts(root: Path = ROOT) -> set[str | tuple[str, ...]]:
    """Every text that templates and code hand to gettext."""
    with (root / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = extract_from_dir(root, methods, options, keywords=KEYWORDS)
    return {text for _file, _line, text, _comments, _context in found}


def read_catalogue(path: Path = CATALOGUE) -> Catalog:
    """The English texts."""
    with path.open("rb") as file:
        return read_po(file, locale="en")


def problems(used: set[str | tuple[str, ...]], catalogue: Catalog) -> Iterator[str]:
    """One line for each text that is not as it should be."""
    known: dict[str | tuple[str, ...], Message] = {
        tuple(message.id) if isinstance(message.id, list | tuple) else message.id: message
        for message in catalogue
        if message.id
    }
    for text in sorted(used, key=str):
        message = known.get(text)
        if message is None:
            yield f"missing: {text}"
            continue
        translations = message.string if isinstance(message.string, list | tuple) else [message.string]
        if message.fuzzy:
            yield f"fuzzy: {text}"
        elif len(translations) != (2 if isinstance(text, tuple) else 1) or not all(translations):
            yield f"empty: {text}"
        else:
            sources = text if isinstance(text, tuple) else (text,)
            for source, translation in zip(sources, translations, strict=True):
                if sorted(_KEPT.findall(source)) != sorted(_KEPT.findall(str(translation))):
                    yield f"placeholders or tags differ: {source}"
    for text in sorted(known.keys() - used, key=str):
        yield f"no longer used: {text}"


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    found = list(problems(used_texts(), read_catalogue()))
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
