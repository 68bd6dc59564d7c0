"""Integrals over the largest of several independent Beta variables, to about 1e-12.

Everything happens on the logit scale u = ln(x / (1 - x)). There every Beta density, the
ones with a spike at 0 or 1 included, is smooth, has one mode and exponential tails; a rate of
1e-300 is just u = -690. The densities are written relative to their modes, so counts of 1e9
cost a few digits only, and distribution functions are integrals of the same interpolant, so no
incomplete beta function is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from service.bandits.arrays import FloatArray

# Panel edges lie where the log density is z**2 / 2 below its maximum. Outside |z| = 9 there
# is less than 1e-17 of the mass.
_Z = np.arange(1.0, 10.0)
# Moments need 1 / (1 + exp(-u)) resolved as well; beyond 36 it is 0 or 1 in double precision.
_BEND_EDGES = np.linspace(-36.0, 36.0, 2 * _Z.size + 1)
_NEWTON_STEPS = 12
_STIRLING_MIN = 20.0
_NODES = 16


def _cumulative_matrix(nodes: FloatArray) -> FloatArray:
    """Return C with f(nodes) @ C = integrals of f's interpolant from each node to 1."""
    weights = np.polynomial.legendre.leggauss(nodes.size)[1]
    legendre = np.polynomial.legendre.legvander(nodes, nodes.size)
    tails = np.empty((nodes.size, nodes.size))
    tails[0] = 1.0 - nodes
    degrees = np.arange(1, nodes.size)
    differences = legendre[:, :-2] - legendre[:, 2:]
    tails[1:] = (differences / (2 * degrees + 1)).T
    scale = (2 * np.arange(nodes.size) + 1) / 2
    coefficients = weights[:, None] * legendre[:, :-1] * scale
    matrix: FloatArray = coefficients @ tails
    return matrix


_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(_NODES)
_TO_RIGHT_END = _cumulative_matrix(_POINTS)


@dataclass(frozen=True, slots=True, eq=False)
class Maximum:
    """Hold what the quadrature knows about the largest of K Beta variables.

    Parameters
    ----------
    p_best
        Raw probabilities of being the largest, shape (K,).
    expected
        Expectation of the largest.
    error
        How far two things that must be 1 are from it: the sum of `p_best`, and the mass of the
        arm whose density starts last, which is inside the panels as a whole.
    """

    p_best: FloatArray
    expected: float
    error: float


def integrate_maximum(alpha: FloatArray, beta: FloatArray) -> Maximum:
    """Integrate over the largest of K independent Beta(alpha_i, beta_i) variables.

    Parameters
    ----------
    alpha, beta
        Shapes, (K,), each > 0 (tested from 1e-3 to 1e12).

    Notes
    -----
    ``P(i best) = Int f_i prod_{j != i} F_j`` and ``E[max] = Int (1 - prod F_j) dx``. Panels
    are no wider than one standard deviation of the narrowest arm alive there, with 16
    Gauss-Legendre points each. Below the highest of the arms' lower ends the product
    of the F_j is under 1e-17, so arms that end there are certain losers and drop out: what
    remains nests around that point, which bounds the number of panels.
    """
    mode = np.log(alpha) - np.log(beta)
    edges = mode[:, None] + _marks(alpha, beta)
    low = edges[:, 0].max()
    alive = edges[:, -1] > low
    # A shape below 1 makes tails far longer than the bend between them, which has width 1.
    spiky = mode[alive & (np.minimum(alpha, beta) < 1.0), None] + _BEND_EDGES
    panels = _panels(np.vstack([edges[alive], spiky, _BEND_EDGES]), low, edges.max())
    half = np.diff(panels) / 2
    points = (panels[:-1] + half)[:, None] + half[:, None] * _POINTS
    weights = half[:, None] * _WEIGHTS
    offsets = points - mode[alive][:, None, None]
    density = _density(alpha[alive], beta[alive], offsets)
    others, product = _products(_distribution(density, half, weights))
    p_best = np.zeros(alpha.size)
    p_best[alive] = np.einsum("kpm,kpm,pm->k", density, others, weights)
    above = ((1.0 - product) * special.expit(points) * special.expit(-points) * weights).sum()
    mass = (density[np.argmax(edges[alive, 0])] * weights).sum()
    error = max(abs(p_best.sum() - 1.0), abs(mass - 1.0))
    return Maximum(p_best, expected=float(special.expit(low) + above), error=float(error))


def _drop(alpha: FloatArray, beta: FloatArray, offset: FloatArray) -> FloatArray:
    """Return how far the log density lies below its maximum, at mode + offset."""
    # Mirroring puts the rarer outcome first: its small share p is then exact.
    flip = alpha > beta
    rare, common = np.where(flip, beta, alpha), np.where(flip, alpha, beta)
    shift = np.where(flip, -offset, offset)
    total = rare + common
    share = rare / total
    # Where the share has long become a near certainty, exp(shift) may overflow; not before.
    turn = np.minimum(30.0 - np.log(share), 700.0)
    near = np.log1p(share * np.expm1(np.minimum(shift, turn)))
    far = shift + np.log(share) + np.log1p(common / rare * np.exp(-np.maximum(shift, turn)))
    drop: FloatArray = total * np.where(shift < turn, near, far) - rare * shift
    return np.maximum(drop, 0.0)


