"""JSON Schemas (draft 2020-12) of what the project publishes as JSON, for strangers who write or read it."""
