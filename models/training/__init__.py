"""Training by gradient steps: in this process, or on workers of a Ray cluster, by the same loop."""
