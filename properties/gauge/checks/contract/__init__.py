"""Checks of what torch promises of every optimizer: of its steps, its checkpoints and copies, precision and memory."""
