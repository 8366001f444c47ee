"""The same sequences of operations against amqpd and RabbitMQ, and every frame compared (docs/conformance.md)."""
