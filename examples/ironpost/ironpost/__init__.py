"""A security monitor of four plugins, each of which can be used alone."""
