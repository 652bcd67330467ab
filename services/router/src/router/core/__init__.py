"""The routing core: values in, values out. No clock, no randomness, no I/O, no async.

The same history gives the same outputs, byte for byte, under any hash seed. The live service, the simulator and the
tests run this one core.
"""

from router.core.engine import decide, step
from router.core.index.state import State

__all__ = ["State", "decide", "step"]
