"""What the tests share: a Django application whose receivers do what an event tells them, and a consumer to run."""
