from typing import Any

import pytest

from amqpd.broker.fields import Field
from amqpd.management.definitions.entry import Entry, Wrong


def entry(**fields: Any) -> Entry:
    return Entry("thing", fields, "default")


def test_its_place_says_which_it_is() -> None:
    assert entry(name="a", vhost="/").place == "thing 'a' in vhost '/'"
    assert entry(name="a").place == "thing 'a' in vhost 'default'"
    assert Entry("user", {"name": "a"}, None).place == "user 'a'"
    assert (
        Entry("permissions of user", {"user": "a", "vhost": "/"}, None).place == "permissions of user 'a' in vhost '/'"
    )
    assert Entry("thing", {}, None).place == "thing '?'"


def test_fields() -> None:
    fields = entry(text="a", flag=True, whole=-3, table={"n": 1}, any=[1], vhost="/")
    assert (fields.text("text"), fields.flag("flag"), fields.whole("whole"), fields.any("any")) == ("a", True, -3, [1])
    assert fields.table("table") == {"n": Field("l", 1)}
    assert fields.vhost() == "/"
    assert fields.has("any")


def test_names_are_such_as_clients_can_say() -> None:
    assert entry(name="a").name("name") == "a"
    with pytest.raises(Wrong, match=r"^name is longer than 255 bytes$"):
        entry(name="x" * 256).name("name")
    with pytest.raises(Wrong, match=r"^vhost is no Unicode text$"):
        entry(vhost="\ud800").vhost()


def test_what_is_not_said() -> None:
    nothing = entry()
    assert (nothing.text("x", "y"), nothing.flag("x"), nothing.whole("x"), nothing.words("x")) == ("y", False, 0, ())
    assert (nothing.object("x"), nothing.table("x"), nothing.vhost()) == ({}, {}, "default")
    assert not nothing.has("x")
    with pytest.raises(Wrong, match=r"^x is missing$"):
        nothing.text("x")
    with pytest.raises(Wrong, match=r"^x is missing$"):
        nothing.any("x")


def test_words_are_a_list_or_one_text() -> None:
    assert entry(tags=["a", "b"]).words("tags") == entry(tags="a, b,").words("tags") == ("a", "b")


def test_an_object_may_be_a_list_of_pairs() -> None:
    assert entry(x=[["a", 1], ["b", 2]]).object("x") == {"a": 1, "b": 2}
    assert entry(x=[]).object("x") == {}


def test_what_is_of_the_wrong_type() -> None:
    wrong = entry(x=1.5)
    for take, words in (
        (wrong.text, "x must be a text"),
        (wrong.flag, "x must be true or false"),
        (wrong.whole, "x must be a whole number"),
        (wrong.words, "x must be a list of texts"),
        (wrong.object, "x must be an object"),
    ):
        with pytest.raises(Wrong, match=f"^{words}$"):
            take("x")
    with pytest.raises(Wrong, match=r"^x: 9223372036854775808 is too large for an argument$"):
        entry(x={"n": 2**63}).table("x")


def test_an_entry_inside_of_another() -> None:
    assert entry(metadata={"tags": "a"}).inside("metadata").words("tags") == ("a",)
    assert entry(tags="a").inside("metadata").words("tags") == ("a",)
    part = entry(name="p", value={"pattern": "x"}).part("value", "operator policy")
    assert (part.text("pattern"), part.place) == ("x", "operator policy 'p' in vhost 'default'")
