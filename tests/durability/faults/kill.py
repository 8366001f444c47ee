"""SIGKILL at any moment: while it starts, under load, while it stops; now and then SIGTERM, which must lose nothing."""

import signal
import time

from tests.durability.campaign import Campaign, Run
from tests.durability.faults.base import Fault

AT_START_SHARE = 0.15
CLEAN_SHARE = 0.1
STOPPING_SHARE = 0.1
START_S = 0.3  # about what a start takes
STOP_S = 0.05  # about what a stop takes


class Kill(Fault):
    """See the module."""

    name = "kill"
    weight = 4

    def cycle(self, campaign: Campaign) -> None:
        if campaign.random.random() < AT_START_SHARE:
            self.kill_at_start(campaign)
        campaign.run(self.strike)

    def kill_at_start(self, campaign: Campaign) -> None:
        """It may die anywhere between the first instruction and the first turn."""
        with campaign.start() as run:
            time.sleep(campaign.random.uniform(0.0, START_S))
            run.kill()
        campaign.ledger.counts["killed while starting"] += 1
        campaign.ledger.on_restart()

    def strike(self, run: Run) -> None:
        chance = run.campaign.random
        run.load_for(chance.uniform(0.02, 1.0) * run.campaign.load_s)
        how = chance.random()
        if how < CLEAN_SHARE + STOPPING_SHARE:
            run.signal(signal.SIGTERM)
            if how < CLEAN_SHARE:
                return
            time.sleep(chance.uniform(0.0, STOP_S))
        run.kill()
