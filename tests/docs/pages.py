"""README.md and docs/ as data: pages, their fenced blocks, headings and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])

_FENCE: Final = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_TEST: Final = re.compile(r"^ *(async )?def test_", re.MULTILINE)
_FILE_NAME: Final = re.compile(r"# (\w+\.\w+)\n")
_LINK: Final = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int  # of its first line
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{name_of(self.page)}:{self.line}"

    @property
    def is_test(self) -> bool:
        """Whether it is a file of tests for pytest."""
        return self.language == "python" and _TEST.search(self.text) is not None

    @property
    def file_name(self) -> str | None:
        """Of one that is a file: what its first line says, or a name for tests."""
        named = _FILE_NAME.match(self.text)
        return named[1] if named else f"test_line_{self.line}.py" if self.is_test else None


def name_of(page: Path) -> str:
    """A page's path as one would write it from the root."""
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    """The fenced blocks in order; those without a language have an empty one."""
    text = read(page)
    return [
        Block(page, text.count("\n", 0, match.start()) + 2, match["language"], match["text"])
        for match in _FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def links(page: Path) -> Iterator[str]:
    """Where its links lead, in order."""
    for match in _LINK.finditer(prose(page)):
        yield match[1]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of its headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}
