"""A sample project: an order service in three styles, each tested with a broker inside of its tests. README.md."""
