"""Where a setting may come from, what it may be, and what is said when it is wrong."""

import dataclasses
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from amqpd.settings import (
    RULES,
    Settings,
    SettingsError,
    default_text,
    flag_name,
    load_process_settings,
    load_settings,
    variable_name,
)

DOCS = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

FIELDS = [field.name for field in dataclasses.fields(Settings)]
NAMES = list(RULES)  # the fields, and `memory`, which is another way to speak of durability

# Setting -> three texts, none the default, as a variable would have them, and what each means.
SAMPLES: dict[str, list[tuple[str, object]]] = {
    "host": [("0.0.0.0", "0.0.0.0"), ("::1", "::1"), ("a.example,::", "a.example,::")],
    "port": [("0", 0), ("5673", 5673), ("65535", 65535)],
    "data_dir": [("/a", Path("/a")), ("b/c", Path("b/c")), ("d", Path("d"))],
    "durability": [("write", "write"), ("memory", "memory"), ("WRITE", "write")],
    "memory": [("true", True), ("false", False), ("on", True)],
    "log_level": [("debug", "debug"), ("WARNING", "warning"), ("error", "error")],
    "log_format": [("json", "json"), ("text", "text"), ("JSON", "json")],
    "max_connections": [("1", 1), ("2", 2), ("1000000", 1_000_000)],
    "heartbeat_s": [("0", 0), ("30", 30), ("65535", 65535)],
    "channel_max": [("1", 1), ("128", 128), ("65535", 65535)],
    "frame_max_bytes": [("4096", 4096), ("8192", 8192), ("1048576", 1_048_576)],
    "max_message_size_bytes": [("1", 1), ("1024", 1024), ("536870912", 536_870_912)],
    "handshake_timeout_s": [("0.5", 0.5), ("5", 5.0), ("3600", 3600.0)],
    "queue_window_bytes": [("4096", 4096), ("65536", 65536), ("1099511627776", 2**40)],
    "memory_high_watermark": [("0.4", 0.4), ("0", 0.0), ("1", 1.0)],
    "disk_free_limit_bytes": [("0", 0), ("1000000000", 10**9), ("1152921504606846976", 2**60)],
    "consumer_timeout_s": [("0", 0.0), ("0.5", 0.5), ("1800", 1800.0)],
    "consumer_timeout_closes_channel": [("true", True), ("off", False), ("1", True)],
    "backend": [("trio", "trio"), ("asyncio", "asyncio"), ("Trio", "trio")],
    "auth_mechanisms": [("plain", "PLAIN"), ("EXTERNAL, PLAIN,PLAIN", "EXTERNAL,PLAIN"), ("ANONYMOUS", "ANONYMOUS")],
    "loopback_users": [("none", "none"), ("guest, ada,guest", "guest,ada"), ("ä", "ä")],
    "anonymous_login_user": [("ada", "ada"), ("nobody", "nobody"), ("ä b", "ä b")],
    "definitions": [("/a.json", "/a.json"), ("b/c.json", "b/c.json"), ("d", "d")],
    "control_socket": [("/a.sock", "/a.sock"), ("b/c.sock", "b/c.sock"), ("d", "d")],
}

