"""The order of the tests: what takes minutes comes first, while others have something to do as well."""

import pytest

LONGEST = ("tests/interop/test_clients.py", "tests/interop/test_celery_campaign.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """So that no worker waits for another's at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
