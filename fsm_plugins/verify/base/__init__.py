"""What every level stands on: what is verified, how a run is written down, its event loops, what it may leave."""
