"""The run folder, who may work in it, and what the jobs of a sweep share. Never imports torch."""
