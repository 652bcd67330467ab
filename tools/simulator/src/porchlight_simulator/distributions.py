"""Random numbers: one stream of its own for every question, so that two policies can be asked the same."""

from collections.abc import Iterator

import numpy as np

from porchlight_simulator.scenario import Draw, Stream

CHUNK = 4_096


def generator(seed: int, *place: int) -> np.random.Generator:
    """The generator of one question in one replication."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place)))


def draws(spec: Draw, source: np.random.Generator) -> Iterator[float]:
    """Endlessly many draws."""
    if spec.values is not None:
        while True:
            yield from spec.values
    while True:
        yield from _chunk(spec, source).tolist()


def _chunk(spec: Draw, source: np.random.Generator) -> np.ndarray:
    if spec.exponential is not None:
        return source.exponential(spec.exponential, CHUNK)
    if spec.lognormal is not None:
        mean, sigma = spec.lognormal
        return source.lognormal(np.log(mean) - sigma**2 / 2, sigma, CHUNK)
    if spec.uniform is not None:
        return source.uniform(*spec.uniform, CHUNK)
    if spec.erlang is not None:
        phases, mean = spec.erlang
        return source.gamma(phases, mean / phases, CHUNK)
    return np.full(CHUNK, spec.constant)


def uniforms(source: np.random.Generator) -> Iterator[float]:
    """Endlessly many numbers from 0 to 1."""
    while True:
        yield from source.random(CHUNK).tolist()


def arrival_times(stream: Stream, source: np.random.Generator) -> Iterator[float]:
    """When the stream's contacts come, in order. A piecewise rate is thinned from its highest (Lewis, Shedler 1979)."""
    if stream.times is not None:
        yield from sorted(stream.times)
        return
    pieces = stream.piecewise or ((0.0, stream.rate or 0.0),)
    highest = max(rate for _, rate in pieces)
    if highest == 0:
        return
    at, piece = 0.0, 0
    while True:
        gaps = source.exponential(1 / highest, CHUNK).tolist()
        marks = source.random(CHUNK).tolist() if len(pieces) > 1 else None
        for number, gap in enumerate(gaps):
            at += gap
            while piece + 1 < len(pieces) and at >= pieces[piece + 1][0]:
                piece += 1
            if at >= pieces[0][0] and (marks is None or marks[number] * highest < pieces[piece][1]):
                yield at
        if stream.piecewise and pieces[piece][1] == 0 and piece == len(pieces) - 1:
            return
