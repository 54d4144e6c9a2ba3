"""From a creature to its picture's surfaces: camera, what is in front of each pixel, paint, eyes, occlusion and shadow.

P: pixels that show the creature. Colours are linear RGB.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from anatomy import ABSENT, Body, build
from factors import Creature, Vector, ground_colour
from field import Field, pixels, rotation, smooth, tensor, unit
from torch import Tensor

DRAWN = 192  # pixels a side of the drawing that a picture is reduced from
FLOOR = -0.80  # where the creature stands
BASIS = pixels(DRAWN)
EYE, PUPIL, MOUTH, BELLY, MARK, LID = range(11, 17)  # labels of painted regions, after anatomy's of parts


@dataclass
class Scene:
    """Everything a style needs to colour a picture."""

    creature: Creature
    light: Tensor  # towards the lamp [3], of unit length
    ground: Vector  # the background's colour [3]
    stand: tuple[float, float]  # where the creature stands across the picture, and how wide its shadow is
    where: Tensor  # pixels of the creature [P]
    point: Tensor  # in the picture's space [3, P]
    own: Tensor  # the same in the creature's own space [3, P]
    normal: Tensor  # [3, P]
    albedo: Tensor  # [3, P]
    label: Tensor  # which part or painted region, int64 [P]
    gloss: Tensor  # 0..1 [P]
    open_sky: Tensor  # 1 where nothing is near, less in creases [P]
    shadow: Tensor  # 1 where the lamp shines, less in its shadow [P]

    def full(self, values: Tensor, rest: float = 0.0) -> Tensor:
        """Values [..., P] of the creature's pixels as pictures [..., DRAWN, DRAWN]."""
        out = torch.full((*values.shape[:-1], DRAWN * DRAWN), rest, dtype=values.dtype)
        out[..., self.where] = values
        return out.view(*values.shape[:-1], DRAWN, DRAWN)


@torch.no_grad()
def compose(c: Creature) -> Scene:
    """Find every surface of a creature's picture."""
    b = build(c)
    turn, zoom, shift = _camera(b, c)
    field = Field(b.ellipsoids().moved(turn, zoom, shift))
    where, z = field.front(BASIS)
    basis = BASIS.index_select(1, where)
    point = torch.stack([basis[3], basis[4], z])
    power = field.powers(point)
    share = power / power.sum(0)
    normal = field.normal(point, share)
    light = unit(tensor([2.1 * c["lamp"], 0.75, 0.85 - 0.35 * abs(c["lamp"])])[:, None])
    turn_t = tensor(turn)
    scene = Scene(
        creature=c,
        light=light[:, 0],
        ground=ground_colour(c),
        stand=(float(shift[0]), (b.body_radii[0] + 0.12) * zoom),
        where=where,
        point=point,
        own=turn_t.T @ (point - tensor(shift)[:, None]) / zoom,
        normal=normal,
        albedo=tensor(np.stack(b.colours)).T @ _crisp(share),
        label=torch.tensor(b.stuffs)[share.argmax(0)],
        gloss=torch.full_like(z, c["gloss"]),
        open_sky=1
        / (
            1
            + 0.55 * field.level(point + 0.10 * normal).clamp(max=2)
            + 0.45 * field.level(point + 0.24 * normal).clamp(max=2)
        ),
        shadow=_shadow(field, point, normal, light),
    )
    _paint(scene, b, share)
    for centre, radius in b.eyes:
        _look(scene, b, turn_t, turn @ centre * zoom + shift, radius * zoom)
    return scene


def _camera(b: Body, c: Creature) -> tuple[Vector, float, Vector]:
    """Rotation [3, 3], scale and shift [3]; nobody's head leaves the picture."""
    across, up = b.reach()
    zoom = min(0.94 * (1 + 0.28 * c["size"]), 1.70 / (up + 0.02), 1.03 / across)
    return rotation(0.15, 0.72 * c["yaw"], 0), zoom, np.array([-0.12 * c["tail"] * zoom, FLOOR, 0])


def _crisp(share: Tensor) -> Tensor:
    squared = share * share
    return squared / squared.sum(0)


def _shadow(field: Field, point: Tensor, normal: Tensor, light: Tensor) -> Tensor:
    blocked = sum(
        (field.level(point + 0.06 * normal + s * light).clamp(max=1.5) for s in (0.15, 0.40)), torch.zeros(())
    )
    return torch.exp(-0.75 * blocked)


def _cover(scene: Scene, colour: Tensor, mask: Tensor, label: int = 0) -> None:
    """Paint a colour [3] or [3, P] where the mask [P] is 1."""
    scene.albedo += ((colour if colour.ndim == 2 else colour[:, None]) - scene.albedo) * mask
    if label:
        scene.label[mask > 0.5] = label


