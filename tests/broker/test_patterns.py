import logging
import shutil
import subprocess
import sys
import time

import pytest

from amqpd import limits
from amqpd.broker.patterns import InvalidPattern, Pattern

PATTERNS = (
    "",
    "^$",
    ".*",
    "a",
    "^a",
    "a$",
    "^(a|b)$",
    "^a|b$",
    r"^amq\.",
    r"^(?!amq\.).*",
    "(?<!x)a",
    "a++b",
    "(?>a+)b",
    "(?i)aBC",
    "(?i:AB)c",
    "[[:alpha:]]+$",
    "^.{3}$",
    "a{2,}",
    r"(a)(b)?\1",
    r"\Aa\z",
    r"a\Z",
    r"^\S+$",
    "[a--b]",
    "[[a]b]",
    "[]a]",
    "^.$",
    "^..$",
    "é",
    "^é$",
    r"\x61",
    "(?(?=a)a|b)",
    "(?|(a)|(b))",
    "*a",
    "(",
    "[",
    "a**",
)
NAMES = ("", "a", "b", "ab", "aab", "abc", "aBC", "xa", "amq.topic", "q.amq.", "é", "a b", "a--b", "]", "123", "(", "[")


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a", "xay", True),  # anywhere, unless it says otherwise
        ("^a$", "xay", False),
        ("^a$", "a", True),
        ("", "q", True),  # in permissions "" is "^$", which is their own rule
        (".*", "", True),
        (r"^(?!amq\.)", "amq.gen-1", False),
        (r"^(?!amq\.)", "orders", True),
        ("^tenant-1[.]", "tenant-1.q", True),
        ("^tenant-1[.]", "tenant-11", False),
        ("^.$", "é", False),  # bytes, as for RabbitMQ
        ("^\xe9$", "é", True),
        ("^a{2}$", "aa", True),
        (r"^a\{2$", "a{2", True),
    ],
)
def test_matches(text: str, name: str, *, expected: bool) -> None:
    pattern = Pattern(text)
    assert pattern.matches(name) is expected
    assert pattern.matches(name) is expected


def test_name_that_is_no_utf8() -> None:
    assert Pattern("^.$").matches("\udcff")
    assert Pattern("^[\udcff]$").matches("\udcff")


@pytest.mark.oracle
def test_answers_of_erlang() -> None:
    def binaries(texts: tuple[str, ...]) -> str:
        return "[" + ",".join(f"<<{','.join(map(str, text.encode()))}>>" for text in texts) + "]"

    program = (
        f"Ask = fun(P, N) -> case re:run(N, P, [{{capture, none}}]) of match -> $1; nomatch -> $0 end end,"
        f'[io:format("~s~n", [try [Ask(P, N) || N <- {binaries(NAMES)}] catch _:_ -> "invalid" end])'
        f" || P <- {binaries(PATTERNS)}], halt()."
    )
    erlang = shutil.which("erl")
    assert erlang is not None
    run = subprocess.run([erlang, "-noshell", "-eval", program], capture_output=True, text=True, check=True)

    def answers(text: str) -> str:
        try:
            return "".join("01"[Pattern(text).matches(name)] for name in NAMES)
        except InvalidPattern:
            return "invalid"

    assert [answers(text) for text in PATTERNS] == run.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(", "invalid pattern '(': missing ) at position 1"),
        ("*a", "invalid pattern '*a': nothing to repeat at position 0"),
        ("a{x}", "invalid pattern 'a{x}': a '{' that begins no count needs a backslash"),
        ("a{e<=9}", "needs a backslash"),  # which would match with nine errors
        ("a{,2}", "needs a backslash"),
        ("a" * 4097, "a pattern of 4097 bytes is longer than 4096"),
        ("é" * 2049, "a pattern of 4098 bytes is longer than 4096"),
        ("\ud800", "no Unicode text"),
        ("a{99999999999}", "too large"),
        ("a{999999999}", "too large"),
        ("((a{99}){99}){99}", "too large"),
        ("(?:[ab]{1000}){1000}", "too large"),
        ("(?:" * 60 + ")" * 60, "too large"),
        ("(" * 2000, "too large"),
    ],
)
def test_invalid(text: str, why: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        Pattern(text)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        "(" * 40 + "a" + ")" * 40,
        "|".join(f"tenant-{number}" for number in range(300)),
        r"[(){}]{2}\(\[[^]{(]",
        r"\x61\p{L}",
    ],
)
def test_what_people_write_is_not_too_large(text: str) -> None:
    Pattern(text).matches("q")


@pytest.mark.parametrize("text", ["(a+)+$", "^(a|aa)+$", "(a+a+)+y", "(.*)*(.*)*x", "(?R)", r"^((a)+.)+[A-Z](a)+\2$"])
def test_hostile_pattern_takes_little_time(text: str) -> None:
    pattern = Pattern(text)
    before = time.process_time()
    for number in range(30):
        assert not pattern.matches("a" * (200 + number) + "!")
    assert time.process_time() - before < 20 * limits.PATTERN_TIME_S


def test_pattern_that_takes_too_long_does_not_match_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    pattern = Pattern("^(a|aa)+$")
    with caplog.at_level(logging.WARNING):
        assert not pattern.matches("a" * 200 + "!")
        assert not pattern.matches("a" * 200 + "!")
        assert pattern.matches("aaa")  # a name that is no trouble
        assert not pattern.matches("a" * 201 + "!")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "takes too long" in caplog.text


def test_pattern_that_takes_too_long_too_often_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    pattern = Pattern("^(a|aa)+$")
    with caplog.at_level(logging.WARNING):
        for number in range(limits.PATTERN_TIMEOUTS_MAX + 1):
            pattern.matches("a" * (200 + number) + "!")
    assert not pattern.matches("aaa")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def test_answers_are_bounded() -> None:
    pattern = Pattern("^a")
    for number in range(3 * limits.PATTERN_ANSWERS_MAX):
        assert pattern.matches(f"a{number}")
        assert len(pattern._answers) <= limits.PATTERN_ANSWERS_MAX


def test_usual_pattern_needs_no_machinery() -> None:
    program = "from amqpd.broker.patterns import Pattern; Pattern('.*').matches('q')"
    shows = "import sys; print('regex' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", f"{program}; {shows}"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
