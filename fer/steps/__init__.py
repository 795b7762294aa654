"""The steps of a run: checks, data read, module built, fitted, its answers decided, judged, described and pictured."""
