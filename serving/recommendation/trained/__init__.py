"""Trained models over the live state: loaded from the registry, asked about viewers, exchanged while answering."""
