"""A disk that loses power: what a broker writes is recorded, and what was not synced is lost, torn or reordered."""
