import pytest

from amqpd.broker.exchanges.terms import as_term
from amqpd.broker.fields import Field, FieldValue, longstr


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "undefined"),
        (True, "true"),
        (-1, "-1"),
        (1.5, "1.5"),
        ("text", '<<"text">>'),
        ("", "<<>>"),
        (b"\x00\xff", "<<0,255>>"),
        ((2, 100), "{2,100}"),
        ([longstr("a"), Field("I", 1)], '[{longstr,<<"a">>},{signedint,1}]'),
        ({"a": Field("V", None)}, '[{<<"a">>,void,undefined}]'),
    ],
)
def test_as_rabbitmq_shows_them(value: FieldValue, shown: str) -> None:
    assert as_term(value) == shown
