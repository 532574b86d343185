"""Prints which requirement is proven by how many tests, read from the marks `@pytest.mark.spec("ID")`.

With the path of a page of requirements as argument, it also lists those of the page that no test carries.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path("tests")
ROW = re.compile(r"^\| ((?:M|[A-Z]{1,2}-)\d+)\b", re.MULTILINE)  # a table row that begins with an ID


def find_marks(source: str) -> Iterator[tuple[str, str]]:
    """Each ID with the name of the test, class or module that carries it."""
    owner = "module"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            owner, marks = node.name, node.decorator_list
        elif isinstance(node, ast.Assign) and any(getattr(each, "id", "") == "pytestmark" for each in node.targets):
            owner, marks = "module", [node.value]
        else:
            continue
        for call in (each for mark in marks for each in ast.walk(mark) if isinstance(each, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr == "spec":
                for argument in call.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value, owner


def order(identifier: str) -> list[tuple[int, str, int]]:
    """A sort key in which L-2 comes before L-10."""
    return [(part.isdigit(), part, int(part) if part.isdigit() else 0) for part in re.findall(r"\d+|\D+", identifier)]


def main(arguments: list[str]) -> int:
    """Print the table; 1 if a given page has requirements that no test carries."""
    proven: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for identifier, owner in find_marks(path.read_text(encoding="utf-8")):
            proven[identifier].append(f"{path.relative_to(TESTS)}::{owner}")
    for identifier in sorted(proven, key=order):
        print(f"{identifier:<16}{len(proven[identifier]):>3}  {', '.join(proven[identifier])}")
    print(f"{len(proven)} requirements, {sum(map(len, proven.values()))} tests")
    if not arguments:
        return 0
    wanted = ROW.findall(Path(arguments[0]).read_text(encoding="utf-8"))
    missing = sorted({each for each in wanted if each not in proven}, key=order)
    print(f"No test carries {len(missing)} of {len(set(wanted))}: {' '.join(missing) or '-'}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
