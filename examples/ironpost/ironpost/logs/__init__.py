"""The log side: reads logs and packets, applies rules, and sends alerts. `LogPipeline` is the plugin."""

from ironpost.logs.plugin import LogPipeline

__all__ = ["LogPipeline"]
