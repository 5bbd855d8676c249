"""The gauge gauged: what it catches, what it lets pass, and how it treats its users."""
