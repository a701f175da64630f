"""Find the code of plugins and load it: from entry points, from installed modules, from directories.

`discover` lists what installed packages offer and imports nothing. `load` turns the word after ``use =`` into a plugin
class or a function that builds a plugin, or says what stands in the way.
"""

from fsm_plugins.loading.discovery import GROUP, Found, discover
from fsm_plugins.loading.loader import Factory, load

__all__ = ["GROUP", "Factory", "Found", "discover", "load"]
