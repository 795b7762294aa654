"""Heat maps of many pictures, scored against the regions of FACS, and drawn."""
