"""Where a training step's time goes: ``python benchmarks/profile.py --help``; the work is done in ``step_profile``.

A script beside this one that imports torch asks, through cProfile, for Python's own ``profile``, and finds this file
first: it then becomes that module.
"""

import sys

if __name__ == "__main__":
    from step_profile import main

    sys.exit(main())
else:
    import importlib.util
    import sysconfig
    from pathlib import Path

    _spec = importlib.util.spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib"), "profile.py"))
    assert _spec is not None and _spec.loader is not None
    sys.modules[__name__] = _own = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_own)
