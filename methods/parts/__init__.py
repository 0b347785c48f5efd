"""Pieces that several methods share: losses, contrast, adaptors, augmentation, exchange between ranks."""
