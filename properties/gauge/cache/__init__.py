"""What has been computed, kept: within a run in memory, and from one run to the next in the user's cache folder."""
