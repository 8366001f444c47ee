"""How a load looks on a terminal of 80 columns: a line each interval, and a summary."""

import textwrap
from collections.abc import Iterator

from amqpd.perf import address
from amqpd.perf.figures import Quantiles, Result, Sample
from amqpd.perf.plan import UNBOUNDED, Plan

WIDTH = 80
BUSY_SHARE = 0.9  # of a core: what is published as fast as can be is then bound by this tool
LINES_A_PAGE = 20  # the heading comes again after so many


class Table:
    """The columns that a plan has use for."""

    def __init__(self, plan: Plan) -> None:
        self._has_confirms = plan.confirm > 0 and plan.producers > 0
        self._has_returns = plan.mandatory
        self._has_consumers = plan.consumers > 0
        self._has_producers = plan.producers > 0
        self._time_digits = 0 if plan.interval_s % 1 == 0 else 1
        self._line = 0

    def lines(self, sample: Sample) -> Iterator[str]:
        """The line of an interval, and the heading where it is due."""
        if self._line % LINES_A_PAGE == 0:
            yield from self._heading()
        self._line += 1
        yield self._row(sample)

    def _heading(self) -> Iterator[str]:
        width = sum(width for _, width, _ in self._rates())
        groups = f"{'':5}{'messages/s' if width > 10 else 'msg/s':>{width}}"
        names = " time" + "".join(f"{name:>{width}}" for name, width, _ in self._rates())
        if self._has_consumers:
            groups += f"{'latency, ms':>36}"
            names += "".join(f"{name:>6}" for name in ("min", "med", "p75", "p95", "p99", "max"))
        if self._has_confirms:
            groups += f"{'confirm' if self._has_returns else 'confirm, ms':>{8 if self._has_returns else 12}}"
            names += "".join(f"{name:>{width}}" for name, width, _ in self._confirm_times())
        yield groups
        yield names

    def _rates(self) -> list[tuple[str, int, str]]:
        """Heading, width and attribute of each column of rates."""
        columns = [("publish", 8, "published")] if self._has_producers else []
        if self._has_confirms:
            columns.append(("confirm", 8, "confirmed"))
        if self._has_returns:
            columns.append(("return", 7, "returned"))
        return columns + ([("consume", 8, "consumed")] if self._has_consumers else [])

    def _confirm_times(self) -> list[tuple[str, int, str]]:
        """The same of confirm latency; all columns together are 80 wide at most."""
        return [("med", 8, "median")] if self._has_returns else [("med", 6, "median"), ("p99", 6, "p99")]

    def _row(self, sample: Sample) -> str:
        cells = [f"{sample.at_s:5.{self._time_digits}f}"]
        cells += [f"{rate(getattr(sample, name)):>{width}}" for _, width, name in self._rates()]
        if self._has_consumers:
            names = ("min", "median", "p75", "p95", "p99", "max")
            cells += [_time(sample.latency_us, name, 6) for name in names]
        if self._has_confirms:
            cells += [_time(sample.confirm_latency_us, name, width) for _, width, name in self._confirm_times()]
        return "".join(cells)


def _time(times: Quantiles | None, name: str, width: int) -> str:
    return f"{'-' if times is None else milliseconds(getattr(times, name)):>{width}}"


def rate(per_second: float) -> str:
    """Messages a second: 0.5, 9.9, 10, 123456."""
    return f"{per_second:.{1 if 0 < per_second < 9.95 else 0}f}"


def milliseconds(us: float) -> str:
    """In five characters: 0.053, 1.234, 12.34, 123.4, 12345."""
    ms = us / 1000
    for digits, bound in ((3, 9.9995), (2, 99.995), (1, 999.95)):
        if ms < bound:
            return f"{ms:.{digits}f}"
    return f"{ms:.0f}"


def heading(plan: Plan) -> str:
    """What begins."""
    numbers = ((plan.producers, "producer"), (plan.consumers, "consumer"))
    who = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in numbers if count)
    return f"{plan.run_id}: {who} at {address.parse(plan.uri)}"


def summary(plan: Plan, result: Result) -> Iterator[str]:
    """What the whole run was like: a paragraph a fact, behind an empty line."""
    yield ""
    for fact in _facts(plan, result):
        yield from textwrap.wrap(fact, WIDTH, subsequent_indent=" " * 12)


def _facts(plan: Plan, result: Result) -> Iterator[str]:
    counts = result.counts
    yield f"{result.run_id}: {result.seconds:.1f} s"
    if plan.producers:
        yield f"published   {counts.published:>10}  {rate(result.publish_rate):>8}/s{_fates(plan, result)}"
    if plan.consumers:
        yield f"consumed    {counts.consumed:>10}  {rate(result.consume_rate):>8}/s{_others(plan, result)}"
    if result.left_in_queues:
        yield f"left        {result.left_in_queues:>10}  in the queue{'s' if len(plan.queues) != 1 else ''}"
    if result.latency_us:
        yield f"latency, ms {_spread(result.latency_us)}"
    if result.confirm_latency_us:
        yield f"confirm, ms {_spread(result.confirm_latency_us)}"
    if result.blocked_s:
        yield f"blocked     the broker held publishers back for {result.blocked_s:.1f} s"
    yield f"verdict     {_verdict(result)}"
    for fault in result.verdict.faults:
        yield f"            {fault}"
    yield f"itself      {_own_cost(plan, result)}"


def _fates(plan: Plan, result: Result) -> str:
    counts = result.counts
    words = []
    if plan.confirm:
        words.append(f"{counts.confirmed} confirmed")
    for count, name in ((counts.nacked, "refused"), (result.unconfirmed, "unconfirmed"), (counts.returned, "returned")):
        if count:
            words.append(f"{count} {name}")
    return f"  {', '.join(words)}" if words else ""


def _others(plan: Plan, result: Result) -> str:
    verdict = result.verdict
    foreign = verdict.foreign if plan.producers else 0  # without producers they are all
    named = ((verdict.redelivered, "redelivered"), (foreign, "of somebody else"))
    words = [f"{count} {name}" for count, name in named if count]
    return f"  {', '.join(words)}" if words else ""


def _spread(times: Quantiles) -> str:
    names = ("min", "median", "p75", "p95", "p99", "max")
    return ", ".join(f"{name} {milliseconds(getattr(times, name))}" for name in names)


def _verdict(result: Result) -> str:
    verdict = result.verdict
    named = ((verdict.lost, "lost"), (verdict.duplicates, "duplicated"), (verdict.reordered, "out of order"))
    words = [f"{count} {name}" for count, name in named if count]
    if words:
        return ", ".join(words)
    if verdict.doubt:
        return f"no duplicate, none out of order; loss not checked: {verdict.doubt}"
    return "nothing lost, duplicated or out of order"


def _own_cost(plan: Plan, result: Result) -> str:
    share = result.cpu_s / result.seconds if result.seconds else 0.0
    each = result.cpu_us_per_message
    words = f"{share:.0%} of a core" + (f", {each:.1f} us a message" if each is not None else "")
    is_bound = share > BUSY_SHARE and plan.rate == UNBOUNDED
    return f"{words}: the broker may be faster than this" if is_bound else words
