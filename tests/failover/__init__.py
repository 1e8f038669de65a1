"""Measures what a failover costs: ``python -m tests.failover``."""
