"""What is found, and how it is told: the table of checks with their examples, the report, and its formats."""
