"""The one client: takes a sequence of operations to a broker and writes down every frame that comes back.

What the standard leaves to chance is taken out of it. Every operation is followed by a barrier (``channel.flow``, which
the broker answers in its turn) on each channel that can hear of it, and by passive declarations of the queues until two
rounds say the same; so all consequences are heard before the next operation, and belong to the operation that they come
from. Confirms are written down as the numbers that they settle. Nothing else is put in order, or left out.
"""

import contextlib
import re
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.differential.channels import Channel
from tests.differential.connection import PROBE, Connection
from tests.differential.operations import Operation, Sequence, expires_soon, mentions, renamed
from tests.differential.operators import Operator
from tests.differential.transcript import Step, Transcript
from tests.differential.wording import Wording
from tests.support.raw_peer import (
    CONTENT_METHODS,
    METHOD,
    METHODS,
    Content,
    Frame,
    Method,
    PeerError,
    decode_method,
    method_payload,
    properties,
)

CONNECTIONS: Final = 2
PATIENCE_S: Final = 3.0  # for what must come: confirms, cancels, commits
TICK_S: Final = 0.002
LOG_S: Final = 0.004  # what RabbitMQ's log of a quorum queue takes to apply what it was told
EXPIRY_S: Final = 0.025  # after each step of a sequence in which something soon expires; after changes of policies

REPLY_ADDRESS: Final = re.compile(rb"amq\.rabbitmq\.reply-to\.[\w+/=.@-]+")
FLOW_OK: Final = method_payload("channel.flow-ok", active=True)
# Methods of which no queue and no other channel hears anything.
QUIET: Final = frozenset(
    {"exchange.declare", "exchange.bind", "exchange.unbind", "exchange.delete", "queue.bind", "queue.unbind"}
    | {"queue.declare", "basic.qos", "confirm.select", "tx.select"}
)
THE_END: Final = Operation("clean up", 0, 0)


