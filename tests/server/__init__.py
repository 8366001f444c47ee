"""The few tests with real sockets, real processes and real time."""
