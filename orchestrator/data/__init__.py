"""Data: from a folder of images and masks to Arrow shards, and from these to batches."""
