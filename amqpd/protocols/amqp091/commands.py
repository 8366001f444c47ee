"""The methods of a channel that are not per message: one short function each, from arguments to a call of the broker
to a reply.

Errors are raised by name (``amqpd.errors``) with RabbitMQ's texts; ``connection.py`` sends them. Rules: AMQP 0-9-1,
classes channel, access, exchange, queue, basic, confirm, tx, in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from amqpd.broker.arguments import QUORUM, consumer_priority
from amqpd.broker.bindings import Binding
from amqpd.broker.confirms import Confirms
from amqpd.broker.consumers import Consumer
from amqpd.broker.queues.base import Queue
from amqpd.broker.transactions import Transaction
from amqpd.errors import (
    AccessRefused,
    NotAllowed,
    NotFound,
    NotImplementedByBroker,
    PreconditionFailed,
    ResourceLocked,
)
from amqpd.protocols.amqp091 import access, codec, getting
from amqpd.protocols.amqp091 import constants as c
from amqpd.protocols.amqp091.answers import REPLY_QUEUE
from amqpd.protocols.amqp091.patience import Patience

if TYPE_CHECKING:
    from amqpd.protocols.amqp091.channel import Channel

Command = Callable[["Channel", codec.Method], None]
COMMANDS: Final[dict[int, Command]] = {}
_SERVER_TAG = "amq.ctag-"
_SERVER_QUEUE = "amq.gen-"


def _command(method: int) -> Callable[[Command], Command]:
    def register(function: Command) -> Command:
        COMMANDS[method] = function
        return function

    return register


def _reply(channel: Channel, method: codec.Method, durable_at: int = 0, **arguments: Any) -> None:
    """The ``-ok`` of ``method``, once the ticket ``durable_at`` is durable, unless the client does not want one."""
    if method.arguments.get("nowait"):
        return
    number = c.EXCHANGE_UNBIND_OK if method.schema.method == c.EXCHANGE_UNBIND else method.schema.method + 1
    channel.connection.reply_when(durable_at, codec.method_frame(channel.number, number, **arguments))


def _last_queue(channel: Channel, name: str) -> str:
    """An empty queue name is the last one declared on the channel."""
    if name:
        return name
    if not channel.last_queue:
        raise NotFound("no previously declared queue")
    return channel.last_queue


def _get_queue(channel: Channel, name: str) -> Queue:
    """A queue that is to be read."""
    name = _last_queue(channel, name)
    access.check(channel.connection, "read", "queue", name)
    return channel.connection.vhost.get_queue(name, channel.connection)


def _check_not_default(name: str) -> None:
    if name == "":
        raise AccessRefused("operation not permitted on the default exchange")


def _clean(name: str) -> str:
    """RabbitMQ takes line ends out of the names of what it makes."""
    return name.replace("\r", "").replace("\n", "")


# -- channel, access --


@_command(c.CHANNEL_FLOW)
def channel_flow(channel: Channel, method: codec.Method) -> None:
    """RabbitMQ lets nobody stop the flow; consumers have prefetch for that."""
    if not method["active"]:
        raise NotImplementedByBroker("active=false")
    _reply(channel, method, active=True)


@_command(c.ACCESS_REQUEST)
def access_request(channel: Channel, method: codec.Method) -> None:
    """AMQP 0-9's: answered, and the ticket ignored everywhere."""
    _reply(channel, method, ticket=1)


# -- exchange --


@_command(c.EXCHANGE_DECLARE)
def exchange_declare(channel: Channel, method: codec.Method) -> None:
    """Make or check an exchange."""
    vhost = channel.connection.vhost
    name = _clean(method["exchange"])
    _check_not_default(name)
    if method["passive"]:
        vhost.get_exchange(name)
        _reply(channel, method)
        return
    access.check(channel.connection, "configure", "exchange", name)
    if name not in vhost.exchanges:
        access.check_new_exchange(channel.connection, name, method["arguments"])
    ticket = vhost.declare_exchange(
        name,
        method["exchange_type"],
        durable=method["durable"],
        auto_delete=method["auto_delete"],
        internal=method["internal"],
        arguments=method["arguments"],
    )
    _reply(channel, method, ticket)


