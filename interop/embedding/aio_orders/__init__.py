"""The order service with aio-pika: coroutines, and connections that come back by themselves."""
