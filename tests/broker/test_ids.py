import re

from amqpd.broker.ids import QueueNumbers, RandomIds


def test_unique_names() -> None:
    ids = RandomIds()
    names = [ids.unique() for _ in range(1000)]
    assert len(set(names)) == 1000
    assert all(re.fullmatch("[A-Za-z0-9_-]{22}", name) for name in names)


def test_queue_numbers_count_up_from_1() -> None:
    numbers = QueueNumbers()
    assert [numbers.take() for _ in range(3)] == [1, 2, 3]
    assert numbers.next == 4, "what a restart goes on with"