@_command(c.EXCHANGE_DELETE)
def exchange_delete(channel: Channel, method: codec.Method) -> None:
    """Delete an exchange; a missing one is deleted already."""
    _check_not_default(method["exchange"])
    access.check(channel.connection, "configure", "exchange", method["exchange"])
    ticket = channel.connection.vhost.delete_exchange(method["exchange"], if_unused=method["if_unused"])
    _reply(channel, method, ticket)


@_command(c.EXCHANGE_BIND)
def exchange_bind(channel: Channel, method: codec.Method) -> None:
    """RabbitMQ: exchange to exchange bindings."""
    vhost = channel.connection.vhost
    _check_binding(channel, method["source"], "exchange", method["destination"], method["routing_key"])
    vhost.get_exchange(method["source"])
    vhost.get_exchange(method["destination"])
    _reply(channel, method, vhost.bind(_exchange_binding(method)))


@_command(c.EXCHANGE_UNBIND)
def exchange_unbind(channel: Channel, method: codec.Method) -> None:
    """A missing binding is unbound already."""
    _check_binding(channel, method["source"], "exchange", method["destination"], method["routing_key"])
    _reply(channel, method, channel.connection.vhost.unbind(_exchange_binding(method)))


def _check_binding(channel: Channel, source: str, kind: str, destination: str, key: str) -> None:
    """Whether the user may make or remove one, in RabbitMQ's order of questions."""
    access.check(channel.connection, "write", kind, destination)
    if kind == "exchange":
        _check_not_default(destination)
    _check_not_default(source)
    access.check_source(channel.connection, source, key)


def _exchange_binding(method: codec.Method) -> Binding:
    return Binding(method["source"], method["destination"], False, method["routing_key"], method["arguments"])


# -- queue --


@_command(c.QUEUE_DECLARE)
def queue_declare(channel: Channel, method: codec.Method) -> None:
    """Make or check a queue, and remember it as the channel's last one."""
    vhost, owner = channel.connection.vhost, channel.connection
    name = _clean(method["queue"])
    if name.startswith(REPLY_QUEUE):
        _declare_reply_queue(channel, method, name)
        return
    if method["passive"]:
        queue = vhost.get_queue(name, owner)
    else:
        _check_declare(channel, method, name)
        queue = vhost.declare_queue(
            name,
            owner,
            durable=method["durable"],
            exclusive=method["exclusive"],
            auto_delete=method["auto_delete"],
            arguments=method["arguments"],
        )
    channel.last_queue = queue.name
    queue.use()
    queue.catch_up()
    _reply(
        channel,
        method,
        queue.created,
        queue=queue.name,
        message_count=queue.ready_count,
        consumer_count=len(queue.consumers.all),
    )


def _declare_reply_queue(channel: Channel, method: codec.Method, name: str) -> None:
    """Direct reply-to: whoever answers may ask whether somebody still waits. Nothing is ever made."""
    vhost = channel.connection.vhost
    if name != REPLY_QUEUE and name not in vhost.askers:
        raise NotFound(f"no queue '{name}' in vhost '{vhost.name}'")
    _reply(channel, method, queue=name, message_count=0, consumer_count=1)


def _check_declare(channel: Channel, method: codec.Method, name: str) -> None:
    """Whether the user may declare a queue of this name, or of one that is yet to be made up."""
    is_new = name not in channel.connection.vhost.queues
    name = name or _SERVER_QUEUE + channel.connection.broker.ids.unique()
    access.check(channel.connection, "configure", "queue", name)
    if is_new:
        access.check_new_queue(channel.connection, name, method["arguments"])


@_command(c.QUEUE_BIND)
def queue_bind(channel: Channel, method: codec.Method) -> None:
    """Bind a queue; an empty key with an empty queue name is the queue's name."""
    vhost = channel.connection.vhost
    name = _last_queue(channel, method["queue"])
    binding = _queue_binding(method, name)
    _check_binding(channel, binding.source, "queue", name, binding.key)
    source = vhost.get_exchange(method["exchange"])
    if name in vhost.queues:
        source.check_binding(binding.key, binding.arguments)  # what is asked for counts before whose queue it is
    vhost.get_queue(name, channel.connection)
    _reply(channel, method, vhost.bind(binding))


