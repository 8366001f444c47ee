"""The tests that pages name exist, and what amqpd does differently from RabbitMQ is documented."""

import ast
import re

import pytest

from tests.docs.pages import DOCS, ROOT, read

CONFORMANCE = ROOT / "tests" / "conformance"
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
LOOSE = re.compile(r"\btest_\w+")


def functions() -> dict[tuple[str, str], ast.FunctionDef]:
    """Every test of tests/conformance by file and name."""
    return {
        (path.name, node.name): node
        for path in CONFORMANCE.glob("test_*.py")
        for node in ast.parse(read(path)).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("page", ["conformance.md", "compatibility.md"])
def test_named_tests_exist(page: str) -> None:
    text = read(DOCS / page)
    named = NAMED.findall(text)
    known = functions()
    assert len(named) >= 6
    assert [f"{file}::{test}" for file, test in named if (file, test) not in known] == []
    assert LOOSE.findall(NAMED.sub("", text)) == [], "name a test as `file::test`"


def test_each_rule_names_a_test() -> None:
    rows = [row for row in read(DOCS / "conformance.md").splitlines() if row.startswith("| ")]
    rules = [row for row in rows if row != "| rule | tests |"]
    assert len(rules) >= 40
    assert [rule for rule in rules if not NAMED.search(rule)] == []


def test_each_deliberate_difference_is_documented() -> None:
    documented = set(NAMED.findall(read(DOCS / "compatibility.md")))
    marked = {
        key
        for key, function in functions().items()
        if any("pytest.mark.amqpd_only" in ast.unparse(decorator) for decorator in function.decorator_list)
    }
    assert marked - documented == set(), "a test marked amqpd_only belongs into docs/compatibility.md"
