"""The errors of the pool."""


class PoolError(Exception):
    """Base of every error that the pool raises."""


class PoolConfigError(PoolError):
    """A value of ``PoolConfig`` cannot work."""
