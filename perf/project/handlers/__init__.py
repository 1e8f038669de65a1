"""The receiver of the measured consumers, and the events that it receives."""
