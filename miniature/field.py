"""A soft union of ellipsoids seen orthographically, along z.

Along a viewing ray every ellipsoid is a parabola q(z) = a (z - m)² + v, whose m and v are polynomials in the pixel's
position: the front surface is found by a few Newton steps from the nearest analytic ellipsoid, with no marching. The
field is Σ exp(k (1 - q)), the surface where it is 1. N ellipsoids, P pixels; x to the right, y up, z towards the
viewer, the picture from -1 to 1."""

from dataclasses import dataclass

import numpy as np
import torch
from factors import Vector
from torch import Tensor

WIDTH = 0.045  # how softly parts melt into each other, in half widths of the picture


def tensor(x: object) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(np.asarray(x)), dtype=torch.float32)


def smooth(low: float, high: float, x: Tensor) -> Tensor:
    """0 up to `low`, 1 from `high`, an S between; `low` may be the larger one."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def unit(v_3P: Tensor) -> Tensor:
    return v_3P * (v_3P * v_3P).sum(0).clamp(min=1e-12).rsqrt()


def rotation(ax: float, ay: float, az: float) -> Vector:
    """Turned about x, then y, then z, in radians."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (ax, ay, az))
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return z @ y @ x


def pixels(n: int) -> Tensor:
    """The polynomial basis (x², xy, y², x, y, 1) of each pixel [6, n·n]."""
    g = (torch.arange(n, dtype=torch.float32) + 0.5) / n * 2 - 1
    y, x = torch.meshgrid(-g, g, indexing="ij")
    x, y = x.reshape(-1), y.reshape(-1)
    return torch.stack([x * x, x * y, y * y, x, y, torch.ones_like(x)])


@dataclass(frozen=True)
class Ellipsoids:
    """N ellipsoids: centres, axes (columns), radii, and how softly each melts into its neighbours (1 is usual)."""

    centre_N3: Vector
    axes_N33: Vector
    radii_N3: Vector
    soft_N: Vector

    def moved(self, turn_33: Vector, scale: float, shift_3: Vector) -> "Ellipsoids":
        return Ellipsoids(
            self.centre_N3 @ turn_33.T * scale + shift_3, turn_33 @ self.axes_N33, self.radii_N3 * scale, self.soft_N
        )


class Field:
    """The soft union of ellipsoids in picture space."""

    def __init__(self, e: Ellipsoids) -> None:
        scaled = e.axes_N33 / e.radii_N3[:, None, :]
        quadric = scaled @ scaled.transpose(0, 2, 1)
        self.quadric_N33, self.pull_N3 = tensor(quadric), tensor(np.einsum("nij,nj->ni", quadric, e.centre_N3))
        self.sharp_N1 = tensor(np.cbrt(e.radii_N3.prod(1)) / (2 * WIDTH * e.soft_N))[:, None]
        self.a_N1, self.m_N6, self.v_N6 = _parabolas(quadric, e.centre_N3)
        self.ten_N10 = -self.sharp_N1 * _ten(quadric, e.centre_N3)
        self.ten_N10[:, 9:] += self.sharp_N1

    def front(self, basis_6P: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels that the union covers (indices [Q]) and its front depth there [Q]."""
        reach = self.sharp_N1 * (1 - self.v_N6 @ basis_6P)
        active = (reach.amax(0) > -1.5).nonzero().squeeze(1)
        basis = basis_6P.index_select(1, active)
        reach_NP, m_NP = reach.index_select(1, active), self.m_N6 @ basis
        fronts = m_NP + (reach_NP.clamp(min=0) / (self.sharp_N1 * self.a_N1)).sqrt()
        near = torch.exp((4 * reach_NP).clamp(-25, 20))
        z = torch.maximum(fronts.masked_fill(reach_NP <= 0, -9.0).amax(0), (near * m_NP).sum(0) / near.sum(0))
        covered = None
        k = self.sharp_N1 * self.a_N1
        for _ in range(4):
            d = z - m_NP
            kd = k * d
            e = torch.exp((reach_NP - kd * d).clamp(-25, 30))
            total = e.sum(0)
            slope, level = -2 * (e * kd).sum(0) / total, total.log()
            covered = level > -0.02 if covered is None else covered
            z = z + torch.where(slope < -0.5, -level / slope, 0.02 * level.sign()).clamp(-0.08, 0.08)
        keep = covered.nonzero().squeeze(1)
        return active[keep], z[keep]

    def powers(self, p_3P: Tensor) -> Tensor:
        """Each ellipsoid's term of the field [N, P]."""
        x, y, z = p_3P
        ten = torch.stack([x * x, y * y, z * z, x * y, x * z, y * z, x, y, z, torch.ones_like(x)])
        return torch.exp((self.ten_N10 @ ten).clamp(-25, 30))

    def level(self, p_3P: Tensor) -> Tensor:
        return self.powers(p_3P).sum(0)

    def normal(self, p_3P: Tensor, share_NP: Tensor) -> Tensor:
        """Outward unit normals [3, P] where the ellipsoids have these shares of the field."""
        weight = share_NP * self.sharp_N1
        turned = (self.quadric_N33.reshape(-1, 9).T @ weight).view(3, 3, -1)
        return unit((turned * p_3P[None]).sum(1) - self.pull_N3.T @ weight)


def _parabolas(q: Vector, c: Vector) -> tuple[Tensor, Tensor, Tensor]:
    """Curvature [N, 1] of each ellipsoid along z, and the coefficients [N, 6] of its vertex's place and value."""
    a = q[:, 2, 2]
    sx, sy, zero = -q[:, 0, 2] / a, -q[:, 1, 2] / a, np.zeros_like(a)
    cx, cy, cz = c.T
    m = np.stack([zero, zero, zero, sx, sy, cz - sx * cx - sy * cy], 1)
    xx, xy, yy = q[:, 0, 0] - a * sx * sx, q[:, 0, 1] - a * sx * sy, q[:, 1, 1] - a * sy * sy
    one = xx * cx**2 + 2 * xy * cx * cy + yy * cy**2
    v = np.stack([xx, 2 * xy, yy, -2 * (xx * cx + xy * cy), -2 * (yy * cy + xy * cx), one], 1)
    return tensor(a)[:, None], tensor(m), tensor(v)


def _ten(q: Vector, c: Vector) -> Tensor:
    """The quadric q'Q q as coefficients [N, 10] of (x², y², z², xy, xz, yz, x, y, z, 1)."""
    pull = np.einsum("nij,nj->ni", q, c)
    squares = [q[:, 0, 0], q[:, 1, 1], q[:, 2, 2], 2 * q[:, 0, 1], 2 * q[:, 0, 2], 2 * q[:, 1, 2]]
    return tensor(np.stack([*squares, *(-2 * pull.T), np.einsum("ni,ni->n", pull, c)], 1))
