"""A Django database backend whose server can drop the connection."""