WRONG_TEXTS = {
    "host": ["", " ", "a,,b", "127.0.0.1:5672", "[::1]:5672", "a b", "amqp://a", "::g", "*"],
    "port": ["", "abc", "-1", "65536", "1.0", "1_0", " 1", "٣", "0x10", "9" * 5000],
    "data_dir": ["", "~no-such-person/data"],
    "durability": ["", "none", "sync"],
    "memory": ["", "maybe", "2"],
    "log_level": ["", "verbose", "critical"],
    "log_format": ["xml"],
    "max_connections": ["0", "1000001"],
    "heartbeat_s": ["-1", "65536", "1.5"],
    "channel_max": ["0", "65536"],
    "frame_max_bytes": ["4095", "1048577"],
    "max_message_size_bytes": ["0", "536870913"],
    "handshake_timeout_s": ["0", "-1", "nan", "inf", "3601", "soon"],
    "queue_window_bytes": ["4095", "1099511627777"],
    "memory_high_watermark": ["60%", "-0.1", "1.1", "nan"],
    "disk_free_limit_bytes": ["-1", "50MB", "1152921504606846977"],
    "consumer_timeout_s": ["-1", "nan", "inf", "1000001", "long"],
    "consumer_timeout_closes_channel": ["maybe", "2"],
    "backend": ["uvloop"],
    "auth_mechanisms": ["", ",", "CRAM-MD5", "PLAIN EXTERNAL"],
    "loopback_users": ["x" * 10 + "\x7f"],
    "anonymous_login_user": ["x" * 10 + "\x7f"],
    "definitions": ["~no-such-person/a.json"],
    "control_socket": ["~no-such-person/a.sock"],
}

WRONG_TOML = {
    "host": ["1", "['::1']", "true", "''"],
    "port": ["'5672'", "true", "5672.0", "[]", "65536"],
    "data_dir": ["1", "''", '"a\\u0000b"'],
    "durability": ["true", "'Fsync'"],
    "memory": ["'true'", "1"],
    "log_level": ["20", "'Info'", "[]"],
    "log_format": ["true"],
    "max_connections": ["1e3"],
    "heartbeat_s": ["false", "{}"],
    "channel_max": ["'1'"],
    "frame_max_bytes": ["4095"],
    "max_message_size_bytes": ["0"],
    "handshake_timeout_s": ["'10'", "true", "inf", "nan"],
    "queue_window_bytes": ["8e6"],
    "memory_high_watermark": ["'0.4'", "true", "60"],
    "disk_free_limit_bytes": ["1e9", "'50MB'"],
    "consumer_timeout_s": ["'10'", "true", "nan"],
    "consumer_timeout_closes_channel": ["'true'", "1"],
    "backend": ["1"],
    "auth_mechanisms": ["['PLAIN']", "''"],
    "loopback_users": ["['guest']", "1"],
    "anonymous_login_user": ["1", "true"],
    "definitions": ["1", '"a\\u0000b"'],
    "control_socket": ["1", '"a\\u0000b"'],
}


def changed(name: str, value: Any) -> Settings:
    """The default settings but for one."""
    if name == "memory":
        name, value = "durability", "memory" if value else "fsync"
    return dataclasses.replace(Settings(), **{name: value})


def toml_of(values: Mapping[str, object]) -> str:
    """A configuration file with these values."""
    return "".join(
        f"{name} = {str(value).lower() if isinstance(value, bool | int | float) else repr(str(value))}\n"
        for name, value in values.items()
    )


def load(
    tmp_path: Path,
    *,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    toml: str | None = None,
) -> Settings:
    file = None
    if toml is not None:
        file = tmp_path / "amqpd.toml"
        file.write_text(toml, encoding="utf-8")
    return load_settings(flags or {}, environ or {}, file)


def error_of(
    tmp_path: Path,
    *,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    toml: str | None = None,
) -> str:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, flags=flags, environ=environ, toml=toml)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


# Sources


def test_every_setting_has_a_rule_and_a_sample() -> None:
    assert NAMES == list(SAMPLES) == list(WRONG_TEXTS) == list(WRONG_TOML)
    assert [name for name in NAMES if name != "memory"] == FIELDS


