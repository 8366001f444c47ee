"""``python -m amqpd``."""

from amqpd.cli.main import main

main()
