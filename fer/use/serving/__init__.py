"""The page and the JSON endpoint on this machine."""
