"""A channel: its state, the assembly of contents, and what happens to every message that passes it: publish, deliver,
ack, confirm.

The other methods are in ``commands.py``. Rules: AMQP 0-9-1, classes channel and basic; RabbitMQ: confirms, nack.
"""
# HOT. publish, deliver and ack run once a message.  Bench: tests/bench, scenarios A to E.
# Limits: the outbox's high mark stops deliveries (has_room); max_message_size bounds assembly.

from __future__ import annotations

from typing import TYPE_CHECKING

from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i64

from amqpd import limits
from amqpd.broker import arguments, contents, tables
from amqpd.broker.confirms import Confirms
from amqpd.broker.consumers import Consumer
from amqpd.broker.message import BLIND, CHANNEL_MASK, Message
from amqpd.broker.ports import Outlet
from amqpd.broker.properties import (
    BAD_MODE,
    DELIVERY_MODE_MASK,
    HAS_EXPIRATION,
    HAS_HEADERS,
    HAS_REPLY_TO,
    HAS_USER_ID,
    MALFORMED,
    PRIORITY_SHIFT,
    find_user_id,
    read_facts,
)
from amqpd.broker.publication import Publication, received
from amqpd.broker.queues.base import Queue
from amqpd.broker.transactions import ACK, REJECT, REQUEUE, HeldPublish, Transaction
from amqpd.broker.unacked import TooLate, Unacked
from amqpd.errors import FrameError, PreconditionFailed, UnexpectedFrame
from amqpd.protocols.amqp091 import access, hot_codec, publishing
from amqpd.protocols.amqp091.answers import Answers
from amqpd.protocols.amqp091.constants import BASIC_PUBLISH
from amqpd.protocols.amqp091.frames import octets
from amqpd.protocols.amqp091.routes import Route

if TYPE_CHECKING:
    from amqpd.protocols.amqp091.connection import Connection


