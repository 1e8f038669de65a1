"""``python -m perf.peers.enqueue PEER COUNT``: enqueue events in the way of a peer."""

import importlib
import sys

if __name__ == "__main__":
    importlib.import_module(f"perf.peers.with_{sys.argv[1]}").enqueue(int(sys.argv[2]))
