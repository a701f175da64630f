"""Explore what plugins and registries can do, and hold it against a model of what they may do."""
