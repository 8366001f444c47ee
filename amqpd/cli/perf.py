"""``amqpd perf``: put load on a broker and say how it bears it. Options are RabbitMQ PerfTest's, where it has them.

Owns words, signals and exit codes; the load itself is ``amqpd.perf``, loaded when there is one.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

import typer

if TYPE_CHECKING:
    from amqpd.perf.figures import Result, Sample
    from amqpd.perf.plan import Plan

EXIT_BROKER: Final = 1
EXIT_USAGE: Final = 2
EXIT_FAULTS: Final = 3
STDOUT: Final = Path("-")

HELP = """Put load on a broker, any that speaks AMQP 0-9-1, and see what it bears.

Without options one producer publishes as fast as it can, and one consumer
consumes. Each second is a line: messages a second, and how long they took from
publish to delivery. Ctrl-C ends it with a summary. Messages have numbers, so
what is lost, comes twice or comes out of order is found.

\b
Examples:
  amqpd perf -z 10                            how much, in 10 seconds
  amqpd perf -z 10 -f persistent -c 100 -q 200 -A 20
                                              durable, confirmed and acked
  amqpd perf --rate 2000 -z 30                how long a message takes
  amqpd perf -x 4 -y 8 -s 1000 -a --queue-pattern perf-%d
             --queue-pattern-from 1 --queue-pattern-to 4
  amqpd perf -h amqp://user:secret@broker.example:5672/vhost -z 10 --json -
"""

EPILOG = """\b
Exit codes:
  0 all well
  1 no broker, it refuses, or it went away
  2 wrong option
  3 messages were lost, duplicated or out of order