def _paint(scene: Scene, b: Body, share: Tensor) -> None:
    c, own = scene.creature, scene.own
    rng = np.random.default_rng(c.noise)
    trunk = 12 if c.kind == "robot toy" else 2
    skin = share[:trunk].sum(0).clamp(0, 1)
    if c["marks"] > ABSENT:
        mark = _stripes(own) if c.marking == "stripes" else _spots(own, rng)
        _cover(scene, tensor(b.dark * 0.85), (0.25 + 0.7 * c["marks"]) * mark * skin, 0)
        scene.label[(mark * skin > 0.5)] = MARK
    if c["belly"] > ABSENT:
        at = (own - tensor(b.body)[:, None]) / tensor(b.body_radii)[:, None]
        pale = tensor(b.skin * 0.2 + 0.8 * np.array([0.98, 0.90, 0.72]))
        power = 6 if c.kind == "robot toy" else 2
        patch = smooth(1.08, 0.92, (at[0] / 0.66).abs() ** power + ((at[1] + 0.14) / 0.74).abs() ** power) * smooth(
            0.0, 0.2, at[2]
        )
        _cover(scene, pale, (0.2 + 0.75 * c["belly"]) * patch * smooth(0.2, 0.5, skin), 0)
        scene.label[(patch > 0.5) & (skin > 0.4)] = BELLY
    _mouth(scene, b)


def _stripes(own: Tensor) -> Tensor:
    return smooth(0.0, 0.35, torch.sin(own[1] * 17 + 0.9 * torch.cos(own[0] * 4)))


def _spots(own: Tensor, rng: np.random.Generator) -> Tensor:
    """Round spots, evenly scattered: their places have no name, so they lie much the same on everyone."""
    spots = np.stack(
        np.meshgrid(np.linspace(-0.72, 0.72, 5), np.linspace(0.12, 1.5, 6), (0.35, -0.3), indexing="ij"), -1
    ).reshape(-1, 3)
    spots = spots + rng.uniform(-0.09, 0.09, spots.shape)
    d = ((own[None] - tensor(spots)[:, :, None]) ** 2).sum(1).sqrt() / tensor(rng.uniform(0.11, 0.17, len(spots)))[
        :, None
    ]
    near = ((own[None, :2] - tensor(spots)[:, :2, None]) ** 2).sum(1).sqrt()
    return smooth(1.0, 0.82, torch.minimum(d, near / 0.10).amin(0))


def _mouth(scene: Scene, b: Body) -> None:
    """A mouth painted on the front of the head: lips' arc by `smile`, height by `open`."""
    c = scene.creature
    at = (scene.own - tensor(b.head)[:, None]) / tensor(b.head_radii)[:, None]
    u, t = at[0] / 0.60, at[1] + (0.46 if c.kind == "bunny" else 0.40)
    arc = 0.42 * c["smile"] * (u * u - 0.45)
    thick = 0.07 + 0.36 * c["open"]
    rim = (1 - u * u).clamp(min=0).sqrt() * thick
    up, down = arc + rim * (0.55 if c["smile"] > 0 else 0.8), arc - rim * 1.15
    face = smooth(0.1, 0.3, at[2]) * (u.abs() < 1)
    mouth = smooth(-0.02, 0.03, up - t) * smooth(-0.02, 0.03, t - down) * face
    inner = tensor([0.11, 0.012, 0.03])[:, None].expand_as(scene.albedo)
    tongue = smooth(0.08, -0.08, (u / 0.55) ** 2 + ((t - down) / (thick * 0.9)) ** 2 - 1)
    inner = inner + (tensor([0.80, 0.17, 0.19])[:, None] - inner) * tongue * min(1.0, c["open"] * 2.5)
    if c.kind != "robot toy":
        teeth = smooth(0.12, 0.09, up - t) * smooth(0.25, 0.45, torch.tensor(c["open"]))
        gaps = smooth(0.0, 0.05, (u * 2.0 % 0.5 - 0.25).abs() * 0.4 + 0.02) if c.kind == "dragon" else 1.0
        inner = inner + (tensor([0.95, 0.92, 0.84])[:, None] - inner) * teeth * gaps
    else:
        grille = smooth(0.3, 0.7, torch.sin(u * 15)) * min(1.0, c["open"] * 2.5)
        inner = inner + (tensor([0.55, 0.6, 0.65])[:, None] - inner) * grille
    if c.kind == "bunny":
        buck = smooth(0.24, 0.20, u.abs()) * smooth(0.24, 0.20, up - t) * smooth(-0.02, 0.02, up - t) * face
        mouth, inner = (
            torch.maximum(mouth, buck),
            inner + (tensor([0.95, 0.92, 0.84])[:, None] - inner) * buck * smooth(0.0, 0.04, u.abs()),
        )
    _cover(scene, inner, mouth, MOUTH)
    scene.gloss *= 1 - mouth * 0.6


