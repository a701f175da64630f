"""One plugin by itself: what can be seen without running it (L0), every sequence of calls (L1), every fault (L2)."""