Names of options, and what they mean, are those of RabbitMQ PerfTest: docs/perf.md.
"""

SETTINGS = {"help_option_names": ["-?", "--help"]}  # -h is the address, as in PerfTest


def _option(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: A002
    """An option whose help says its default, where it has one that is worth a word."""
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)


def perf(
    *,
    uri: Annotated[
        str, _option("--uri", "-h", help="Where the broker is.  [default the one on this machine]", metavar="URI")
    ] = ("amqp://guest:guest@127.0.0.1:5672/%2F"),
    run_id: Annotated[
        str, _option("--id", "-d", help="A name for the run.  [default a random one]", metavar="NAME")
    ] = "",
    producers: Annotated[
        int, _option("--producers", "-x", help="Producers, a connection each.  [default 1]", metavar="NUMBER")
    ] = 1,
    consumers: Annotated[
        int, _option("--consumers", "-y", help="Consumers, a connection each.  [default 1]", metavar="NUMBER")
    ] = 1,
    time_s: Annotated[
        float, _option("--time", "-z", help="Stop after so many seconds.  [default at Ctrl-C]", metavar="SECONDS")
    ] = 0,
    pmessages: Annotated[
        int, _option("--pmessages", "-C", help="Stop when each producer has published so many.", metavar="NUMBER")
    ] = 0,
    cmessages: Annotated[
        int, _option("--cmessages", "-D", help="Stop when each consumer has consumed so many.", metavar="NUMBER")
    ] = 0,
    size: Annotated[
        str,
        _option(
            "--size", "-s", help="Bytes of a body; or several, in turn: 100,1000.  [default 16]", metavar="BYTES[,...]"
        ),
    ] = "16",
    variable_size: Annotated[
        list[str] | None,
        _option("--variable-size", "-vs", help="Bytes for so many seconds; again and again.", metavar="BYTES:SECONDS"),
    ] = None,
    rate: Annotated[
        float, _option("--rate", "-r", help="Messages a second of each producer.  [default any]", metavar="NUMBER")
    ] = 0,
    variable_rate: Annotated[
        list[str] | None,
        _option("--variable-rate", "-vr", help="A rate for so many seconds; again and again.", metavar="RATE:SECONDS"),
    ] = None,
    publishing_interval: Annotated[
        float,
        _option(
            "--publishing-interval", "-P", help="Instead of a rate: seconds between two messages.", metavar="SECONDS"
        ),
    ] = 0,
    confirm: Annotated[
        int, _option("--confirm", "-c", help="Confirms, and so many outstanding at most.", metavar="NUMBER")
    ] = 0,
    flag: Annotated[
        list[str] | None,
        _option("--flag", "-f", help="persistent (and the queues durable) or mandatory.", metavar="NAME"),
    ] = None,
    qos: Annotated[
        int,
        _option("--qos", "--prefetch", "-q", help="Prefetch count of each consumer.  [default any]", metavar="NUMBER"),
    ] = 0,
    multi_ack_every: Annotated[
        int, _option("--multi-ack-every", "-A", help="One ack for so many messages.  [default 1]", metavar="NUMBER")
    ] = 1,
    autoack: Annotated[bool, _option("--autoack", "-a", help="Consume without acks.")] = False,
    consumer_rate: Annotated[
        float, _option("--consumer-rate", "-R", help="Messages a second of each consumer, at most.", metavar="NUMBER")
    ] = 0,
    consumer_latency: Annotated[
        float,
        _option(
            "--consumer-latency", "-L", help="Microseconds that each message takes a consumer.", metavar="MICROSECONDS"
        ),
    ] = 0,
    variable_latency: Annotated[
        list[str] | None,
        _option("--variable-latency", "-vl", help="The same, for so many seconds.", metavar="MICROSECONDS:SECONDS"),
    ] = None,
    queue: Annotated[
        str,
        _option(
            "--queue",
            "-u",
            help="One queue for all.  [default one for each consumer, with a copy of all]",
            metavar="NAME",
        ),
    ] = "",
    queue_pattern: Annotated[
        str,
        _option(
            "--queue-pattern", "-qp", help="Many queues, producers and consumers in turn: perf-%d.", metavar="PATTERN"
        ),
    ] = "",
    queue_pattern_from: Annotated[
        int | None, _option("--queue-pattern-from", "-qpf", help="The first number of the pattern.", metavar="NUMBER")
    ] = None,
    queue_pattern_to: Annotated[
        int | None, _option("--queue-pattern-to", "-qpt", help="The last number of the pattern.", metavar="NUMBER")
    ] = None,
    queue_args: Annotated[
        str, _option("--queue-args", "-qa", help="Arguments of the queues: x-max-length=10,...", metavar="NAME=VALUE")
    ] = "",
    auto_delete: Annotated[
        str, _option("--auto-delete", "-ad", help="false: leave the queues there in the end.", metavar="true|false")
    ] = "true",
    exchange: Annotated[
        str | None,
        _option(
            "--exchange", "-e", help="Publish there.  [default amq.TYPE, or straight to the queue]", metavar="NAME"
        ),
    ] = None,
    exchange_type: Annotated[
        str, _option("--type", "-t", help="Type of the exchange.  [default direct]", metavar="NAME")
    ] = "direct",
    routing_key: Annotated[
        str | None,
        _option("--routing-key", "-k", help="Of messages and bindings.  [default the queue's name]", metavar="KEY"),
    ] = None,
    predeclared: Annotated[
        bool, _option("--predeclared", "-p", help="Declare and bind nothing: all is there already.")
    ] = False,
    interval: Annotated[
        float, _option("--interval", "-i", help="Seconds between two lines.  [default 1]", metavar="SECONDS")
    ] = 1,
    json_file: Annotated[
        Path | None,
        _option("--json", help="Write all figures there; - is stdout, and the lines go to stderr.", metavar="FILE"),
    ] = None,
) -> None:
    """Put load on a broker."""
    from amqpd.perf import address
    from amqpd.perf import plan as plans

    try:
        flags = plans.parse_flags(flag or [])
        plan = plans.Plan(
            uri=uri,
            run_id=run_id or f"perf-{os.urandom(3).hex()}",
            producers=producers,
            consumers=consumers,
            sizes=plans.parse_sizes(size),
            size_schedule=plans.parse_schedule("--variable-size", variable_size or []),
            rate=plans.read_rate(rate, publishing_interval, variable_rate or []),
            consumer_rate=consumer_rate,
            consumer_latency_us=plans.read_latency(consumer_latency, variable_latency or []),
            confirm=confirm,
            qos=qos,
            multi_ack_every=multi_ack_every,
            autoack=autoack,
            persistent="persistent" in flags,
            mandatory="mandatory" in flags,
            queues=plans.queue_names(queue, queue_pattern, queue_pattern_from, queue_pattern_to),
            queue_arguments=plans.parse_arguments(queue_args),
            auto_delete=plans.parse_truth("--auto-delete", auto_delete),
            exchange=exchange,
            exchange_type=exchange_type,
            routing_key=routing_key,
            predeclared=predeclared,
            time_s=time_s,
            pmessages=pmessages,
            cmessages=cmessages,
            interval_s=interval,
        )
        address.parse(uri)
    except plans.PlanError as error:
        print(f"amqpd: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE) from None
    try:
        figures = _open(json_file)
    except OSError as error:
        print(f"amqpd: --json {json_file}: {error.strerror}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE) from None
    with figures as file:
        raise typer.Exit(_run(plan, file))


def _open(json_file: Path | None) -> AbstractContextManager[TextIO | None]:
    """Before the load, not behind it: the figures should not be lost for a wrong name."""
    if json_file is None or json_file == STDOUT:
        return nullcontext(None if json_file is None else sys.stdout)
    return json_file.open("w", encoding="utf-8")


def _run(plan: "Plan", figures: TextIO | None) -> int:
    from amqpd.perf.link import BrokerError
    from amqpd.perf.load import Load
    from amqpd.perf.table import Table, heading, summary
    from amqpd.perf.topology import hint

    out = sys.stderr if figures is sys.stdout else sys.stdout
    table, samples = Table(plan), list["Sample"]()

    def show(sample: "Sample") -> None:
        samples.append(sample)
        _print(table.lines(sample), out)

    try:
        with _until_signal() as should_stop:
            load = Load(plan, should_stop, show)
            _print([heading(plan)], out)
            result = load.run()
        _print(summary(plan, result), out)
    except BrokerError as error:
        print(f"amqpd: {error}{hint(error)}", file=sys.stderr)
        return EXIT_BROKER
    except BrokenPipeError:  # `| head` has seen enough; nothing is left to be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 0
    if figures is not None:
        _write_json(plan, result, samples, figures)
    if result.error:
        print(f"amqpd: {result.error}", file=sys.stderr)
        return EXIT_BROKER
    return 0 if result.verdict.is_good else EXIT_FAULTS


def _print(lines: Iterable[str], out: TextIO) -> None:
    for line in lines:
        print(line, file=out, flush=True)


def _write_json(plan: "Plan", result: "Result", samples: list["Sample"], file: TextIO) -> None:
    import json

    from amqpd.perf.address import without_password

    figures = result.as_json({**asdict(plan), "uri": without_password(plan.uri)}, samples)
    file.write(json.dumps(figures, indent=2) + "\n")


@contextmanager
def _until_signal() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come; a second one ends the process as usual."""
    came = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        nonlocal came
        came = True
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: came
    finally:
        restore()
