"""Facts that cross a service boundary, and nothing else.

Admission: it is published on a topic of the catalogue, its owner is named in its module, and golden bytes of it lie
under `tests/unit/common/contracts/golden`. Standard library and msgspec only.
"""