def test_without_sources_all_is_default(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings()


def test_empty_file_is_all_default(tmp_path: Path) -> None:
    assert load(tmp_path, toml="") == Settings()


@pytest.mark.parametrize("name", NAMES)
def test_default_text_means_the_default(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, environ={variable_name(name): default_text(name)}) == Settings()


@pytest.mark.parametrize(("from_flag", "from_variable", "from_file"), list(product([True, False], repeat=3)))
@pytest.mark.parametrize("name", NAMES)
def test_precedence(tmp_path: Path, name: str, from_flag: bool, from_variable: bool, from_file: bool) -> None:
    flag, variable, file = SAMPLES[name]
    settings = load(
        tmp_path,
        flags={name: flag[0] if from_flag else None},
        environ={variable_name(name): variable[0]} if from_variable else {},
        toml=toml_of({name: file[1]}) if from_file else None,
    )
    sources = [(from_flag, flag[1]), (from_variable, variable[1]), (from_file, file[1])]
    expected = [changed(name, value) for given, value in sources if given]
    assert settings == [*expected, Settings()][0]


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_from_every_source(tmp_path: Path, name: str) -> None:
    for text, value in SAMPLES[name]:
        expected = changed(name, value)
        assert load(tmp_path, flags={name: text}) == expected
        assert load(tmp_path, flags={name: value}) == expected
        assert load(tmp_path, environ={variable_name(name): text}) == expected
        assert load(tmp_path, toml=toml_of({name: value})) == expected


def test_sources_mix(tmp_path: Path) -> None:
    settings = load(tmp_path, flags={"port": "1"}, environ={"AMQPD_HOST": "::1"}, toml="heartbeat_s = 5")
    assert settings == Settings(port=1, host="::1", heartbeat_s=5)


def test_variable_names_the_file(tmp_path: Path) -> None:
    named, given = tmp_path / "named.toml", tmp_path / "given.toml"
    named.write_text("port = 1")
    given.write_text("heartbeat_s = 2")
    environ = {"AMQPD_CONFIG": str(named)}
    assert load_settings({}, environ, None) == Settings(port=1)
    assert load_settings({}, environ, given) == Settings(heartbeat_s=2), "the flag's file is read instead"
    assert load_settings({}, {"AMQPD_CONFIG": ""}, None) == Settings()


def test_process_settings_read_the_variables_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(variable_name(name), raising=False)
    monkeypatch.delenv("AMQPD_CONFIG", raising=False)
    monkeypatch.setenv("AMQPD_HEARTBEAT_S", "7")
    assert load_process_settings({"port": "8"}) == Settings(heartbeat_s=7, port=8)


def test_empty_variable_is_unset(tmp_path: Path) -> None:
    assert load(tmp_path, environ={variable_name(name): "" for name in NAMES}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AMQPD_SERVICE_HOST", "10.0.0.1"),
        ("AMQPD_SERVICE_PORT", "5672"),
        ("AMQPD_SERVICE_PORT_AMQP", "5672"),
        ("AMQPD_PORT", "tcp://10.0.0.1:5672"),
        ("AMQPD_PORT_5672_TCP", "tcp://10.0.0.1:5672"),
        ("AMQPD_PORT_5672_TCP_ADDR", "10.0.0.1"),
        ("AMQPD_TEST_TARGET", "rabbitmq"),
        ("AMQPD_PURE", "1"),
        ("HOME", "/"),
    ],
)
def test_variables_that_are_not_ours_are_let_be(tmp_path: Path, variable: str, value: str) -> None:
    assert load(tmp_path, environ={variable: value}) == Settings()


# Durability, and its short way


# What file, variable and flag say, and what that means together.
DURABILITIES: list[tuple[str, dict[str, str], dict[str, object], str]] = [
    ("memory = true", {}, {}, "memory"),
    ("durability = 'write'", {"AMQPD_MEMORY": "true"}, {}, "memory"),
    ("durability = 'write'", {"AMQPD_MEMORY": "true"}, {"memory": False}, "write"),
    ("durability = 'write'", {}, {"memory": True}, "memory"),
    ("durability = 'write'", {}, {"memory": False}, "write"),
    ("durability = 'memory'", {}, {"memory": False}, "fsync"),
    ("memory = true", {"AMQPD_DURABILITY": "write"}, {}, "write"),
    ("memory = true", {"AMQPD_DURABILITY": "write"}, {"durability": "fsync"}, "fsync"),
    ("memory = false", {"AMQPD_DURABILITY": "memory"}, {}, "memory"),
    ("memory = true\ndurability = 'memory'", {}, {}, "memory"),
    ("memory = false\ndurability = 'write'", {}, {}, "write"),
    ("", {"AMQPD_MEMORY": "no", "AMQPD_DURABILITY": "fsync"}, {"memory": True, "durability": "memory"}, "memory"),
]


