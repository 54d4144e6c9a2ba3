"""A creature's body as ellipsoids in its own space: x across the picture, y up from the floor, z forward."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from factors import Creature, Vector, body_colour, linear
from field import Ellipsoids, rotation

SKIN, HORN, BULB, SPIKE, INNER, METAL = range(1, 7)  # what a part is made of: outlines run where it changes
ABSENT = 0.06  # below this a factor draws nothing
CREAM = np.array([0.86, 0.76, 0.54])
STEEL = np.array([0.16, 0.17, 0.19])
IRIS = {
    "monster": (0.10, 0.9, 0.85),
    "robot toy": (0.5, 0.8, 0.95),
    "dragon": (0.15, 0.9, 0.95),
    "bunny": (0.07, 0.75, 0.5),
}
EYES_AT = {  # angles across and up in radians, and size, of each eye
    1: ((0.0, 0.20, 1.45),),
    2: ((-0.42, 0.18, 1.0), (0.42, 0.18, 1.0)),
    3: ((-0.56, 0.10, 0.86), (0.0, 0.42, 0.92), (0.56, 0.10, 0.86)),
}

Point = Sequence[float] | Vector


@dataclass
class Body:
    """The parts, the eyes (centre, radius) and the frames that painted marks are placed in."""

    skin: Vector
    dark: Vector  # the body colour of spikes, spots and stripes
    body: Vector
    body_radii: Vector
    head: Vector
    head_radii: Vector
    iris: Vector
    eyes: list[tuple[Vector, float]] = field(default_factory=list)
    centres: list[Vector] = field(default_factory=list)
    axes: list[Vector] = field(default_factory=list)
    radii: list[Vector] = field(default_factory=list)
    colours: list[Vector] = field(default_factory=list)
    softness: list[float] = field(default_factory=list)
    stuffs: list[int] = field(default_factory=list)

    def add(
        self,
        centre: Point,
        radii: Point,
        colour: Vector,
        stuff: int = SKIN,
        soft: float = 1.0,
        axes: Vector | None = None,
    ) -> None:
        self.centres.append(np.asarray(centre, float))
        self.axes.append(np.eye(3) if axes is None else axes)
        self.radii.append(np.maximum(np.asarray(radii, float), 0.012))
        self.colours.append(colour)
        self.softness.append(soft)
        self.stuffs.append(stuff)

    def limb(
        self, points: Sequence[Point], thick: Sequence[float], colour: Vector, stuff: int = SKIN, soft: float = 1.0
    ) -> None:
        """Ellipsoids stretched along a polyline."""
        for start, end, r in zip(points[:-1], points[1:], thick, strict=True):
            a, b = np.asarray(start, float), np.asarray(end, float)
            d = b - a
            length = float(np.linalg.norm(d)) + 1e-6
            upright = math.copysign(max(abs(d[1]), 1e-9), d[1])
            axes = rotation(0, 0, math.atan2(-d[0], upright)) @ rotation(math.asin(np.clip(d[2] / length, -1, 1)), 0, 0)
            self.add((a + b) / 2, (r, length / 2 + r * 0.6, r), colour, stuff, soft, axes)

    def box(self, centre: Point, half: Point, colour: Vector, stuff: int = SKIN) -> None:
        """A rounded box: an ellipsoid in each of four upright edges, and slabs between them."""
        c, h = np.asarray(centre, float), np.asarray(half, float)
        for x in (-1, 1):
            for z in (-1, 1):
                self.add(c + h * [0.58 * x, 0, 0.58 * z], h * [0.46, 1.10, 0.46], colour, stuff, 0.8)
        for y in (-0.42, 0.42):
            self.add(c + h * [0, y, 0], h * [1.0, 0.72, 0.98], colour, stuff, 0.8)

    def ellipsoids(self) -> Ellipsoids:
        return Ellipsoids(np.stack(self.centres), np.stack(self.axes), np.stack(self.radii), np.array(self.softness))

    def reach(self) -> tuple[float, float]:
        """How far the parts go to either side of the middle, and upwards from the floor."""
        half = np.sqrt(((np.stack(self.axes) * np.stack(self.radii)[:, None]) ** 2).sum(-1))
        centre = np.stack(self.centres)
        return float((np.abs(centre[:, 0]) + half[:, 0]).max()), float((centre[:, 1] + half[:, 1]).max())


def build(c: Creature) -> Body:
    """All parts of a creature."""
    skin = body_colour(c)
    dark = linear(c["hue"] + 0.03, min(1.0, c["sat"] * 1.15 + 0.1), c["light"] * 0.55)
    wide, tall = 0.47 * (1 + 0.34 * c["width"]), 0.50 * (1 - 0.12 * c["width"])
    head_radii = np.array([0.46 * (1 + 0.08 * c["width"]), 0.40, 0.42]) * (1 + 0.30 * c["head"])
    middle = 0.04 + 0.42 * c["legs"] + tall * 0.92
    body = np.array([0, middle, 0])
    head = np.array([0, middle + tall * 0.62 + head_radii[1] * (0.62 if c.kind == "robot toy" else 0.28), 0.06])
    b = Body(skin, dark, body, np.array([wide, tall, wide * 0.9]), head, head_radii, linear(*IRIS[c.kind]))
    _trunk(b, c)
    for side in (-1, 1):
        _leg(b, c, side)
        _arm(b, c, side)
        _crown(b, c, side)
    _tail(b, c)
    _spikes(b, c)
    _face(b, c)
    for across, up, scale in EYES_AT[c.eyes]:
        b.eyes.append(_eye(b, c, across, up, scale))
    return b


def _trunk(b: Body, c: Creature) -> None:
    if c.kind == "robot toy":
        b.box(b.body, b.body_radii * [0.86, 0.80, 0.80], b.skin)
        b.box(b.head, b.head_radii * [0.98, 0.80, 0.85], b.skin)
        b.add((b.body + b.head) / 2, (0.26, 0.26, 0.26), STEEL, METAL, 0.4)
    else:
        b.add(b.body, b.body_radii, b.skin, soft=1.6)
        b.add(b.head, b.head_radii, b.skin, soft=1.6)


def _leg(b: Body, c: Creature, side: int) -> None:
    wide, robot = b.body_radii[0], c.kind == "robot toy"
    hip = (side * wide * 0.46, b.body[1] - b.body_radii[1] * 0.4, 0)
    if c["legs"] > ABSENT:
        b.limb(
            [hip, (side * wide * 0.52, 0.10, 0.02)],
            [0.10 if robot else 0.145],
            STEEL if robot else b.skin,
            METAL if robot else SKIN,
        )
    long = 0.27 if c.kind == "bunny" else 0.22
    b.add((side * wide * 0.54, 0.085, 0.13), (0.18, 0.10, long), b.skin * 0.92, soft=0.8)


def _arm(b: Body, c: Creature, side: int) -> None:
    robot = c.kind == "robot toy"
    angle = -1.10 + 0.98 * (c["arms"] + 1)
    bend = angle + 0.40 * min(1.0, (c["arms"] + 1) * 0.8)
    shoulder = b.body + np.array([side * b.body_radii[0] * (0.88 if robot else 0.80), b.body_radii[1] * 0.38, 0.05])
    elbow = shoulder + 0.25 * np.array([side * math.cos(angle), math.sin(angle), 0.15])
    hand = elbow + 0.22 * np.array([side * math.cos(bend), math.sin(bend), 0.3])
    b.limb(
        [shoulder, elbow, hand],
        [0.08, 0.075] if robot else [0.115, 0.105],
        STEEL if robot else b.skin,
        METAL if robot else SKIN,
    )
    b.add(hand, (0.135, 0.135, 0.135), b.skin * 0.95)


def _crown(b: Body, c: Creature, side: int) -> None:
    """Ears, horns and antennae of one side."""
    r = b.head_radii
    if c["ears"] > ABSENT:
        e = c["ears"]
        base = b.head + r * [side * 0.55, 0.70, -0.05]
        tip = base + (0.08 + 0.52 * e) * np.array([side * 0.30, 1.0, 0])
        b.limb([base, tip], [0.085 + 0.075 * e], b.skin)
        inner, lift = linear(0.97, 0.45, 0.95) * 0.7 + b.skin * 0.3, np.array([0, 0.03, 0.085 + 0.04 * e])
        b.limb([base + lift, tip + lift - [side * 0.02, 0.07, 0]], [0.03 + 0.05 * e], inner, INNER, 0.5)
    if c["horns"] > ABSENT:
        g = c["horns"]
        base = b.head + r * [side * 0.62, 0.64, 0.05]
        middle = base + (0.08 + 0.24 * g) * np.array([side * 0.80, 0.60, 0])
        tip = middle + (0.05 + 0.28 * g) * np.array([side * 0.05, 1.0, 0])
        b.limb([base - [side * 0.02, 0.03, 0], middle, tip], [0.085 + 0.035 * g, 0.048 + 0.022 * g], CREAM, HORN, 0.6)
    if c["antennae"] > ABSENT:
        a = c["antennae"]
        base = b.head + r * [side * 0.26, 0.88, 0]
        tip = base + (0.12 + 0.36 * a) * np.array([side * 0.38, 0.92, 0.1])
        b.limb([base, tip], [0.036], STEEL if c.kind == "robot toy" else b.skin * 0.8, METAL, 0.4)
        b.add(tip, (0.062 + 0.05 * a,) * 3, linear(0.13, 0.85, 1.0), BULB, 0.4)


def _tail(b: Body, c: Creature) -> None:
    wide = b.body_radii[0]
    if c.kind == "bunny":
        b.add((0, b.body[1] - 0.2, -wide * 0.95), (0.14, 0.14, 0.14), CREAM, HORN)
    if c["tail"] > ABSENT:
        t = c["tail"]
        first = np.array([wide * 0.50, b.body[1] - b.body_radii[1] * 0.62, -wide * 0.45])
        second = first + (0.12 + 0.88 * t) * np.array([0.40, -0.04, -0.02])
        third = second + (0.12 + 0.88 * t) * np.array([0.24, 0.22, 0.05])
        last = third + (0.12 + 0.88 * t) * np.array([0.02, 0.26, 0.02])
        b.limb([first, second, third, last], [0.16, 0.125, 0.085 + 0.02 * t], b.skin)
        if c.kind == "dragon":
            b.add(last, (0.10, 0.13, 0.05), b.dark, SPIKE, 0.5)


def _spikes(b: Body, c: Creature) -> None:
    """A crest over the head, and a row down each side of the back that shows beside the body."""
    if c["spikes"] <= ABSENT:
        return
    s = c["spikes"]
    for turn, scale in ((0.0, 1.0), (0.75, 0.8), (-0.62, 0.75)):
        top = b.head + b.head_radii * [0, 0.86 * math.cos(turn), 0.55 * math.sin(turn) - 0.05]
        b.limb(
            [top, top + 0.34 * s * scale * np.array([0, math.cos(turn), math.sin(turn) * 0.8])],
            [0.095],
            b.dark,
            SPIKE,
            0.6,
        )
    for side in (-1, 1) if c.kind != "dragon" else ():
        for up in (0.45, 0.0, -0.45):
            root = b.body + b.body_radii * [side * 0.93 * math.cos(up), 0.85 * up, -0.35]
            b.limb([root, root + (0.06 + 0.22 * s) * np.array([side, 0.35, -0.2])], [0.07], b.dark, SPIKE, 0.6)


def _face(b: Body, c: Creature) -> None:
    """What a kind alone has: the dragon's snout and wings, the bunny's cheeks, the robot's bolts."""
    r = b.head_radii
    if c.kind == "dragon":
        b.add(b.head + r * [0, -0.36, 0.62], r * [0.66, 0.44, 0.58], b.skin)
        for side in (-1, 1):
            root = b.body + np.array([side * b.body_radii[0] * 0.7, 0.22, -0.32])
            for angle, long, broad in ((0.75, 0.62, 0.10), (0.30, 0.44, 0.12)):
                way = np.array([side * math.cos(angle), math.sin(angle), 0])
                across = np.array([-side * math.sin(angle), math.cos(angle), 0])
                axes = np.stack([across * side, way, np.array([0, 0, 1.0])], 1)
                b.add(root + way * long * 0.5, (broad, long * 0.62, 0.05), b.dark, SPIKE, 0.8, axes)
    elif c.kind == "bunny":
        for side in (-1, 1):
            b.add(b.head + r * [side * 0.22, -0.20, 0.84], r * [0.26, 0.20, 0.2], b.skin * 0.4 + 0.55)
        b.add(b.head + r * [0, -0.03, 0.97], (0.062, 0.045, 0.05), linear(0.97, 0.6, 0.9), INNER, 0.5)
    elif c.kind == "robot toy":
        for side in (-1, 1):
            b.add(b.head + r * [side * 1.02, 0.0, 0], (0.09, 0.13, 0.13), STEEL, METAL, 0.5)


def _eye(b: Body, c: Creature, across: float, up: float, scale: float) -> tuple[Vector, float]:
    way = np.array([math.sin(across) * math.cos(up), math.sin(up), math.cos(across) * math.cos(up)])
    radius = 0.160 * (1 + 0.45 * c["eye_size"]) * scale
    depth = 0.80 if c.kind == "robot toy" else 0.93
    return b.head + b.head_radii * way * depth + ([0, 0.06, 0.0] if c.kind == "bunny" else 0.0), radius
