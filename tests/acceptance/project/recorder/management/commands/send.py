"""Sends events, in the process of a service, with whichever package is installed."""

import json

from django.core.management.base import BaseCommand
from examples import event_data, metadata, signal_of

import edx_event_bus_redis


class Command(BaseCommand):
    """
    ``send '<JSON>'``. The JSON object has

    * ``how``: ``send`` for the producer's own method and metadata of our choice, ``send_event`` for the signal's;
    * ``topic``, which only the former uses;
    * ``events``, arrays of event type, number, variant and order.

    On standard output is, as JSON, which package it was.
    """

    def add_arguments(self, parser):
        parser.add_argument("job", type=json.loads)

    def handle(self, *args, job, **options):
        producer = edx_event_bus_redis.create_producer()
        for event_type, number, variant, order in job["events"]:
            signal = signal_of(event_type)
            data = event_data(signal, variant, order)
            if job["how"] == "send_event":
                signal.send_event(**data)
            else:
                producer.send(
                    signal=signal,
                    topic=job["topic"],
                    event_key_field=next(iter(data)),
                    event_data=data,
                    event_metadata=metadata(event_type, number),
                )
        self.stdout.write(json.dumps([edx_event_bus_redis.__version__, edx_event_bus_redis.__file__]))