@_command(c.QUEUE_UNBIND)
def queue_unbind(channel: Channel, method: codec.Method) -> None:
    """A missing binding, queue or exchange is unbound already."""
    vhost = channel.connection.vhost
    name = _last_queue(channel, method["queue"])
    binding = _queue_binding(method, name)
    _check_binding(channel, binding.source, "queue", name, binding.key)
    if binding in vhost.bindings:
        vhost.get_queue(name, channel.connection)
    _reply(channel, method, vhost.unbind(binding))


def _queue_binding(method: codec.Method, name: str) -> Binding:
    key = method["routing_key"]
    if not key and not method["queue"]:
        key = name
    return Binding(method["exchange"], name, True, key, method["arguments"])


@_command(c.QUEUE_PURGE)
def queue_purge(channel: Channel, method: codec.Method) -> None:
    """Drop the ready messages."""
    queue = _get_queue(channel, method["queue"])
    queue.catch_up()
    count = queue.purge()
    _reply(channel, method, _open_ticket(channel, queue), message_count=count)


@_command(c.QUEUE_DELETE)
def queue_delete(channel: Channel, method: codec.Method) -> None:
    """Delete a queue; a missing one is deleted already."""
    name = _last_queue(channel, method["queue"])
    access.check(channel.connection, "configure", "queue", name)
    count, ticket = channel.connection.vhost.delete_queue(
        name, channel.connection, if_unused=method["if_unused"], if_empty=method["if_empty"]
    )
    _reply(channel, method, ticket, message_count=count)


def _open_ticket(channel: Channel, queue: Queue) -> int:
    return channel.turn.journal.newest() if queue.on_disk else 0


# -- basic --


@_command(c.BASIC_QOS)
def basic_qos(channel: Channel, method: codec.Method) -> None:
    """Prefetch of consumers to come (global false), or of the channel (global true): RabbitMQ's reading of the flag."""
    if method["prefetch_size"]:
        raise NotImplementedByBroker(f"prefetch_size!=0 ({method['prefetch_size']})")
    if method["global_"]:
        channel.channel_prefetch = method["prefetch_count"]
        channel.is_full = False
        channel.activate_consumers()
    else:
        channel.prefetch = method["prefetch_count"]
        channel.channel_prefetch = 0  # RabbitMQ: the later of the two kinds of limit lifts one of the channel
        channel.activate_consumers()
    _reply(channel, method)


@_command(c.BASIC_CONSUME)
def basic_consume(channel: Channel, method: codec.Method) -> None:
    """Start a consumer."""
    tag = method["consumer_tag"]
    if tag in channel.consumers:
        raise NotAllowed(f"attempt to reuse consumer tag '{tag}'")
    tag = tag or _SERVER_TAG + channel.connection.broker.ids.unique()
    if method["queue"] == REPLY_QUEUE:
        _consume_answers(channel, method, tag)
        return
    vhost = channel.connection.vhost
    queue = _get_queue(channel, method["queue"])
    consumer = Consumer(
        tag,
        queue,
        channel,
        method["arguments"],
        no_ack=method["no_ack"],
        exclusive=method["exclusive"],
        prefetch=channel.prefetch,
        priority=consumer_priority(queue.name, vhost.name, method["arguments"]),
    )
    if channel.channel_prefetch and queue.settings.queue_type == QUORUM:
        raise NotImplementedByBroker(f"queue '{queue.name}' in vhost '{vhost.name}' does not support global qos")
    vhost.add_consumer(consumer)
    channel.consumers[consumer.tag] = consumer
    if not consumer.no_ack:
        Patience(channel, consumer).begin()
    _reply(channel, method, consumer_tag=consumer.tag)


def _consume_answers(channel: Channel, method: codec.Method, tag: str) -> None:
    """RabbitMQ: direct reply-to."""
    if not method["no_ack"]:
        raise PreconditionFailed("reply consumer cannot acknowledge")
    if channel.answers.name:
        raise PreconditionFailed("reply consumer already set")
    channel.answers.begin(tag)
    _reply(channel, method, consumer_tag=tag)


