"""A demonstration: the whole application on samples and on this machine, watched while it runs."""

from ironpost.demo.desk import Desk
from ironpost.demo.prepare import prepare

__all__ = ["Desk", "prepare"]
