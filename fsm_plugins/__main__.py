"""``python -m fsm_plugins`` is ``fsm-plugins``."""

from fsm_plugins.cli import main

if __name__ == "__main__":
    main()