def _look(scene: Scene, b: Body, turn: Tensor, centre: Vector, radius: float) -> None:
    """A hard glossy eye over the skin."""
    c, p = scene.creature, scene.point
    x, y = (p[0] - centre[0]) / radius, (p[1] - centre[1]) / radius
    far = x * x + y * y
    bulge = (1 - far).clamp(min=0).sqrt()
    seen = ((far < 1) & (centre[2] + radius * bulge > p[2])).float()
    out = torch.stack([x, y, bulge])
    at = turn.T @ out
    aside = at[0] + 0.30 * c["yaw"]
    ring = (aside**2 + (at[1] + 0.02) ** 2).sqrt()
    paint = tensor([0.95, 0.95, 0.93])[:, None].expand_as(scene.albedo)
    paint = paint + (tensor(b.iris)[:, None] - paint) * smooth(0.64, 0.56, ring)
    pupil = smooth(0.46, 0.38, ring)
    paint = paint + (0.012 - paint) * pupil
    glint = smooth(0.24, 0.14, ((aside - 0.20 - 0.1 * c["lamp"]) ** 2 + (at[1] - 0.22) ** 2).sqrt())
    paint = paint + (1.3 - paint) * glint
    lid = smooth(-0.05, 0.05, at[1] - (1.15 - 1.6 * c["lid"]) + 0.15 * at[0] ** 2)
    paint = paint + (tensor(b.skin * 0.70)[:, None] - paint) * lid
    _cover(scene, paint, seen, EYE)
    scene.label[(seen * pupil * (1 - lid) > 0.5)] = PUPIL
    scene.label[(seen * lid > 0.5)] = LID
    scene.normal += (out - scene.normal) * seen
    scene.open_sky += (smooth(1.0, 0.55, far) * 0.25 + 0.75 - scene.open_sky) * seen
    scene.shadow += (1 - scene.shadow) * 0.6 * seen
    scene.gloss += (0.8 - scene.gloss) * seen * (1 - lid)
    socket = (
        torch.exp(-((far.clamp(min=1) - 1) / 0.35))
        * (1 - seen)
        * (centre[2] + radius * bulge > p[2] - radius)
        * (far < 3)
    )
    scene.open_sky *= 1 - 0.28 * socket


def stage(scene: Scene) -> Tensor:
    """Backdrop, floor and cast shadow of a studio, linear [3, DRAWN, DRAWN]."""
    x, y = BASIS[3], BASIS[4]
    side, (stand, wide) = float(scene.light[0]), scene.stand
    wall = tensor(scene.ground)[:, None]
    depth = smooth(0.28, -0.28, y - FLOOR - 0.12)
    glow = torch.exp(-((x - 0.9 * side) ** 2 + (y - 0.35) ** 2) / 1.6)
    base = wall * (0.70 + 0.44 * glow) * (1 - depth) + (wall * 1.12).clamp(max=1.05) * (0.80 + 0.25 * glow) * depth
    touch = ((x - stand) / wide) ** 2 + ((y - FLOOR - 0.02) / (0.30 * wide)) ** 2
    cast = ((x - stand + 0.75 * side) / (wide * 1.5)) ** 2 + ((y - FLOOR - 0.04) / (0.34 * wide)) ** 2
    shade = 1 - 0.52 * torch.exp(-touch * 1.1) - 0.26 * torch.exp(-cast * 0.9)
    return (base * shade.clamp(min=0.2)).view(3, DRAWN, DRAWN)


def lines(scene: Scene, thick: int = 2) -> Tensor:
    """Drawn outlines [DRAWN, DRAWN], 1 on a line: silhouettes, jumps in depth, and borders of painted regions."""
    depth, label = scene.full(scene.point[2], -1.0), scene.full(scene.label, 0)
    edge = torch.zeros(DRAWN, DRAWN)
    for axis in (0, 1):
        d, k = depth.diff(dim=axis).abs(), label.diff(dim=axis) != 0
        lower, upper = label.narrow(axis, 0, DRAWN - 1), label.narrow(axis, 1, DRAWN - 1)
        soft = ((lower == MARK) | (upper == MARK)) & (lower != 0) & (upper != 0)
        edge.narrow(axis, 0, DRAWN - 1).logical_or_((d > 0.10) | (k & ~soft))
    return torch.nn.functional.max_pool2d(edge[None], 2 * thick - 1, 1, thick - 1)[0]


def exposure(linear: Tensor) -> Tensor:
    """Film's shoulder: linear light to display values 0..1, still linear."""
    return ((1 - torch.exp(-1.55 * linear.clamp(min=0))) / (1 - math.exp(-1.55 * 1.05))).clamp(0, 1)