@_command(c.BASIC_CANCEL)
def basic_cancel(channel: Channel, method: codec.Method) -> None:
    """Stop a consumer; what it has unacked stays with the channel."""
    if channel.answers.name and method["consumer_tag"] == channel.answers.tag:
        channel.answers.end()
    consumer = channel.consumers.pop(method["consumer_tag"], None)
    if consumer is not None:
        channel.connection.vhost.remove_consumer(consumer)
    _reply(channel, method, consumer_tag=method["consumer_tag"])


@_command(c.BASIC_GET)
def basic_get(channel: Channel, method: codec.Method) -> None:
    """One message, now, or get-empty. The plain twin of the get in ``frames.digest``."""
    queue = _get_queue(channel, method["queue"])
    if getting.is_locked(queue):
        raise ResourceLocked(
            f"cannot obtain access to locked queue '{queue.name}' in vhost '{channel.connection.vhost.name}'. "
            "basic.get operations are not supported by quorum queues with single active consumer"
        )
    ticket = getting.answer(channel, queue, method["no_ack"])
    if ticket:
        channel.connection.retry_when(ticket, channel, method)


@_command(c.BASIC_ACK)
def basic_ack(channel: Channel, method: codec.Method) -> None:
    """The plain twin of the single ack in ``frames.digest``."""
    if method["multiple"]:
        channel.ack_multiple(_signed(method["delivery_tag"]))
    else:
        channel.ack(_signed(method["delivery_tag"]))


@_command(c.BASIC_REJECT)
def basic_reject(channel: Channel, method: codec.Method) -> None:
    """One message back, or dropped."""
    channel.reject(method["delivery_tag"], multiple=False, requeue=method["requeue"])


@_command(c.BASIC_NACK)
def basic_nack(channel: Channel, method: codec.Method) -> None:
    """RabbitMQ: reject, several at once."""
    channel.reject(method["delivery_tag"], multiple=method["multiple"], requeue=method["requeue"])


@_command(c.BASIC_RECOVER)
def basic_recover(channel: Channel, method: codec.Method) -> None:
    """Everything unacked back to its queues."""
    _recover(channel, method)
    _reply(channel, method)


@_command(c.BASIC_RECOVER_ASYNC)
def basic_recover_async(channel: Channel, method: codec.Method) -> None:
    """The same without a reply."""
    _recover(channel, method)


def _recover(channel: Channel, method: codec.Method) -> None:
    if not method["requeue"]:
        raise NotImplementedByBroker("requeue=false")
    channel.requeue(channel.unacked.take_all())


# -- confirm, tx --


@_command(c.CONFIRM_SELECT)
def confirm_select(channel: Channel, method: codec.Method) -> None:
    """From now on publishes are confirmed."""
    if channel.tx is not None:
        raise PreconditionFailed("cannot switch from tx to confirm mode")
    if channel.confirms is None:
        channel.confirms = Confirms()
    _reply(channel, method)


@_command(c.TX_SELECT)
def tx_select(channel: Channel, method: codec.Method) -> None:
    """From now on publishes and acks wait for a commit."""
    if channel.confirms is not None:
        raise PreconditionFailed("cannot switch from confirm to tx mode")
    if channel.tx is None:
        channel.tx = Transaction()
    _reply(channel, method)


@_command(c.TX_COMMIT)
def tx_commit(channel: Channel, method: codec.Method) -> None:
    """Carry out what waits; the reply comes once it is on disk."""
    _check_transactional(channel)
    _reply(channel, method, channel.commit())


@_command(c.TX_ROLLBACK)
def tx_rollback(channel: Channel, method: codec.Method) -> None:
    """Forget what waits."""
    _check_transactional(channel)
    channel.rollback()
    _reply(channel, method)


def _check_transactional(channel: Channel) -> None:
    if channel.tx is None:
        raise PreconditionFailed("channel is not transactional")


def _signed(tag: int) -> int:
    """A 64-bit tag as the hot path has it; no delivery has one above 2^63."""
    return tag if tag < 1 << 63 else tag - (1 << 64)
