"""A random street in three dimensions, seen by pinhole cameras and all round: Cityscapes, DensePASS, WildPASS.

``city`` builds a ``place`` of ``solids`` (``street_plan``, ``plots``, ``things``); ``rays`` of ``cameras`` meet them,
``light`` and ``skins`` colour what they meet; ``panoramas`` writes the sets.
"""
