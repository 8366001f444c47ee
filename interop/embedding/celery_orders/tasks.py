"""The steps of an order, as Celery's workers do them.

A payment is acked when it is done: a worker that is lost in the middle of it has another one do it again.
"""
# Celery ships no types.
# mypy: allow-untyped-decorators

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from celery import Task, chain, chord, shared_task
from celery.result import AsyncResult

from interop.embedding.order import Order, PaymentFailed
from interop.embedding.topology import TRIES


def _no_bank(order: Order) -> None:
    raise PaymentFailed(f"nobody takes the money for {order.number}")


@dataclass
class Offices:
    """Whom the tasks turn to, and how patient they are with them."""

    charge: Callable[[Order], None] = _no_bank  # raises PaymentFailed
    retry_after_s: float = 30.0


OFFICES = Offices()


@shared_task(bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=TRIES - 1)
def pay(self: Task, order: dict[str, Any]) -> dict[str, Any]:
    """Take the money; try again later if the bank does not give it. The order."""
    try:
        OFFICES.charge(Order(**order))
    except PaymentFailed as error:
        raise self.retry(exc=error, countdown=OFFICES.retry_after_s) from error
    return order


@shared_task
def pick(item: str) -> str:
    """Take it from its shelf."""
    return f"1 {item}"


@shared_task
def pack(things: Sequence[str]) -> str:
    """One parcel of all that was picked."""
    return f"a parcel with {' and '.join(sorted(things))}"


@shared_task
def ship(parcel: str) -> str:
    """Give it to the driver."""
    return f"sent: {parcel}"


def place(order: Order) -> AsyncResult:
    """One thing after the other: the money, the shelf, the driver."""
    return chain(pay.s(asdict(order)), pick.si(order.item), ship.s()).apply_async()


def collect(items: Sequence[str]) -> AsyncResult:
    """Everything at once, then a parcel of it."""
    return chord([pick.s(item) for item in items])(pack.s())


def ship_at(parcel: str, when: datetime) -> AsyncResult:
    """Not before."""
    return ship.apply_async([parcel], eta=when)