class Client:
    """The client of one broker. ``rounds``: how many probes of the queues must say the same."""

    def __init__(self, host: str, port: int, name: str, operator: Operator | None = None) -> None:
        self.name = f"{name}{secrets.token_hex(3)}"  # a broker that runs may have names of an earlier run
        self.operator = operator or Operator()
        self.address = (host, port)
        self.connections = [Connection(host, port, number) for number in range(CONNECTIONS)]
        self.run_count = 0
        self.rounds, self.pause_s = 2, 0.0
        self.transcript: Transcript = []
        self._begin(())

    def close(self) -> None:
        for connection in self.connections:
            connection.peer.abort()

    def run(self, sequence: Sequence, *, rounds: int = 2, pause_s: float = 0.0) -> Transcript:
        """Do it all, write it all down, and clean up."""
        self._begin(sequence)
        self.rounds, self.pause_s = rounds, pause_s
        if self.has_quorum_queue:
            self.rounds, self.pause_s = rounds + 1, pause_s + LOG_S
        for operation in sequence:
            self._do(operation)
        transcript, self.transcript = self.transcript, [Step(THE_END)]
        self._clean_up()
        return transcript

    def _begin(self, sequence: Sequence) -> None:
        self.run_count += 1
        self.prefix = f"{self.name}{self.run_count:06d}-"
        self.wording = Wording(self.prefix)
        self.transcript = []
        self.queues: dict[str, int] = {}  # those that are there, and the connection that may ask for them
        self.exchanges: set[str] = set()
        self.probed: dict[str, str] = {}  # what the queues answer in this round
        self.counts: dict[str, str] = {}  # what they answered last
        self.addresses: list[str] = []  # for replies, that requests came with
        self.policies: set[tuple[str, str]] = set()
        # RabbitMQ counts a get that is not settled as a consumer of a quorum queue: not compared.
        self.has_quorum_queue = any(mentions(each.args, "quorum") for each in sequence)
        self.expires = any(expires_soon(each.args) for each in sequence)
        self.heard_by_queues = {"queue.declare"} if self.expires else set()
        if any(mentions(each.args, "x-recent-history") for each in sequence):
            self.heard_by_queues.add("queue.bind")

    # -- one operation

    def _do(self, operation: Operation) -> None:
        self.transcript.append(Step(operation))
        connection = self.connections[operation.connection]
        verb = VERBS.get(operation.verb, Client._send_method)
        if operation.verb not in WITHOUT_CHANNEL:
            connection.open(operation.channel)
        verb(self, connection, operation)
        self._read_all()
        if operation.verb not in QUIET or operation.verb in self.heard_by_queues:
            self._settle()

    def _send_method(self, connection: Connection, operation: Operation) -> None:
        self._send_methods(connection, operation.channel, [(operation.verb, operation.args)])

    def _together(self, connection: Connection, operation: Operation) -> None:
        """Several methods in one write."""
        self._send_methods(connection, operation.channel, operation.args["methods"])

    def _send_methods(self, connection: Connection, number: int, methods: list[tuple[str, dict[str, Any]]]) -> None:
        payloads = []
        for name, args in methods:
            real = renamed(args, self.prefix)
            self._note(connection, number, name, real)
            payloads.append(method_payload(name, **real))
        connection.send(number, *payloads)
        if connection.channels[number].is_committing:  # RabbitMQ takes nothing before it has answered
            connection.barriers[number] = connection.barriers.get(number, 0) + 1
        else:
            connection.bar(number)

    def _note(self, connection: Connection, number: int, name: str, args: dict[str, Any]) -> None:
        """What the answer alone will not tell."""
        channel = connection.channels[number]
        match name:
            case "basic.get":
                channel.get_is_no_ack = bool(args.get("no_ack"))
            case "basic.consume":
                tag = args.get("consumer_tag", "")
                channel.consumers.setdefault(tag, (args.get("queue", ""), bool(args.get("no_ack"))))
            case "basic.cancel":
                channel.cancelling.add(args["consumer_tag"])
            case "exchange.declare":
                self.exchanges.add(args["exchange"])
            case "queue.declare" if args.get("queue") and not args.get("passive"):
                self.queues.setdefault(args["queue"], connection.number)
            case "confirm.select" if args.get("nowait"):
                channel.is_confirming = True
            case "tx.commit" if channel.is_transactional:
                channel.is_committing = True
            case _:
                pass

    def _publish(self, connection: Connection, operation: Operation) -> None:
        """``count`` messages in one write, their bodies numbered by step and place, padded to ``size``."""
        args = renamed(operation.args, self.prefix)
        count, size = args.pop("count", 1), args.pop("size", 0)
        props = properties(**args.pop("properties", {}))
        channel = connection.channels[operation.channel]
        channel.publishes(count)
        with _one_write(connection):
            for index in range(count):
                body = f"{len(self.transcript)}.{index}".encode().ljust(size, b".")
                connection.peer.publish(operation.channel, body=body, props=props, **args)
            connection.bar(operation.channel)

    def _reply(self, connection: Connection, operation: Operation) -> None:
        """Publish to the ``nth`` address that a request came with."""
        args = dict(operation.args)
        nth = args.pop("nth")
        if self.addresses:
            address = self.addresses[nth % len(self.addresses)]
            publish = {**args, "exchange": "", "routing_key": address}
            self._publish(connection, replace(operation, args=publish))

    def _set_policy(self, connection: Connection, operation: Operation) -> None:
        self.policies.add((operation.args["kind"], renamed(operation.args["name"], self.prefix)))
        self._hear(connection, operation.channel, self.operator.set_policy(**renamed(operation.args, self.prefix)))

    def _clear_policy(self, connection: Connection, operation: Operation) -> None:
        self._hear(connection, operation.channel, self.operator.clear_policy(**renamed(operation.args, self.prefix)))

    def _settle_delivery(self, connection: Connection, operation: Operation) -> None:
        """ack, nack or reject the ``nth`` delivery that is not settled; ``tag`` names one that may be unknown."""
        channel = connection.channels[operation.channel]
        args = dict(operation.args)
        nth = args.pop("nth", 0)
        name = f"basic.{operation.verb}"
        if "tag" in args:
            tag = args.pop("tag")
        elif channel.unsettled:
            tag = channel.unsettled[nth % len(channel.unsettled)]
        else:
            return
        channel.settles(tag, multiple=bool(args.get("multiple")))
        connection.send(operation.channel, method_payload(name, delivery_tag=tag, **args))
        connection.bar(operation.channel)

    def _close_channel(self, connection: Connection, operation: Operation) -> None:
        connection.send(operation.channel, method_payload("channel.close", reply_code=200, reply_text="bye"))
        connection.barriers[operation.channel] = connection.barriers.get(operation.channel, 0) + 1

    def _drop(self, connection: Connection, operation: Operation) -> None:
        """The connection ends without a word."""
        self._lose(connection)

    # -- reading

    def _read_all(self) -> None:
        """Until every barrier is answered."""
        for connection in self.connections:
            while (connection.barriers or connection.asked is not None) and not connection.is_lost:
                self._read(connection)
            if connection.is_lost:
                self._lose(connection)

    def _read(self, connection: Connection) -> None:
        try:
            got = connection.peer.read_frame()
        except PeerError as error:
            self._hear(connection, 0, f"socket closed: {str(error).split(';')[0]}")
            connection.is_lost = True
            return
        if got.kind != METHOD:
            self._take_part(connection, got)
        elif got.payload == FLOW_OK:
            self._answered(connection, got.channel)
        else:
            self._take_method(connection, got.channel, decode_method(got.payload))

    def _answered(self, connection: Connection, number: int) -> None:
        left = connection.barriers[number] - 1
        if left:
            connection.barriers[number] = left
        else:
            del connection.barriers[number]

    def _take_part(self, connection: Connection, got: Frame) -> None:
        channel = connection.channels[got.channel]
        content = channel.assemble(got)
        if content is not None:
            channel.takes(content)
            self._note_address(content)
            self._hear(connection, got.channel, self.wording.content(content))

    def _note_address(self, content: Content) -> None:
        for address in REPLY_ADDRESS.findall(content.properties):
            if address.decode() not in self.addresses:
                self.addresses.append(address.decode())

    def _take_method(self, connection: Connection, number: int, method: Method) -> None:
        if number == PROBE:
            self._take_probe(connection, method)
        elif number == 0:
            self._hear(connection, 0, self.wording.method(method))
            connection.send(0, method_payload("connection.close-ok"))
            connection.is_lost = True
        elif method.name == "channel.open-ok":
            self._answered(connection, number)
        elif method.name == "channel.close-ok":
            self._hear(connection, number, "channel.close-ok()")
            del connection.channels[number]
            self._answered(connection, number)
        elif method.name in CONTENT_METHODS:
            channel = connection.channels[number]
            channel.method = method
            if method.name == "basic.return":
                self._check_return(connection, number)
        elif method.name in ("basic.ack", "basic.nack"):
            self._take_confirm(connection, number, method)
        else:
            self._hear(connection, number, self.wording.method(method))
            self._follow(connection, number, method)

    def _take_confirm(self, connection: Connection, number: int, method: Method) -> None:
        numbers = connection.channels[number].confirms(method)
        verdict = method.name.removeprefix("basic.")
        self.transcript[-1].hears_confirms(f"{connection.number}.{number}", numbers, verdict)

    def _check_return(self, connection: Connection, number: int) -> None:
        """A publish is confirmed after its return."""
        channel = connection.channels[number]
        if channel.is_confirming and not channel.unconfirmed:
            self._hear(connection, number, "returned after it was confirmed")

    def _follow(self, connection: Connection, number: int, method: Method) -> None:
        """What the method means for what the client knows."""
        channel = connection.channels[number]
        match method.name:
            case "channel.close":
                del connection.channels[number]
                connection.barriers.pop(number, None)
                connection.send(number, method_payload("channel.close-ok"))
            case "confirm.select-ok":
                channel.is_confirming = True
            case "tx.select-ok":
                channel.is_transactional = True
            case "tx.commit-ok":
                self._answered(connection, number)
                channel.is_committing, channel.undone_by_rollback = False, []
            case "tx.rollback-ok":
                channel.rolls_back()
            case "basic.recover-ok":
                channel.unsettled = []
            case "basic.cancel-ok" | "basic.cancel":
                channel.consumers.pop(method["consumer_tag"], None)
            case "queue.declare-ok":
                self.queues.setdefault(method["queue"], connection.number)
            case "basic.consume-ok" if "" in channel.consumers:
                channel.consumers[method["consumer_tag"]] = channel.consumers.pop("")
            case _:
                pass

    def _hear(self, connection: Connection, number: int, line: str) -> None:
        self.transcript[-1].hears(f"{connection.number}.{number}", line)

    def _lose(self, connection: Connection) -> None:
        connection.reconnect()

    # -- settling

    def _settle(self) -> None:
        """Until nothing happens any more, as far as can be seen."""
        if self.expires or "policy" in self.transcript[-1].operation.verb:
            time.sleep(EXPIRY_S)
        give_up_at = time.monotonic() + PATIENCE_S
        now: dict[str, str] = {}
        same = 0
        while same < self.rounds:
            time.sleep(self.pause_s)
            before, heard = now, self._look()
            now = self.probed
            same = 0 if heard or now != before else same + 1
            if self._is_something_due() and time.monotonic() < give_up_at:
                same = 0
                time.sleep(TICK_S)
        for name in sorted(now, key=self.wording.say):
            if now[name] != self.counts.get(name):
                self.transcript[-1].hears("state", f"{self.wording.say(name)} {now[name]}")
        self.counts = now

    def _is_something_due(self) -> bool:
        """A confirm, a commit, a cancel of a consumer whose queue is gone, an exclusive queue's end with its owner."""
        if "405" in self.probed.values():
            return True
        return any(
            channel.unconfirmed or channel.is_committing or self._has_lost_its_queue(channel)
            for connection in self.connections
            for channel in connection.channels.values()
        )

    def _has_lost_its_queue(self, channel: Channel) -> bool:
        return any(self.probed.get(queue, self.counts.get(queue)) == "gone" for queue, _ in channel.consumers.values())

    def _look(self) -> bool:
        """A barrier on every channel, and a passive declaration of every queue; whether anything else was heard."""
        before = self._heard_count()
        self.probed = {}
        for connection in self.connections:
            self._probe(connection, [name for name, owner in self.queues.items() if owner == connection.number])
            for number in connection.channels:
                connection.bar(number)
        self._read_all()
        return self._heard_count() != before

    def _heard_count(self) -> int:
        step = self.transcript[-1]
        return sum(map(len, step.heard.values())) + sum(map(len, step.confirmed.values()))

    def _probe(self, connection: Connection, names: list[str]) -> None:
        connection.asked = names or None
        connection.send(PROBE, *(method_payload("queue.declare", queue=name, passive=True) for name in names))

    def _take_probe(self, connection: Connection, method: Method) -> None:
        """How many messages and consumers a queue has; or why not, and those behind it are asked again."""
        assert connection.asked is not None, method
        if method.name == "channel.open-ok":
            self._probe(connection, connection.asked)
            return
        name = connection.asked.pop(0)
        if method.name == "queue.declare-ok":
            consumers = "" if self.has_quorum_queue else f" consumers={method['consumer_count']}"
            self.probed[name] = f"ready={method['message_count']}{consumers}"
            connection.asked = connection.asked or None
            return
        assert method.name == "channel.close", method
        self.probed[name] = str(method["reply_code"])
        if method["reply_code"] == 404:
            self.probed[name] = "gone"
            del self.queues[name]
        connection.send(PROBE, method_payload("channel.close-ok"), method_payload("channel.open"))

    # -- the end

    def _clean_up(self) -> None:
        """Everything that the sequence left is deleted; nothing is compared any more."""
        for kind, name in sorted(self.policies):
            self.operator.clear_policy(kind, name)
        self._close_channels()
        self._delete_queues()
        first = self.connections[0]
        first.open(1)
        first.send(
            1,
            *(
                method_payload("exchange.delete", exchange=name)
                for name in sorted(self.exchanges)
                if name.startswith(self.prefix)
            ),
        )
        first.bar(1)
        self._read_all()
        self._close_channels()

    def _close_channels(self) -> None:
        for connection in self.connections:
            for number in connection.channels:
                connection.send(number, method_payload("channel.close", reply_code=200, reply_text="bye"))
                connection.barriers[number] = 1
        self._read_all()

    def _delete_queues(self) -> None:
        self._look()  # what is gone is not asked for again
        for connection in self.connections:
            mine = [name for name, owner in self.queues.items() if owner == connection.number]
            connection.open(1)
            connection.send(1, *(method_payload("queue.delete", queue=name) for name in mine))
            connection.bar(1)
        self._read_all()


@contextlib.contextmanager
def _one_write(connection: Connection) -> Iterator[None]:
    """All that is sent inside goes out in one segment."""
    raw = connection.peer.socket
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    yield
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


VERBS: Final = {
    "publish": Client._publish,
    "ack": Client._settle_delivery,
    "nack": Client._settle_delivery,
    "reject": Client._settle_delivery,
    "together": Client._together,
    "close channel": Client._close_channel,
    "drop connection": Client._drop,
    "reply": Client._reply,
    "set policy": Client._set_policy,
    "clear policy": Client._clear_policy,
}
WITHOUT_CHANNEL: Final = frozenset({"drop connection"})
assert not set(VERBS) & set(METHODS)
