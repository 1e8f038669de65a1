"""Heartbeats of pools that do not run, and the keys beside a stream."""

import json
import time
from typing import Any

import redis


def private(stream: str, kind: str, group: str = "group") -> str:
    """The key of a kind that a group has beside its stream."""
    return f"{{{stream}}}:{kind}:{group}"


def heartbeat(client: redis.Redis, stream: str, pool: str, **fields: Any) -> None:
    """A pool on another machine, as its monitor publishes it."""
    key = private(stream, "pool") + f":{pool}"
    known = {"token": "sesame", "host": "web-1", "pid": 12, "pid_space": "other", "started": 5, "furthest": "0-0"}
    client.hset(key, mapping={**known, "version": "2.0.0", "since": f"{time.time() - 7200:.3f}", **fields})
    client.pexpire(key, 60_000)
    client.hset(private(stream, "pools"), pool, "alive")


def workers(*states: dict[str, Any]) -> dict[str, Any]:
    """Fields of a heartbeat for workers that are idle but for what is given of each."""
    idle = {"state": "idle", "entry": None, "again": False, "seconds": 0.0, "handled": 7, "failed": 1, "errors": 0}
    state = [{"shard": shard, "pid": 20 + shard, **idle, **fields} for shard, fields in enumerate(states)]
    return {"workers": len(state), "state": json.dumps(state)}
