"""The zoo: plugins with a known mistake, and plugins without any, on which a verifier is tried.

`specimen` says what is known of each, `walk` takes one through a few calls and tells what went wrong, by means so crude
that they can be checked by reading. ``tests/zoo/test_zoo.py`` holds the one against the other.
"""
