"""
The same events handled by Celery, Dramatiq and FastStream, each set up as its documentation says for throughput.

They read messages of their own formats, which hold the same header fields and the same Avro bytes. What they do with
them is the same: this package's decode, then the signal with a receiver that does nothing. Run in an environment of
its own; see ``requirements.txt`` beside this file.
"""
