"""
The demo: ``python -m devtools.demo``, which is what ``make demo`` runs.

1. Starts a server of its own, or uses that of ``EVENT_BUS_REDIS_CONNECTION_URL``.
2. Starts ``manage.py consume_events`` with a pool of workers.
3. Sends events of many kinds through ``send_event``, at a steady rate.
4. Half-way, kills a worker that has begun an event and not finished it.
5. Waits until every event is handled, stops the pool and says what happened.

It ends with status 0 only if every event was handled, and leaves no process, no file and no key behind, however it
ends.
"""
