"""What a process imports that has no use for a consumer."""

import subprocess
import sys


def test_a_process_that_only_produces_imports_no_pool() -> None:
    """Web processes import the producer alone; the consumer is there when it is asked for."""
    program = (
        "import sys, django; from django.conf import settings; settings.configure(); django.setup()\n"
        "import edx_event_bus_redis\n"
        "edx_event_bus_redis.create_producer\n"
        "assert not {'pool', 'multiprocess'} & set(sys.modules), 'imported too much'\n"
        "edx_event_bus_redis.RedisEventConsumer\n"
        "assert 'pool' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_a_consumer_imports_nothing_that_only_a_scrape_needs() -> None:
    """The library for metrics is not there in the process that workers are forked from."""
    program = (
        "import sys, django; from django.conf import settings; settings.configure(); django.setup()\n"
        "import edx_event_bus_redis.internal.workers\n"
        "assert not {'prometheus_client'} & set(sys.modules), 'imported too much'\n"
        "import edx_event_bus_redis.internal.exposition\n"
        "assert 'prometheus_client' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