def _slope(alpha: FloatArray, beta: FloatArray, offset: FloatArray) -> FloatArray:
    """Return the derivative of the drop by the distance from the mode, >= 0."""
    sign = np.where(offset < 0, -1.0, 1.0)
    behind = np.where(offset < 0, beta, alpha) / (alpha + beta)
    ahead = np.where(offset < 0, alpha, beta)
    # On either side: ahead * (1 - e^-d) / (1 - r (1 - e^-d)), r the other outcome's share.
    fall = -np.expm1(-sign * offset)
    slope: FloatArray = ahead * fall / (behind + (1.0 - behind) * (1.0 - fall))
    return slope


def _marks(alpha: FloatArray, beta: FloatArray) -> FloatArray:
    """Return panel edges of every arm as offsets from its mode, ascending, (K, 19)."""
    z = np.concatenate([-_Z[::-1], _Z])
    a, b = alpha[:, None], beta[:, None]
    offset = z * np.sqrt(1.0 / a + 1.0 / b)
    # Newton on sqrt(2 drop) = |z|, which is exact at once for a normal density. Edges only
    # steer the panels, so a rough root is as good as a fine one.
    for _ in range(_NEWTON_STEPS):
        root = np.sqrt(2.0 * _drop(a, b, offset))
        step = (np.abs(z) - root) * root / _slope(a, b, offset)
        offset = np.sign(z) * np.maximum(np.abs(offset) + step, np.abs(offset) / 4)
    marks: FloatArray = np.insert(np.sort(offset, axis=1), _Z.size, 0.0, axis=1)
    return marks


def _panels(edges: FloatArray, low: float, end: float) -> FloatArray:
    """Return ascending panel edges from low to end, as fine as the finest row asks anywhere."""
    gaps = np.diff(edges, axis=1)
    rows = np.arange(edges.shape[0])
    panels = [low]
    while panels[-1] < end:
        here = panels[-1]
        cell = (edges <= here).sum(axis=1)
        width = gaps[rows, np.clip(cell - 1, 0, gaps.shape[1] - 1)]
        limit = np.where(cell == 0, edges[:, 0], here + width)
        limit[cell == edges.shape[1]] = np.inf
        panels.append(min(float(limit.min()), end))
    return np.array(panels)


def _stirling_error(x: FloatArray) -> FloatArray:
    """Return ln Gamma(x) minus Stirling's formula (x - 1/2) ln x - x + ln(2 pi) / 2."""
    large = np.maximum(x, _STIRLING_MIN)
    inverse = 1.0 / large
    square = inverse * inverse
    tail = 1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))
    small = np.minimum(x, _STIRLING_MIN)
    direct = special.gammaln(small) - (small - 0.5) * np.log(small) + small
    direct -= 0.5 * np.log(2 * np.pi)
    error: FloatArray = np.where(x < _STIRLING_MIN, direct, tail * inverse)
    return error


def _density(alpha: FloatArray, beta: FloatArray, offset: FloatArray) -> FloatArray:
    """Return the densities on the logit scale at mode + offset, shape of offset (K, P, M)."""
    total = alpha + beta
    # The density at the mode, from Stirling's formula: ln B(a, b) itself would lose 8 digits
    # to cancellation at 1e9 pulls.
    height = 0.5 * (np.log(alpha) + np.log(beta) - np.log(total) - np.log(2 * np.pi))
    height += _stirling_error(total) - _stirling_error(alpha) - _stirling_error(beta)
    wide = (slice(None), None, None)
    density: FloatArray = np.exp(height[wide] - _drop(alpha[wide], beta[wide], offset))
    return density


def _distribution(density: FloatArray, half: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the distribution functions at all nodes, integrated from the right end."""
    per_panel = np.einsum("kpm,pm->kp", density, weights)
    later = np.cumsum(per_panel[:, ::-1], axis=1)[:, ::-1] - per_panel
    survival = later[:, :, None] + half[:, None] * (density @ _TO_RIGHT_END)
    distribution: FloatArray = np.clip(1.0 - survival, 0.0, 1.0)
    return distribution


def _products(distribution: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the products over all arms but each, and over all arms, without dividing."""
    before = np.ones_like(distribution)
    np.cumprod(distribution[:-1], axis=0, out=before[1:])
    after = np.ones_like(distribution)
    after[:-1] = np.cumprod(distribution[:0:-1], axis=0)[::-1]
    return before * after, before[-1] * distribution[-1]
