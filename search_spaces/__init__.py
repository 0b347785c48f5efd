"""What Optuna may choose: one plain define-by-run function ``space(trial)`` a method, in a file of its name.

A suggested name is a setting (``train.lr``, ``method.scale``, ...), or starts with ``choice.`` where it only
steers the function. A returned dictionary fixes further settings. Ranges are ours: the papers give none.
"""
