"""A checkpoint into another format, kept only if it answers alike."""