@pytest.mark.parametrize(("toml", "environ", "flags", "durability"), DURABILITIES)
def test_the_strongest_source_decides_about_durability(
    tmp_path: Path, toml: str, environ: dict[str, str], flags: dict[str, object], durability: str
) -> None:
    assert load(tmp_path, toml=toml, environ=environ, flags=flags) == changed("durability", durability)


def test_a_source_that_contradicts_itself(tmp_path: Path) -> None:
    file = tmp_path / "amqpd.toml"
    assert [
        error_of(tmp_path, flags={"memory": True, "durability": "write"}),
        error_of(tmp_path, flags={"memory": False, "durability": "memory"}),
        error_of(tmp_path, environ={"AMQPD_MEMORY": "1", "AMQPD_DURABILITY": "fsync"}, flags={"memory": True}),
        error_of(tmp_path, toml="memory = true\ndurability = 'fsync'", flags={"durability": "memory"}),
    ] == [
        "--durability: 'write' contradicts --memory: true; leave one of them out",
        "--durability: 'memory' contradicts --memory: false; leave one of them out",
        "AMQPD_DURABILITY: 'fsync' contradicts AMQPD_MEMORY: true; leave one of them out",
        f"{file}: durability: 'fsync' contradicts {file}: memory: true; leave one of them out",
    ]


# Unknown names


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("prot", "port"),
        ("data-dir", "data_dir"),
        ("heartbeat", "heartbeat_s"),
        ("Host", "host"),
        ("frame_max", "frame_max_bytes"),
    ],
)
def test_unknown_key_names_the_nearest(tmp_path: Path, wrong: str, nearest: str) -> None:
    text = error_of(tmp_path, toml=f"{wrong} = 1")
    assert text == f"{tmp_path / 'amqpd.toml'}: {wrong}: unknown setting; did you mean {nearest}?"


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("AMQPD_PROT", "AMQPD_PORT"), ("AMQPD_DATADIR", "AMQPD_DATA_DIR"), ("AMQPD_CONFIG_FILE", "AMQPD_CONFIG")],
)
def test_unknown_variable_names_the_nearest(tmp_path: Path, wrong: str, nearest: str) -> None:
    assert error_of(tmp_path, environ={wrong: "x"}) == f"{wrong}: unknown variable; did you mean {nearest}?"


def test_unknown_variable_does_not_show_its_value(tmp_path: Path) -> None:
    assert "hunter2" not in error_of(tmp_path, environ={"AMQPD_PASSWORD": "hunter2"})


def test_unknown_flag_names_the_nearest(tmp_path: Path) -> None:
    assert error_of(tmp_path, flags={"dat_dir": "x"}) == "--dat-dir: unknown flag; did you mean --data-dir?"


def test_name_like_no_other_gets_them_all(tmp_path: Path) -> None:
    text = error_of(tmp_path, toml="[zzz]")
    assert text.endswith(f"there are {', '.join(NAMES)}")


# Wrong values


