"""What runs experiments: data, training, sweeps, results. The only package that imports ray."""

__version__ = "0.1.0"
