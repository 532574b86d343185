"""What a linter cannot see: rules over the text of a file, each a function from source to complaints."""

import ast
import re
from collections.abc import Iterator

LINES_MAX = 400
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "handler", "handlers", "misc"}
CLOCK_CALLS = {"now", "utcnow", "today"}
FUNCTIONS_OF_TIME = {"now", "current_timestamp", "current_date", "current_time", "localtimestamp", "clock_timestamp"}


def find_long_file(source: str) -> Iterator[str]:
    """A file with more lines than one subject needs."""
    count = source.count("\n")
    if count > LINES_MAX:
        yield f"{count} lines: two subjects"


def find_missing_docstring(source: str) -> Iterator[str]:
    """A module that does not begin by saying, in a sentence, what lives there."""
    first = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0]
    if not re.fullmatch(r".{7,}[.!?]", " ".join(first.split())):
        yield "no sentence at the top that says what lives here"


def find_span_literals(source: str) -> Iterator[str]:
    """A `timedelta` written with a number: a decision that belongs into `policy.py`. Zero decides nothing."""
    for call in _calls(source):
        if _last_name(call.func) != "timedelta":
            continue
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        if any(_is_literal(value) for value in values):
            yield f"line {call.lineno}: a span written as a literal"


def find_clock_reads(source: str) -> Iterator[str]:
    """A look at the clock of the wall; the monotonic clock is free."""
    for call in _calls(source):
        if not isinstance(call.func, ast.Attribute):
            continue
        owner = _last_name(call.func.value)
        if (owner in {"datetime", "date"} and call.func.attr in CLOCK_CALLS) or (
            owner == "time" and call.func.attr in {"time", "time_ns"}
        ):
            yield f"line {call.lineno}: reads the clock; take `now` as an argument"


def find_clock_of_the_store(source: str) -> Iterator[str]:
    """A look at the database's clock, which is not the application's (O-7)."""
    words = r"\b(current_timestamp|(clock|statement|transaction)_timestamp|now\(\)|strftime\(|datetime\('now')"
    tree = ast.parse(source)
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found = _last_name(node.value) == "func" and node.attr in FUNCTIONS_OF_TIME
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = id(node) not in described and re.search(words, node.value, re.IGNORECASE) is not None
        else:
            continue
        if found:
            yield f"line {node.lineno}: reads the database's clock; bind `now`"


def find_banned_imports(source: str) -> Iterator[str]:
    """Authlib's Flask integration, which is not used, and its own JOSE, which joserfc replaces."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if re.match(r"authlib\.(integrations|jose)(\.|$)", name):
                yield f"line {node.lineno}: imports {name}"
                break


def find_public_face(source: str) -> Iterator[str]:
    """An `__all__` that is not sorted, or is not exactly what the module imports and defines for others."""
    tree = ast.parse(source)
    listed: list[str] | None = None
    offered: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            offered |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            offered.add(node.name)
        elif isinstance(node, ast.Assign) and [_last_name(each) for each in node.targets] == ["__all__"]:
            listed = list(ast.literal_eval(node.value))
    if listed is None:
        yield "no __all__"
        return
    if listed != sorted(listed):
        yield "__all__ is not sorted"
    public = {name for name in offered if not name.startswith("_")}
    if set(listed) != public:
        yield f"__all__ differs from what is offered: {', '.join(sorted(public ^ set(listed)))}"


def find_inline_code(template: str) -> Iterator[str]:
    """Style or script inside a template: the content security policy would refuse it."""
    markup = re.sub(r"\{#.*?#\}", "", template, flags=re.DOTALL)
    for tag in re.finditer(r"<[a-zA-Z](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>", markup):
        if re.search(r"\sstyle\s*=", tag.group(), re.IGNORECASE):
            yield f"inline style: {tag.group()[:60]}"
        if re.search(r"\son[a-z]+\s*=", tag.group(), re.IGNORECASE):
            yield f"inline handler: {tag.group()[:60]}"
        if re.search(r"=\s*[\"']?\s*javascript:", tag.group(), re.IGNORECASE):
            yield f"script in an address: {tag.group()[:60]}"
    if re.search(r"<style\b", markup, re.IGNORECASE):
        yield "a style element"
    for script in re.finditer(r"<script\b[^>]*>(.*?)</script\s*>", markup, re.DOTALL | re.IGNORECASE):
        if script.group(1).strip():
            yield f"inline script: {script.group(1).strip()[:60]}"


def find_vague_name(path: str) -> Iterator[str]:
    """A module named for nothing in particular."""
    parts = re.split(r"[/.]", path)
    for part in parts:
        if part in VAGUE:
            yield f"'{part}' says nothing"


SPEC_ID = re.compile(
    r"""
    M\d+                                     # a row of the manual
    | (?:C|D|F|K|L|O|P|PW|Q|R|S|T|W)-\d+     # a requirement, or an attack that must fail
    | A\ \d+(?:\.\d+){1,2}                  # OWASP ASVS 5.0.0
    | RFC\ \d{4}(?:\ §[\d.]+\d|\ §\d)?       # a standard, with its section
    | OIDC\ [A-Z][\w -]+?(?:\ §[\d.]+\d|\ §\d)?
    | (?:product|contract|ux|security)\ §\d+(?:\.\d+)?
    """,
    re.VERBOSE,
)


def find_unknown_marks(identifiers: Iterator[str]) -> Iterator[str]:
    """A requirement mark whose ID has none of the known forms."""
    for identifier in identifiers:
        if not SPEC_ID.fullmatch(identifier):
            yield f"no known form of a requirement: {identifier}"


def _calls(source: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))


def _is_literal(value: ast.expr) -> bool:
    """Whether a number other than zero, or arithmetic on numbers alone."""
    parts = list(ast.walk(value))
    arithmetic = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    numbers = [part.value for part in parts if isinstance(part, ast.Constant)]
    return all(isinstance(part, arithmetic) for part in parts) and any(numbers)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
