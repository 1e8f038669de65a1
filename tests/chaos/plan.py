"""What one run of the fault suite does."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    The choices of one run; all others are drawn by its seed.

    Attributes:
        seed: of what is drawn at random.
        seconds: that faults go on.
        workers: of each of the two pools.
        rate: events sent in a second, on average.
        pause: seconds between two faults, at least and at most.
        losses: how often events are lost on purpose, against the other faults: the stream trimmed, the server flushed;
            1 for now and then, 0 for never. The books are balanced by the ledger then.
        one_name: whether both pools are given one consumer name, as the replicas of a deployment are.
        settle_timeout: seconds until everything that was sent must be settled, once the faults are over.
        max_retries: of the pools.
        max_deliveries: of the pools.
        kinds: how often each kind of event is sent, against the others; see ``producer.ORDERS``.
    """

    seed: int
    seconds: float
    workers: int = 2
    rate: float = 150.0
    pause: tuple[float, float] = (0.1, 0.8)
    losses: float = 0.0
    one_name: bool = False
    settle_timeout: float = 90.0
    max_retries: int = 1
    max_deliveries: int = 3
    kinds: dict[str, float] = field(
        default_factory=lambda: {
            "fast": 60.0,
            "slow": 30.0,
            "slower": 5.0,
            "fails": 2.0,
            "fails once": 3.0,
            "kills": 0.1,
        }
    )

    @property
    def pool_names(self) -> tuple[str, str]:
        """The consumer names of the two pools."""
        return ("c1", "c1") if self.one_name else ("c1", "c2")
