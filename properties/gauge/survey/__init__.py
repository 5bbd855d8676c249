"""The survey: every known implementation that is installed, each examined in a process of its own."""
