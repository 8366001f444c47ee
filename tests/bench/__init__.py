"""``python -m tests.bench``: amqpd measured beside RabbitMQ with a load generator of its own, ``amqpload.c``."""