@pytest.mark.parametrize("name", NAMES)
def test_wrong_text(tmp_path: Path, name: str) -> None:
    for text in WRONG_TEXTS[name]:
        allowed = f"is not allowed: must be {RULES[name].allowed}"
        message = error_of(tmp_path, flags={name: text})
        assert message.startswith(f"{flag_name(name)}: '{text[:10]}")
        assert message.endswith(allowed)
        assert len(message) < 250
        if text:
            message = error_of(tmp_path, environ={variable_name(name): text})
            assert message.startswith(f"{variable_name(name)}: '")
            assert message.endswith(allowed)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_toml(tmp_path: Path, name: str) -> None:
    for value in WRONG_TOML[name]:
        message = error_of(tmp_path, toml=f"{name} = {value}")
        assert message.startswith(f"{tmp_path / 'amqpd.toml'}: {name}: ")
        assert message.endswith(f"is not allowed: must be {RULES[name].allowed}")


def test_overridden_value_must_be_right_too(tmp_path: Path) -> None:
    assert error_of(tmp_path, flags={"port": "1"}, toml="port = 'x'").startswith(str(tmp_path))


def test_wrong_value_in_full(tmp_path: Path) -> None:
    text = error_of(tmp_path, environ={"AMQPD_PORT": "70000"})
    assert text == "AMQPD_PORT: '70000' is not allowed: must be a whole number from 0 to 65535"


@pytest.mark.parametrize("name", FIELDS)
def test_settings_made_by_hand_are_held_to_the_rules(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: None is not allowed"):
        changed(name, None)


# The file


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: configuration file cannot be read: No such file"):
        load_settings({}, {}, tmp_path / "none.toml")


def test_file_that_is_a_directory(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="configuration file cannot be read"):
        load_settings({}, {}, tmp_path)


@pytest.mark.parametrize("content", [b"port = ", b"port 1", b"\xff\xfe", b"port = 1\nport = 2"])
def test_file_that_is_not_toml(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "amqpd.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"configuration file is not TOML: .") as caught:
        load_settings({}, {}, file)
    assert "\n" not in str(caught.value)


# Values with a meaning


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("[::1]", ("::1",)),
        ("127.0.0.1, [::1] ,localhost", ("127.0.0.1", "::1", "localhost")),
        ("::,::", ("::",)),
        ("fe80::1%eth0", ("fe80::1%eth0",)),
    ],
)
def test_hosts(tmp_path: Path, host: str, hosts: tuple[str, ...]) -> None:
    assert load(tmp_path, flags={"host": host}).hosts == hosts
    assert Settings(host=host).hosts == hosts


def test_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(tmp_path, toml="data_dir = '~/data'").data_dir == tmp_path / "data"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]  # what the test is about


# The page about them


def test_page_names_every_setting() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| `(\w+)` \| (?:`(.*?)` )?\| (.+) \|$", DOCS.read_text("utf-8"), re.M)
    assert rows == [
        (
            name,
            default_text(name),
            variable_name(name),
            flag_name(name) if rule.flag else "",
            rule.allowed,
        )
        for name, rule in RULES.items()
    ]


def test_page_explains_every_setting() -> None:
    explained = re.findall(r"^\* \*\*`(\w+)`\*\*: ", DOCS.read_text("utf-8"), re.M)
    assert sorted(explained) == sorted(NAMES)


def test_example_file_of_the_page_is_right(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.S)
    assert example is not None
    assert load(tmp_path, toml=example[1]) == Settings(
        host="0.0.0.0", data_dir=Path("/var/lib/amqpd"), durability="fsync", log_format="json", heartbeat_s=30
    )


def test_mistakes_of_the_page_are_what_is_said(tmp_path: Path) -> None:
    page = DOCS.read_text("utf-8")
    mistakes = [
        error_of(tmp_path, environ={"AMQPD_PORT": "70000"}),
        error_of(tmp_path, environ={"AMQPD_HEARTBEATS": "1"}),
        error_of(tmp_path, toml="heartbeat = 1").replace(str(tmp_path), "/etc"),
        error_of(tmp_path, flags={"memory": True, "durability": "write"}),
    ]
    assert [text for text in mistakes if f"amqpd: {text}\n" not in page] == []
