"""Deliberate breakages of the package, each of which the tests have to notice: ``python -m tests.mutants``."""
