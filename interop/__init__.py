"""Real clients, in their own languages, running the same named scenarios against amqpd and RabbitMQ."""
