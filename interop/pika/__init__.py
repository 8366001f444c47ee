"""The tutorial scenarios of AMQP 0-9-1 with pika, each over its three adapters: blocking, select and asyncio."""
