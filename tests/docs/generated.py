"""The tables in docs/ that are made of the code: ``python -m tests.docs.generated`` writes, a test compares them."""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.docs.pages import DOCS, ROOT, read

PACKAGE: Final = ROOT / "amqpd"
NOT_SHIPPED: Final = PACKAGE / "_build.py"


def limits_table() -> str:
    """Every constant of amqpd/limits.py with its comment."""
    source = read(PACKAGE / "limits.py")
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    rows = [
        f"| `{node.target.id}` | {ast.literal_eval(node.value):,} | {_comment_on(node, comments)} |"
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    ]
    return "\n".join(["| limit | value | what for |", "|---|---|---|", *rows])


def _comment_on(node: ast.stmt, comments: dict[int, str]) -> str:
    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return " ".join(comments[line] for line in lines if line in comments)


def module_map() -> str:
    """Every module that says something, with the first sentence of its docstring."""
    compiled = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["amqpd"]["compiled"]
    rows = [
        f"| `{path}` | {'**H**' if path in compiled else ''} | {sentence} |" for path, sentence in _module_sentences()
    ]
    return "\n".join(["| module | | what it is |", "|---|---|---|", *rows])


def _module_sentences() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(read(path)))
        if docstring and path != NOT_SHIPPED:
            paragraph = " ".join(docstring.split("\n\n")[0].split())
            sentence = re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph)[0]
            yield path.relative_to(ROOT).as_posix(), sentence.replace("``", "`").replace("|", "\\|")


# Page, name of the block between its comments, what belongs there.
GENERATED: Final[tuple[tuple[Path, str, Callable[[], str]], ...]] = (
    (DOCS / "operating.md", "limits", limits_table),
    (DOCS / "architecture.md", "modules", module_map),
)


def find_block(page: Path, name: str) -> re.Match[str]:
    """The block between ``<!-- name: ... -->`` and ``<!-- /name -->``; its group ``text`` is what is generated."""
    pattern = rf"(?P<head><!-- {name}\b[^\n]*-->\n)(?P<text>.*?)(?P<tail>\n?<!-- /{name} -->)"
    match = re.search(pattern, read(page), re.DOTALL)
    assert match is not None, f"{page.name} has no block {name}"
    return match


def write() -> None:
    """Bring every generated block up to date."""
    for page, name, make in GENERATED:
        match = find_block(page, name)
        text = f"{match['head']}{make()}\n<!-- /{name} -->"
        page.write_text(match.string[: match.start()] + text + match.string[match.end() :], encoding="utf-8")


if __name__ == "__main__":
    write()
