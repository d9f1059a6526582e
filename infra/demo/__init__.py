"""The demo: real images through the running system, watched from outside, written down in a report."""
