"""Links lead somewhere, and every page can be found from the README."""

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, anchors, links, name_of, read

DECISIONS = sorted((DOCS / "decisions").glob("*.md"))


def targets(page: Path) -> list[tuple[Path, str]]:
    """The files and anchors that its relative links name."""
    relative = [link.partition("#") for link in links(page) if "://" not in link and not link.startswith("mailto:")]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in relative]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in targets(page):
        assert target.exists(), f"{name_of(page)} links to {target}"
        assert not anchor or anchor in anchors(target), f"{name_of(page)} links to {target.name}#{anchor}"


def test_every_page_can_be_found() -> None:
    found, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in found:
            found.add(page)
            waiting += [target for target, _ in targets(page) if target.suffix == ".md"]
    assert {name_of(page) for page in PAGES if page not in found} == set()


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_is_context_decision_consequences(page: Path) -> None:
    headings = [line for line in read(page).splitlines() if line.startswith("#")]
    assert headings[0].startswith(f"# {page.name[:4]}: ")
    assert headings[1:] == ["## Context", "## Decision", "## Consequences"]


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
