"""Dead letters as they lie in Redis."""

from redis import Redis


class Letter:
    """A dead letter; its fields as text by their names."""

    def __init__(self, raw: dict[bytes, bytes]) -> None:
        self.raw = raw

    def __getitem__(self, name: str) -> str:
        return self.raw[name.encode()].decode()


def dead_letters(client: Redis, stream: str, group: str = "group") -> list[Letter]:
    """Return the dead letters of a group, oldest first."""
    return [Letter(fields) for _, fields in client.xrange(f"{{{stream}}}:dead:{group}")]
