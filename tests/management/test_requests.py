import pytest

from amqpd.management.requests import Misused, Request

REQUEST = Request({"text": "a", "whole": 3, "flag": True, "texts": ["a", "b"], "none": None})


def test_values_are_what_they_must_be() -> None:
    assert REQUEST.text("text") == "a"
    assert REQUEST.whole("whole", 0) == 3
    assert REQUEST.flag("flag") is True
    assert REQUEST.texts("texts") == ["a", "b"]


def test_what_was_not_said() -> None:
    assert REQUEST.text("other", "x") == "x"
    assert REQUEST.whole("other", 5) == 5
    assert REQUEST.flag("other") is False
    assert REQUEST.texts("other") == []
    with pytest.raises(Misused, match=r"^other must be a text$"):
        REQUEST.text("other")


def test_names_that_no_client_could_say() -> None:
    assert REQUEST.name("text") == "a"
    with pytest.raises(Misused, match=r"^long is longer than 255 bytes$"):
        Request({"long": "x" * 256}).name("long")


def test_numbers_that_are_too_small() -> None:
    assert REQUEST.whole("whole", 0, lowest=3) == 3
    with pytest.raises(Misused, match=r"^whole must be 4 or more$"):
        REQUEST.whole("whole", 0, lowest=4)


@pytest.mark.parametrize("name", ["whole", "flag", "texts", "none"])
def test_no_text(name: str) -> None:
    with pytest.raises(Misused, match=f"^{name} must be a text$"):
        REQUEST.text(name)


@pytest.mark.parametrize("name", ["text", "flag", "texts", "none"])
def test_no_whole_number(name: str) -> None:
    with pytest.raises(Misused, match=f"^{name} must be a whole number$"):
        REQUEST.whole(name, 0)


@pytest.mark.parametrize("name", ["text", "whole", "texts", "none"])
def test_no_flag_and_no_list(name: str) -> None:
    with pytest.raises(Misused, match=f"^{name} must be true or false$"):
        REQUEST.flag(name)
    if name != "texts":
        with pytest.raises(Misused, match=f"^{name} must be a list of texts$"):
            REQUEST.texts(name)
