"""A broker in a thread of its own, as a test uses it: with pika, which blocks."""

import gc
import os
import socket
import threading
from pathlib import Path

import anyio
import pika
import pytest

from amqpd.broker.ports import META, StoreFailed
from amqpd.settings import SettingsError
from amqpd.testing import Broker, NotRunning, StartError, WaitTimeout


def publish(broker: Broker, queue: str, *bodies: bytes, durable: bool = False) -> None:
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=durable)
        channel.confirm_delivery()
        for body in bodies:
            channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2 if durable else 1))


def open_descriptors() -> set[str]:
    return {f"{entry.name} {os.readlink(entry.path)}" for entry in os.scandir("/proc/self/fd") if os.path.exists(entry)}


def test_it_is_there_in_its_block_and_gone_behind_it() -> None:
    with Broker() as broker:
        publish(broker, "q", b"one", b"two")
        assert broker.queue("q").ready == 2
        assert broker.url == f"amqp://guest:guest@127.0.0.1:{broker.port}/%2F"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.host, broker.port)).close()
    with pytest.raises(NotRunning, match="it was stopped"):
        broker.queues()


def test_a_stop_leaves_no_thread_no_descriptor_and_no_file(tmp_path: Path) -> None:
    with Broker():
        pass  # what is imported and opened once for all
    gc.collect()
    threads, descriptors = threading.enumerate(), open_descriptors()
    with Broker(data_dir=tmp_path / "data") as broker:
        publish(broker, "q", b"kept", durable=True)
        peer = socket.create_connection((broker.host, broker.port))
        peer.sendall(b"AMQP\0\0\x09\1")
        peer.recv(1)
    peer.close()
    gc.collect()
    assert threading.enumerate() == threads
    assert open_descriptors() == descriptors
    with Broker():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_several_at_once() -> None:
    with Broker() as one, Broker(vhost="two") as two:
        publish(one, "q", b"")
        publish(two, "other", b"")
        assert [queue.name for queue in one.queues()] == ["q"]
        assert [queue.name for queue in two.queues()] == ["other"]
        assert two.url.endswith("/two")


def test_what_fails_at_the_start_is_raised_there(tmp_path: Path) -> None:
    with Broker() as one:
        with pytest.raises(StartError, match=f"127.0.0.1:{one.port}: Address already in use"):
            Broker(one.port).start()
        with pytest.raises(RuntimeError, match="running already"):
            one.start()
    with pytest.raises(SettingsError, match="heartbeat_s: -1 is not allowed"):
        Broker(heartbeat_s=-1)
    with pytest.raises(TypeError, match="no_such_setting"):
        Broker(no_such_setting=1)
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="file"):
        Broker(data_dir=tmp_path / "file").start()
    with pytest.raises(ValueError, match="queues"):
        Broker(definitions={"queues": [{"durable": True}]}).start()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("amqpd:")] == []


def test_a_restart_keeps_the_port_and_what_is_durable() -> None:
    with Broker() as broker:
        publish(broker, "durable", b"kept", durable=True)
        publish(broker, "transient", b"lost")
        port = broker.port
        broker.restart()
        assert broker.port == port
        assert [queue.name for queue in broker.queues()] == ["durable"]
        assert [message.body for message in broker.queue("durable").messages()] == [b"kept"]


