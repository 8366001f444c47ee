"""The order service with Celery: its steps are tasks."""
