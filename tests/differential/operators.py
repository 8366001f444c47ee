"""What operators do that clients cannot: policies, told to each broker in its own way, and fast.

RabbitMQ hears it over its management API, amqpd over its control socket. Answers are the same words for both: what each
broker tells its operators is none of the client's business.
"""

import contextlib
import http.client
import json
import socket
from base64 import b64encode
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

SET, CLEARED, REFUSED = "is set", "is cleared", "is refused"
TIMEOUT_S: Final = 60.0  # on a machine that does other things, too


class Operator:
    """One that can do nothing."""

    def set_policy(
        self, kind: str, name: str, pattern: str, definition: dict[str, Any], apply_to: str, priority: int
    ) -> str:
        raise NotImplementedError("this broker has no operator")

    def clear_policy(self, kind: str, name: str) -> str:
        raise NotImplementedError("this broker has no operator")


class ManagementApi(Operator):
    """RabbitMQ's HTTP API; a connection a request, since both brokers hang up on those that say nothing for long."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        credentials = b64encode(b"guest:guest").decode()
        self._headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}

    def set_policy(
        self, kind: str, name: str, pattern: str, definition: dict[str, Any], apply_to: str, priority: int
    ) -> str:
        body = {"pattern": pattern, "definition": definition, "apply-to": apply_to, "priority": priority}
        return SET if self._ask("PUT", kind, name, json.dumps(body)) in (201, 204) else REFUSED

    def clear_policy(self, kind: str, name: str) -> str:
        return CLEARED if self._ask("DELETE", kind, name) == 204 else REFUSED

    def _ask(self, verb: str, kind: str, name: str, body: str | None = None) -> int:
        where = "policies" if kind == "policy" else "operator-policies"
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)) as connection:
            connection.request(verb, f"/api/{where}/%2F/{quote(name, safe='')}", body, self._headers)
            return connection.getresponse().status


class ControlSocket(Operator):
    """amqpd's; what `amqpd ctl` says to it."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def set_policy(
        self, kind: str, name: str, pattern: str, definition: dict[str, Any], apply_to: str, priority: int
    ) -> str:
        values = {"name": name, "pattern": pattern, "definition": json.dumps(definition)}
        done = self._ask(f"set_{kind}", {**values, "apply_to": apply_to, "priority": priority})
        return SET if done else REFUSED

    def clear_policy(self, kind: str, name: str) -> str:
        return CLEARED if self._ask(f"clear_{kind}", {"name": name}) else REFUSED

    def _ask(self, verb: str, values: dict[str, Any]) -> bool:
        """Whether it was done."""
        request = {"verb": verb.replace(" ", "_"), "values": {"vhost": "/", **values}}
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(TIMEOUT_S)
            raw.connect(self._path)
            raw.sendall(json.dumps(request).encode() + b"\n")
            return "done" in json.loads(raw.makefile("r", encoding="utf-8").readline())