def test_a_restart_may_keep_everything_but_connections() -> None:
    with Broker() as broker:
        publish(broker, "transient", b"kept")
        with socket.create_connection((broker.host, broker.port)) as peer:
            connection = pika.BlockingConnection(broker.pika_parameters())
            broker.restart(keep_transient=True)
            with pytest.raises(pika.exceptions.ConnectionClosedByBroker):
                connection.process_data_events(1)
            assert broker.queue("transient").ready == 1
            peer.close()


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_killed_broker_refuses_and_comes_back_with_what_was_confirmed(tmp_path: Path, on_disk: bool) -> None:
    with Broker(data_dir=tmp_path if on_disk else None) as broker:
        publish(broker, "q", b"confirmed", durable=True)
        connection = pika.BlockingConnection(broker.pika_parameters())
        broker.kill()
        with pytest.raises(NotRunning, match=r"it was killed; start\(\) brings it back"):
            broker.queues()
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            connection.process_data_events(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((broker.host, broker.port)).close()
        broker.start()
        assert [message.body for message in broker.queue("q").messages()] == [b"confirmed"]


def test_what_is_waited_for_may_be_there_already_or_come_later() -> None:
    with Broker(record=True) as broker:
        publish(broker, "q", b"1")
        broker.wait_for(queue="q")
        broker.wait_for("q", ready=1)
        broker.wait_for(queue="q", ready=1, unacked=0, consumers=0)
        later = threading.Thread(target=publish, args=(broker, "q", b"2", b"3"))
        later.start()
        broker.wait_for(queue="q", ready=3)
        broker.wait_for_published(3)
        broker.wait_for(queue="q", ready=lambda count: count > 2)
        broker.wait_for(lambda: broker.queue("q").ready == 3)
        later.join()


def test_consumers_and_connections_are_waited_for() -> None:
    with Broker() as broker:
        with pika.BlockingConnection(broker.pika_parameters()) as connection:
            channel = connection.channel()
            channel.queue_declare("q")
            channel.basic_consume("q", lambda *_: None)
            broker.wait_for_connection()
            broker.wait_for_consumer("q")
            assert [consumer.queue for consumer in broker.queue("q").consumers] == ["q"]
            assert len(broker.channels) == 1
        broker.wait_for(lambda: not broker.connections)


def test_it_is_idle_when_consumers_have_had_everything() -> None:
    with Broker() as broker, pika.BlockingConnection(broker.pika_parameters()) as connection:
        publish(broker, "q", b"1", b"2")
        broker.wait_idle()
        channel = connection.channel()
        channel.basic_consume("q", lambda *_: None)
        with pytest.raises(WaitTimeout, match="the broker to be idle"):
            broker.wait_idle(timeout=0.05)
        channel.basic_ack(0, multiple=True)
        channel.queue_declare("q", passive=True)
        broker.wait_idle()


def test_who_waits_in_vain_is_told_how_the_broker_stood() -> None:
    with Broker() as broker:
        publish(broker, "q", b"1")
        with pytest.raises(WaitTimeout) as caught:
            broker.wait_for(queue="q", ready=2, unacked=lambda count: count > 1, timeout=0.05)
        text = str(caught.value)
        assert text.startswith("waited 0.05 s for queue 'q' in vhost '/' with 2 ready, some number of unacked\n")
        assert "q" in text.splitlines()[1:][0] or "1 ready" in text
        with pytest.raises(WaitTimeout, match="a condition"):
            broker.wait_for(lambda: False, timeout=0.02)
        with pytest.raises(TypeError, match="name of a queue"):
            broker.wait_for()
        with pytest.raises(TypeError, match="either something to call, or a queue"):
            broker.wait_for(lambda: True, ready=1)
        with pytest.raises(ZeroDivisionError):
            broker.wait_for(queue="q", ready=lambda count: count // 0 > 0)


def test_who_waits_in_an_event_loop_is_told_that_it_stood_still() -> None:
    async def wait(broker: Broker) -> None:
        broker.wait_for(queue="never", timeout=0.02)

    with Broker() as broker:
        with pytest.raises(WaitTimeout) as caught:
            anyio.run(wait, broker)
        assert "This thread runs an event loop, which stood still meanwhile" in caught.value.__notes__[0]
        with pytest.raises(WaitTimeout) as caught:
            broker.wait_for(queue="never", timeout=0.02)
        assert not hasattr(caught.value, "__notes__")


def test_a_store_that_fails_ends_the_broker_and_is_told_once(tmp_path: Path) -> None:
    def fail() -> int:
        raise StoreFailed("the disk is gone")

    broker = Broker(data_dir=tmp_path).start()
    journal = broker.node.journal

    def write() -> None:
        journal.store.completed = fail  # type: ignore[method-assign]
        journal.put(META, b"key", b"value")

    with pytest.raises(StoreFailed, match="the disk is gone"):
        broker.call(write)
    with pytest.raises(StoreFailed, match="the disk is gone"):
        broker.stop()
    with pytest.raises(NotRunning, match="its store failed: the disk is gone"):
        broker.queues()
    broker.stop()
    with broker:
        assert broker.queues() == []


def test_a_stop_ends_every_wait() -> None:
    broker = Broker().start()
    errors: list[Exception] = []

    def wait() -> None:
        try:
            broker.wait_for(queue="never")
        except NotRunning as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    broker.wait_for(lambda: bool(broker._waiters._waiting))
    broker.stop()
    waiting.join()
    assert len(errors) == 1


def test_recorded_messages_are_told_and_others_are_asked_for() -> None:
    with Broker(record=True) as broker:
        publish(broker, "q", b"1", b"2")
        assert [(message.body, message.queues) for message in broker.published()] == [(b"1", ("q",)), (b"2", ("q",))]
        assert broker.published(exchange="other") == []
        broker.reset()
        assert broker.published() == []
    with Broker() as broker, pytest.raises(RuntimeError, match="record=True"):
        broker.published()


def test_a_fork_does_not_keep_connections_open() -> None:
    with Broker() as broker:
        peer = socket.create_connection((broker.host, broker.port))
        peer.sendall(b"AMQP\0\0\x09\1")
        peer.recv(1)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent has seen what it wants to see
            os._exit(0)
        os.close(reading)
        broker.kill()
        peer.settimeout(5)
        try:
            while peer.recv(4096):
                pass
        except ConnectionResetError:
            pass
        peer.close()
        broker.start()
        os.close(writing)
        os.waitpid(child, 0)
