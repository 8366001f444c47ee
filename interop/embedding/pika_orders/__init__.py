"""The order service with pika: blocking code, a thread for each consumer."""
