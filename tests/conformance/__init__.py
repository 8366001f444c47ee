"""Dialogues over a real socket that pin what a client observes, to the letter of RabbitMQ's replies."""
