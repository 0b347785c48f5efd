"""segment-anything's own model in four sizes, and the few calls through which methods use it."""
