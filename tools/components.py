"""Writes the list of components: what a server consists of beside our own code, as CycloneDX 1.6, from the locks.

`make components` writes docs/components.json; a test compares it with the locks, so that what is published is true.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCKS = {"runtime": "required", "tracing": "optional"}
"""What is installed where the server runs. What demo, tests and checks need goes nowhere."""
LIST = Path("docs/components.json")
PINNED = re.compile(r"^([A-Za-z][\w.-]*)(?:\[[\w,-]+\])?==([^\s;]+)", re.MULTILINE)
# Beside the packages: what lies in this repository and was made by others.
CARRIED = (
    {
        "type": "file",
        "name": "DejaVu",
        "version": "2.37",
        "description": "Glyphs of bold faces, for the CAPTCHA: idp/captcha_media/fonts",
        "licenses": [{"license": {"name": "Bitstream Vera and Arev"}}],
    },
    {
        "type": "file",
        "name": "Liberation",
        "version": "2.1",
        "description": "Glyphs of bold faces, for the CAPTCHA: idp/captcha_media/fonts",
        "licenses": [{"license": {"id": "OFL-1.1"}}],
    },
)


def find_packages(lock: str, scope: str) -> Iterator[dict[str, Any]]:
    """Each package that this lock pins. The hashes of whatever may be installed of it stay in the lock."""
    for name, version in PINNED.findall(lock):
        package = re.sub(r"[-_.]+", "-", name).lower()
        address = f"pkg:pypi/{package}@{version}"
        yield {
            "type": "library",
            "bom-ref": address,
            "name": package,
            "version": version,
            "scope": scope,
            "purl": address,
        }


def make_list(folder: Path) -> str:
    """The list for these locks; the same for the same locks."""
    found: dict[str, dict[str, Any]] = {}
    for name, scope in LOCKS.items():
        for package in find_packages((folder / f"requirements/{name}.txt").read_text("utf-8"), scope):
            found.setdefault(package["purl"], package)
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "llavero", "name": "llavero"}},
        "components": [*(found[each] for each in sorted(found)), *CARRIED],
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the list into this checkout."""
    LIST.write_text(make_list(Path()), "utf-8")
    print(LIST)
    return 0


if __name__ == "__main__":
    sys.exit(main())
