"""A disk that fails when it is told to, as a preloaded shared object."""
