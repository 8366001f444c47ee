"""A data directory, and the broker that runs on it now: killed and started again as often as a test likes."""

import signal
from pathlib import Path

from tests.server.serving import Served
from tests.support.raw_peer import RawPeer


class Home:
    """A data directory and the broker that runs on it now, with one peer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broker: Served | None = None

    def start(self) -> RawPeer:
        data = str(self.directory / "data")
        self.broker = Served(self.directory, "--data-dir", data)
        return self.broker.wait_ready().login()

    def kill_and_start(self) -> RawPeer:
        self.end()
        return self.start()

    def stop_and_start(self, peer: RawPeer) -> RawPeer:
        assert self.broker is not None
        self.broker.signal(signal.SIGTERM)
        peer.expect(0, "connection.close", reply_code=320)
        peer.send(0, "connection.close-ok")
        assert self.broker.wait_exit() == 0
        return self.kill_and_start()

    def end(self) -> None:
        if self.broker is not None:
            self.broker.kill()


def confirm_up_to(peer: RawPeer, last: int) -> None:
    """Until this publish of channel 1 is confirmed, and with it all before."""
    while peer.expect(1, "basic.ack")["delivery_tag"] < last:
        pass
