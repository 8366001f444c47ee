"""The broker in a child process, killed at any moment, and what must be there afterwards."""
