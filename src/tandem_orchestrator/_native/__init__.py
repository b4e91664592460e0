"""The native files, where the build puts them.

This room knows nothing but where it lies: ``_ext`` (the extension), ``bin/agent_bridge``,
``lib/`` and ``include/`` are installed beside this file. It never knows whether they are there,
what they mean, or that asyncio exists. It hands on the extension to ``layers.native``, its only
importer; everybody else asks that room.
"""

__all__: list[str] = []
