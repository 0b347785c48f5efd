"""Embeddings of frozen encoders, computed once and kept under STORAGE for all trials, methods and nodes."""