class Channel(Outlet):
    """One open channel of ``connection``."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.outbox = connection.outbox
        self.turn = connection.turn
        self.is_closing = False  # we sent channel.close and wait for its ok
        self.takes_hot = True  # open, and no content is being assembled
        self.next_tag: i64 = 1
        self.unacked = Unacked()
        self.outstanding = 0  # deliveries to consumers that are not acked: what a channel-wide prefetch counts
        self.consumers: dict[str, Consumer] = {}
        self.prefetch = 0  # for consumers to come (basic.qos, global false)
        self.channel_prefetch = 0  # for all of the channel (global true)
        self.is_full = False  # a consumer lost its credit to channel_prefetch
        self.last_queue = ""  # what an empty queue name means
        self.confirms: Confirms | None = None
        self.is_confirming = False  # noted in turn.confirming or waiting for a ticket
        self.tx: Transaction | None = None
        self.has_refused = False  # a queue refused something of the transaction that is committed
        self.answers = Answers(self)
        # Assembly of a content whose method came alone.
        self.content_method = 0  # whose content is due; 0: none
        self.content_arguments = b""
        self.has_header = False
        self.header = b""
        self.body = bytearray()
        self.body_left: i64 = 0
        self.facts: i64 = 0

    # -- publish --

    def publish(self, route: Route, content: bytes, facts: i64) -> None:
        """A whole message: ``content`` is its content frames, ``facts`` what ``read_facts`` found.

        Raises FrameError for a malformed property list and PreconditionFailed for properties that break a rule.
        """
        ttl_ms: i64 = -1
        by_message = route.by_message
        if facts > 2 or facts < 0:
            self._check_form(content, facts)
            if facts & HAS_REPLY_TO:
                content = self.answers.request(content)
            if facts & HAS_USER_ID:
                self._check_user_id(content)
            if facts & HAS_EXPIRATION:
                ttl_ms = arguments.parse_expiration(contents.find_property(content, "expiration") or "")
            if facts & HAS_HEADERS:
                by_message = by_message or has_copies(content)
        message: Publication | None = None
        if by_message:
            persistent = facts & DELIVERY_MODE_MASK == 2
            message = received(route.exchange.name, route.routing_key, content, self.number, persistent=persistent)
            for key in message.keys[1:]:
                access.check_key(self.connection, route.exchange, key)
        if facts & BAD_MODE:
            raise PreconditionFailed(f"invalid message: {{delivery_mode_unknown,{facts & DELIVERY_MODE_MASK}}}")
        if message is None and route.asker is None and self.tx is None:
            self._enqueue(route.queues, content, route.address, route.mandatory, facts, ttl_ms)
            return
        queues = route.queues
        if self.tx is not None and message is not None and not self.connection.vhost.keeps_messages(route.exchange):
            queues = self.connection.vhost.route(route.exchange, route.routing_key, message)
            message.is_routed = True
        held = HeldPublish(queues, message, route.asker, content, route.address, route.mandatory, facts, ttl_ms)
        if self.tx is not None:
            self.tx.publishes.append(held)
        else:
            self._release(held)

    def _enqueue(
        self, queues: list[Queue], content: bytes, address: bytes, mandatory: bool, facts: i64, ttl_ms: i64
    ) -> None:
        turn = self.turn
        ticket = 0
        number = self.number
        is_routed = False
        refused: list[Message] | None = None
        persistent = facts & DELIVERY_MODE_MASK == 2
        for queue in queues:
            if queue.deleted:
                continue
            is_routed = True
            stored = queue.on_disk and (persistent or queue.stores_all)
            message = Message(content, address, number, queue, stored)
            if queue.rejects and queue.refuses(content):
                if refused is None:
                    refused = []
                refused.append(message)
                continue
            if facts > 2:
                message.priority = int((facts >> PRIORITY_SHIFT) & 0xFF)
            if ttl_ms >= 0 or queue.ttl_ms >= 0:
                queue.expire_after(message, ttl_ms)
            if stored:
                ticket = turn.journal.ticket
            queue.enqueue(message)
        if refused is not None:
            self.has_refused = True
            for message in refused:
                message.queue.refuse(message)
        if not is_routed and mandatory:
            self._return(content, address)
        if self.confirms is not None:
            self._confirm(ticket, refused is not None)

    def _return(self, content: bytes, address: bytes) -> None:
        self.outbox.write(hot_codec.no_route(self.number, address))
        self.outbox.write(content)

    def _confirm(self, ticket: int, is_refused: bool) -> None:
        """The newest publish is accepted once ``ticket`` is durable, or was refused."""
        confirms = self.confirms
        if confirms is not None:
            confirms.record(ticket, is_refused)
            if not self.is_confirming:
                self.is_confirming = True
                self.turn.confirming.append(self)

    def _release(self, held: HeldPublish) -> None:
        """An answer to a request, or a message that exchanges must see before they know where it goes."""
        message = held.message
        if message is None:
            self._enqueue(held.queues, held.content, held.address, held.mandatory, held.facts, held.ttl_ms)
            if held.asker is not None:
                held.asker.answer(held.address, held.content, self.number)
            return
        vhost = self.connection.vhost
        exchange = vhost.exchanges.get(message.exchange)  # in a transaction, it may have gone meanwhile
        queues = held.queues
        if not message.is_routed:
            queues = [] if exchange is None else vhost.route(exchange, message.routing_key, message)
        if not queues and not message.kept and held.mandatory:
            self._return(message.shown(), held.address)
        if message.exchange == "":
            for key in message.keys:
                asker = vhost.askers.get(key)
                if asker is not None:
                    asker.answer(held.address, message.shown(), self.number)
        self._confirm(vhost.enqueue(message, queues), message.refused)
        self.has_refused |= message.refused

    def _check_form(self, content: bytes, facts: i64) -> None:
        if facts == MALFORMED:
            header_end: i64 = 7 + int(read_i32_be(content, 3))
            raise FrameError(f"type 2, {octets(content[7:header_end])}: malformed properties")

    def _check_user_id(self, content: bytes) -> None:
        p: i64 = find_user_id(content, 19)
        user_id = tables.text_of(content[p + 1 : p + 1 + i64(content[p])])
        user = self.connection.user_name
        if user_id != user and not self.connection.is_impersonator:
            raise PreconditionFailed(f"user_id property set to '{user_id}' but authenticated user was '{user}'")

    # -- content in frames of its own (the plain twin of frames.take_publish) --

    def expect_content(self, method: int, payload: bytes) -> None:
        """A method came that a content follows. What is wrong with it is said once the content is here, as RabbitMQ
        does."""
        self.content_method = method
        self.content_arguments = payload
        self.has_header = False
        self.takes_hot = False

    def receive_content(self, kind: int, payload: bytes) -> None:
        """A frame while a content is due. Raises UnexpectedFrame, FrameError, PreconditionFailed."""
        if not self.has_header:
            self._receive_header(kind, payload)
        elif kind != 3:
            raise UnexpectedFrame("expected content body, got non content body frame instead")
        else:
            size: i64 = len(payload)
            if size > self.body_left:
                raise FrameError("content body frame exceeds remaining content size")
            self.body_left -= size
            if not self.is_closing:
                self.body.extend(payload)
        if self.has_header and self.body_left == 0:
            self._finish_content()

    def _receive_header(self, kind: int, payload: bytes) -> None:
        if kind != 2:
            raise UnexpectedFrame("expected content header for class 60, got non content header frame instead")
        if len(payload) < 12:
            raise FrameError(f"type 2, {octets(payload)}: unknown_frame")
        class_id: i64 = int(read_i16_be(payload, 0)) & 0xFFFF
        if read_i16_be(payload, 2) != 0:
            raise UnexpectedFrame("expected content header for class 60, got non content header frame instead")
        if class_id != 60:
            raise UnexpectedFrame(f"expected content header for class 60, got one for class {class_id} instead")
        size: i64 = read_i64_be(payload, 4)
        self.facts = read_facts(payload, 12, len(payload))
        if self.facts == MALFORMED:
            raise FrameError(f"type 2, {octets(payload)}: malformed properties")
        self.has_header = True
        self.header = payload
        self.body = bytearray()
        self.body_left = size if size >= 0 else hot_codec.ENDLESS
        limit: i64 = self.connection.max_message_size
        if self.body_left > limit and not self.is_closing:
            raise PreconditionFailed(
                f"message size {int.from_bytes(payload[4:12], 'big')} is larger than configured max size {limit}"
            )

    def _finish_content(self) -> None:
        method, arguments, body = self.content_method, self.content_arguments, self.body
        self.drop_content()
        if self.is_closing:
            return
        if method != BASIC_PUBLISH:
            raise self.connection.unimplemented()
        self.connection.on_publisher()
        route = publishing.resolve(self, arguments)
        content = hot_codec.content_frames(self.number, self.header, bytes(body), self.connection.frame_max)
        self.publish(route, content, self.facts)

    def drop_content(self) -> None:
        """No content is due any more."""
        self.content_method = 0
        self.has_header = False
        self.body = bytearray()
        self.takes_hot = not self.is_closing

    # -- deliver --

    def has_room(self) -> bool:
        if self.outbox.size >= limits.OUTBOX_HIGH_BYTES:
            self.outbox.is_starved = True
            return False
        if 0 < self.channel_prefetch <= self.outstanding:
            self.is_full = True
            return False
        return True

    def deliver(self, consumer: Consumer, message: Message) -> None:
        tag: i64 = self.next_tag
        self.next_tag = tag + 1
        address = message.address
        if consumer.prefix_size != len(address):
            consumer.prefix_size = len(address)
            consumer.prefix = hot_codec.deliver_prefix(self.number, tables.bytes_of(consumer.tag), len(address))
        self.outbox.write_delivery(consumer.prefix, tag, message.redelivered, address, self.content_for(message))
        if not consumer.no_ack:
            message.consumer = consumer
            consumer.unacked += 1
            self.outstanding += 1
            self.unacked.by_tag[tag] = message

    def content_for(self, message: Message) -> bytes:
        """The content frames of ``message``, as this channel sends them."""
        content = message.content
        channel = message.channel
        if message.returns:
            content = contents.with_delivery_count(content, message.returns)
        if channel & BLIND:
            content = contents.without_blind_copies(content)
        return self.frames(content, channel & CHANNEL_MASK)

    def frames(self, content: bytes, channel: int) -> bytes:
        """A content as on ``channel``, in frames that the peer takes on this one."""
        frame_max: i64 = self.connection.frame_max
        if channel == self.number and (len(content) <= frame_max or hot_codec.fits(content, frame_max)):
            return content
        return hot_codec.reframe(content, self.number, frame_max)

    def get(self, queue: Queue, message: Message, no_ack: bool) -> None:
        """Answer basic.get with ``message``, which was taken from ``queue``."""
        tag: i64 = self.next_tag
        self.next_tag = tag + 1
        self.outbox.write(hot_codec.get_ok(self.number, tag, message.redelivered, message.address, queue.ready_count))
        content = self.content_for(message)
        if queue.counts_returns and not message.returns:  # RabbitMQ: a get tells 0, a delivery does not
            content = contents.with_delivery_count(content, 0)
        self.outbox.write(content)
        if no_ack:
            queue.settle(message)
        else:
            self.unacked.by_tag[tag] = message

    def cancel_late(self, consumer: Consumer) -> None:
        """``consumer`` has held a delivery for too long: it is cancelled, and all that it holds goes back."""
        late = self.unacked.take_late(consumer)
        self.connection.vhost.remove_consumer(consumer)
        self.on_consumer_cancelled(consumer)
        self.requeue(late)

    def on_consumer_cancelled(self, consumer: Consumer) -> None:
        self.consumers.pop(consumer.tag, None)
        if not self.is_closing:
            self.connection.notify_cancel(self.number, consumer.tag)

    # -- settle --

    def ack(self, tag: i64) -> None:
        """basic.ack of one delivery. Raises PreconditionFailed for an unknown tag."""
        try:
            message = self.unacked.take(tag)
        except TooLate:
            return
        if self.tx is not None:
            self.tx.settled.append((int(tag), message, ACK))
        else:
            self._settle(message)

    def ack_multiple(self, tag: i64) -> None:
        """basic.ack of all deliveries up to ``tag``; 0 is all of them."""
        for message in self._take(tag, True, ACK):
            self._settle(message)

    def reject(self, tag: int, *, multiple: bool, requeue: bool) -> None:
        """basic.reject and basic.nack. Raises PreconditionFailed for an unknown tag."""
        messages = self._take(tag, multiple, REQUEUE if requeue else REJECT)
        if requeue:
            self.requeue(messages)
        else:
            self._bury(messages)

    def _take(self, tag: int, multiple: bool, verdict: int) -> list[Message]:
        """The deliveries that the peer names. Inside a transaction they are held for its end, and none is returned."""
        try:
            if self.tx is None:
                return self.unacked.take_up_to(tag) if multiple else [self.unacked.take(tag)]
            for known in self.unacked.tags_up_to(tag) if multiple else [tag]:
                self.tx.settled.append((known, self.unacked.take(known), verdict))
        except TooLate:
            pass
        return []

    def _bury(self, messages: list[Message]) -> None:
        """Rejected for good."""
        for message in messages:
            if message.consumer is not None:
                self._give_credit(message.consumer)
            message.queue.reject(message)

    def _settle(self, message: Message) -> None:
        consumer = message.consumer
        if consumer is not None:
            self._give_credit(consumer)
        message.queue.settle(message)

    def requeue(self, messages: list[Message]) -> None:
        """Back to their queues, each in its place."""
        by_queue: dict[Queue, list[Message]] = {}
        for message in messages:
            consumer = message.consumer
            if consumer is not None:
                self._give_credit(consumer)
            by_queue.setdefault(message.queue, []).append(message)
        for queue, returned in by_queue.items():
            queue.requeue(returned)

    def _give_credit(self, consumer: Consumer) -> None:
        consumer.unacked -= 1
        self.outstanding -= 1
        if not consumer.active:
            consumer.queue.activate(consumer)
        if self.is_full:
            self.is_full = False
            self.activate_consumers()

    def activate_consumers(self) -> None:
        """Their credit may be back, all at once: the outbox drained, or a channel-wide prefetch has room."""
        for consumer in self.consumers.values():
            consumer.queue.activate(consumer)

    # -- transactions --

    def commit(self) -> int:
        """tx.commit: publishes, then acks; the ticket that holds them. Raises PreconditionFailed if a queue refused."""
        tx = self.tx
        assert tx is not None
        self.tx = Transaction()
        self.has_refused = False
        for held in tx.publishes:
            self._release(held)
        for _, message, verdict in tx.settled:
            if verdict == REQUEUE:
                self.requeue([message])
            elif verdict == REJECT:
                self._bury([message])
            else:
                self._settle(message)
        if self.has_refused:
            raise PreconditionFailed("partial tx completion")
        return self.turn.journal.newest()

    def rollback(self) -> None:
        """tx.rollback: publishes are dropped, acks undone without a redelivery."""
        tx = self.tx
        assert tx is not None
        self.tx = Transaction()
        by_tag = self.unacked.by_tag
        for tag, message, _ in tx.settled:
            by_tag[tag] = message
        self.unacked.by_tag = dict(sorted(by_tag.items()))

    # -- confirms --

    def on_durable(self, durable: int) -> bool:
        """Confirm what is on disk. True when nothing waits any more."""
        confirms = self.confirms
        if confirms is None or self.connection.is_finished or self.is_closing:
            self.is_confirming = False
            return True
        up_to = confirms.take(durable)
        while up_to:
            is_several = up_to > confirms.confirmed + 1
            self.outbox.write(hot_codec.confirm(self.number, up_to, is_several, confirms.taken_refused))
            confirms.confirmed = up_to
            up_to = confirms.take(durable)
        self.is_confirming = confirms.waiting()
        return not self.is_confirming

    # -- the end --

    def release_consumers(self) -> None:
        """Its consumers are gone; auto-delete queues may go with them."""
        self.answers.end()
        consumers = list(self.consumers.values())
        self.consumers.clear()
        for consumer in consumers:
            self.connection.vhost.remove_consumer(consumer)

    def release_deliveries(self) -> None:
        """Everything it had unacked goes back, in order; consumers first (release_consumers), so that it goes to
        others."""
        if self.tx is not None:
            self.rollback()
        self.requeue(self.unacked.take_all())
        self.confirms = None
        self.tx = None


def has_copies(content: bytes) -> bool:
    """Whether its headers may have CC or BCC: these bytes are there."""
    end: i64 = 7 + int(read_i32_be(content, 3))
    return content.find(b"\x02CC", 19, end) >= 0 or content.find(b"\x03BCC", 19, end) >= 0
