"""What is written for a demonstration: logs, a capture, a project with old packages; the same every time."""
