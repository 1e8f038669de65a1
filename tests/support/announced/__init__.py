"""A Django database backend that says which processes load it."""
