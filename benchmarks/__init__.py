"""What the core costs, measured against what one would write by hand. Run ``python -m benchmarks``; not installed."""
