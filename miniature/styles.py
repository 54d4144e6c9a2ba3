"""Twelve ways to draw one scene. Each gives display values, sRGB 0..1 [3, DRAWN, DRAWN], of the same geometry.

What a style hides (the body's colour in gold, both colours in ink) its captions do not say: see `HIDES`.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from factors import linear
from field import smooth, tensor, unit
from scene import BASIS, BELLY, DRAWN, EYE, FLOOR, LID, MARK, MOUTH, PUPIL, Scene, exposure, lines, stage
from torch import Tensor
from torch.nn import functional as F

COLOUR, GROUND, LAMP, GLOSS = "colour", "ground", "lamp", "gloss"  # what captions say, and a style may hide
HIDES: dict[str, tuple[str, ...]] = {
    "cartoon": (GLOSS,),
    "ink": (COLOUR, GROUND, LAMP, GLOSS),
    "pixel art": (LAMP, GLOSS),
    "pastel": (GLOSS, LAMP),
    "neon": (GROUND, LAMP, GLOSS),
    "blueprint": (COLOUR, GROUND, LAMP, GLOSS),
    "woodcut": (COLOUR, GROUND, GLOSS),
    "stained glass": (LAMP, GLOSS),
    "gold": (COLOUR, GLOSS, LAMP),
    "night": (GROUND, GLOSS, LAMP),
    "vinyl": (GLOSS,),
}


def srgb(x: Tensor) -> Tensor:
    return x.clamp(0, 1) ** (1 / 2.2)


def _colour(*rgb: float) -> Tensor:
    """A display colour as linear light [3, 1]."""
    return tensor(rgb)[:, None] ** 2.2


def _over(picture: Tensor, colour: Tensor, mask: Tensor) -> Tensor:
    """`colour` [3, 1], [3, 1, 1] or a picture where the mask [DRAWN, DRAWN] is 1."""
    colour = colour.unsqueeze(-1) if colour.ndim == 2 else colour
    return picture + (colour - picture) * mask


def _toward(scene: Scene) -> Tensor:
    """How much each pixel faces the lamp, 0..1, its own shadow included [P]."""
    return ((scene.normal * scene.light[:, None]).sum(0) * 0.72 + 0.28).clamp(min=0) * scene.shadow


def _shine(scene: Scene, power: float) -> Tensor:
    half = unit((scene.light + torch.tensor([0.0, 0.0, 1.0]))[:, None])
    return (scene.normal * half).sum(0).clamp(min=0) ** power


def _rim(scene: Scene) -> Tensor:
    return (1 - scene.normal[2].clamp(0, 1)) ** 3


def _set(scene: Scene, picture: Tensor, colours: Tensor) -> Tensor:
    """The picture [3, DRAWN, DRAWN] with the creature's pixels in these colours [3, P]."""
    picture = picture.reshape(3, -1).clone()
    picture[:, scene.where] = colours
    return picture.view(3, DRAWN, DRAWN)


def _clay_light(scene: Scene) -> Tensor:
    sky = tensor(0.55 + 0.45 * scene.ground)[:, None]
    up, near = 0.5 + 0.5 * scene.normal[1], scene.open_sky
    ambient = sky * (0.22 + 0.42 * up) * near + tensor(scene.ground)[:, None] * (0.20 * (1 - up) ** 2) * near
    return tensor([1.04, 0.98, 0.90])[:, None] * 1.05 * _toward(scene) + ambient


def clay(scene: Scene) -> Tensor:
    shine = scene.gloss**1.5 * (1.6 * _shine(scene, 50) + 0.42 * _shine(scene, 10)) * scene.shadow.sqrt()
    rim = _rim(scene) * (0.06 + 0.5 * scene.gloss) * scene.open_sky
    lit = scene.albedo * _clay_light(scene) + shine + rim * tensor(0.55 + 0.45 * scene.ground)[:, None]
    return srgb(exposure(_set(scene, stage(scene), lit)))


def vinyl(scene: Scene) -> Tensor:
    """Hard glossy plastic on a mirror: windows of a studio in every round surface."""
    n = scene.normal
    grey = scene.albedo.mean(0)
    strong = (grey + (scene.albedo - grey) * 1.2).clamp(min=0)
    up, across = 2 * n[2] * n[1], 2 * n[2] * n[0]  # where a mirror would look
    window = smooth(0.50, 0.58, up) * smooth(0.92, 0.84, up) * smooth(0.62, 0.54, (across - 0.5 * scene.light[0]).abs())
    window = window * smooth(0.03, 0.06, (across - 0.5 * scene.light[0]).abs())
    below = smooth(-0.25, -0.85, n[1]) * 0.35
    lit = (
        strong * (0.50 + 0.50 * _toward(scene)) * (0.55 + 0.45 * scene.open_sky)
        + 0.85 * window
        + 0.5 * _rim(scene)
        - below * strong
    )
    y = BASIS[4].view(DRAWN, DRAWN)
    wall = tensor(scene.ground)[:, None, None]
    room = wall * (1.0 + 0.25 * y) * smooth(FLOOR + 0.25, FLOOR + 0.28, y) + wall * 0.62 * smooth(
        FLOOR + 0.28, FLOOR + 0.25, y
    )
    picture = _set(scene, room, lit)
    line = round((1 - (FLOOR - 0.05)) / 2 * DRAWN)  # the floor mirrors what stands on it
    rows = min(DRAWN - line, line)
    mirror = picture[:, line - rows : line].flip(1)
    floor = picture[:, line : line + rows]
    floor.copy_(torch.where(_shown(scene)[line : line + rows], floor, 0.55 * mirror + 0.2 * wall))
    return srgb(exposure(picture))


def _shown(scene: Scene) -> Tensor:
    return scene.full(torch.ones(len(scene.where))) > 0.5


def _flat(scene: Scene, low: float = 0.55) -> Tensor:
    """Two tones of each colour, parted where the light ends [3, P]."""
    tone = low + (1 - low) * smooth(0.38, 0.44, _toward(scene))
    painted = (scene.label == EYE) | (scene.label == PUPIL)
    return scene.albedo * torch.where(painted, torch.ones_like(tone), tone)


def cartoon(scene: Scene) -> Tensor:
    x, y = BASIS[3].view(DRAWN, DRAWN), BASIS[4].view(DRAWN, DRAWN)
    wall = tensor(scene.ground)[:, None, None]
    disc = smooth(0.80, 0.78, (x**2 + (y - 0.05) ** 2).sqrt())
    room = wall * 0.8 + (wall * 0.5 + 0.5 - wall * 0.8) * disc
    stand, wide = scene.stand
    room = room * (1 - 0.45 * smooth(1.05, 0.98, ((x - stand) / (wide * 1.15)) ** 2 + ((y - FLOOR) / 0.10) ** 2))
    return _over(srgb(_set(scene, room, _flat(scene) * 1.08)), tensor([0.10, 0.07, 0.12])[:, None], lines(scene, 2))


@cache
def _strokes(angle: float, pitch: float) -> Tensor:
    """A wave of straight strokes -1..1 [DRAWN, DRAWN]; pitch in half widths of the picture."""
    x, y = BASIS[3].view(DRAWN, DRAWN), BASIS[4].view(DRAWN, DRAWN)
    return torch.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / pitch))


def ink(scene: Scene) -> Tensor:
    """A brush on paper: black outlines, black pools of shade, a dash of floor."""
    paper = tensor([0.97, 0.95, 0.89])[:, None, None].expand(3, DRAWN, DRAWN)
    face = (scene.label == EYE) | (scene.label == MOUTH) | (scene.label == LID)
    pool = smooth(0.21, 0.17, _toward(scene)) * ~face
    solid = (scene.label == PUPIL) | (scene.label == MARK) | ((scene.label == MOUTH) & (scene.albedo.mean(0) < 0.08))
    x, y = BASIS[3].view(DRAWN, DRAWN), BASIS[4].view(DRAWN, DRAWN)
    stand, wide = scene.stand
    floor = smooth(1.0, 0.94, ((x - stand) / (wide * 1.45)) ** 2 + ((y - FLOOR) / 0.055) ** 2) * ~_shown(scene)
    drawn = torch.stack([scene.full(torch.maximum(pool, solid.float())), floor, lines(scene, 2)]).amax(0)
    return _over(paper, tensor([0.09, 0.08, 0.10])[:, None], drawn)


def pixel_art(scene: Scene) -> Tensor:
    """32 by 32 squares of few colours."""
    room = tensor(scene.ground)[:, None, None].expand(3, DRAWN, DRAWN)
    flat = _over(_set(scene, room, _flat(scene, 0.6)), torch.full((3, 1), 0.004), lines(scene, 2) * 0.75)
    y = BASIS[4].view(DRAWN, DRAWN)
    flat = torch.where(_shown(scene), flat, flat * (1 - 0.4 * (y < FLOOR + 0.08)))
    small = F.interpolate(srgb(flat)[None], size=(32, 32), mode="area")
    return F.interpolate((small * 9).round() / 9, size=(DRAWN, DRAWN), mode="nearest")[0]


@cache
def _grain() -> Tensor:
    """Chalk on rough paper, 0..1 [DRAWN, DRAWN]: always the same sheet."""
    noise = torch.from_numpy(np.random.default_rng(7).standard_normal((1, 1, DRAWN // 3, DRAWN // 3))).float()
    rough = F.interpolate(noise, size=(DRAWN, DRAWN), mode="bicubic")[0, 0]
    return smooth(-1.4, 1.4, rough + 1.1 * _strokes(0.7, 0.15))


def pastel(scene: Scene) -> Tensor:
    """Soft chalk: pale colours, no black, strokes of one direction, white paper at the picture's edge."""
    soft = _set(
        scene, tensor(scene.ground)[:, None, None].expand(3, DRAWN, DRAWN), scene.albedo * (0.7 + 0.4 * _toward(scene))
    )
    colour = srgb(soft) * 0.62 + 0.36
    x, y = BASIS[3].view(DRAWN, DRAWN), BASIS[4].view(DRAWN, DRAWN)
    paper = tensor([0.98, 0.97, 0.94])[:, None, None]
    edge = torch.maximum(x.abs(), y.abs()) + 0.05 * _strokes(0.7, 0.15)
    out = _over(colour, paper.expand_as(colour), 0.22 * (1 - _grain()))
    out = _over(out, srgb(tensor(scene.ground) * 0.3)[:, None], lines(scene, 2) * 0.35)
    return _over(out, paper.expand_as(out), smooth(0.86, 0.93, edge))


def _blur(picture: Tensor, size: int) -> Tensor:
    """[..., DRAWN, DRAWN] blurred by about `size` pixels."""
    lead = picture.shape[:-2]
    small = F.interpolate(picture.reshape(1, -1, DRAWN, DRAWN), scale_factor=1 / size, mode="area")
    small = F.avg_pool2d(small, 3, 1, 1)
    return F.interpolate(small, size=(DRAWN, DRAWN), mode="bilinear").view(*lead, DRAWN, DRAWN)


def _vivid(scene: Scene) -> Tensor:
    """The body's hue at full strength, linear [3, 1, 1]."""
    return tensor(linear(scene.creature["hue"], 0.35 + 0.6 * scene.creature["sat"], 1.0))[:, None, None]


def neon(scene: Scene) -> Tensor:
    """Glowing tubes in the dark, in the body's colour; eyes are white light, mouths pink."""
    y = BASIS[4].view(DRAWN, DRAWN)
    tube = lines(scene, 2)
    face = scene.full(((scene.label == EYE) | (scene.label == PUPIL)).float())
    mouth = scene.full((scene.label == MOUTH).float())
    eyes, lips = tube * F.max_pool2d(face[None], 5, 1, 2)[0], tube * F.max_pool2d(mouth[None], 5, 1, 2)[0]
    light = _vivid(scene) * tube + eyes * (1.0 - _vivid(scene)) * 0.9
    light = _over(light, _colour(1.0, 0.35, 0.75), lips * (1 - eyes))
    fill = scene.full(scene.albedo * (0.10 * scene.normal[2].clamp(min=0) + 0.02))
    room = _colour(0.06, 0.04, 0.16).unsqueeze(-1) * (1.2 + y) + _colour(0.3, 0.1, 0.5).unsqueeze(-1) * 0.35 * smooth(
        -0.5, -1.0, y
    )
    dark = torch.where(_shown(scene), fill, room)
    return srgb(exposure(dark + light + 0.9 * _blur(light, 6) + 0.8 * _blur(light, 24)))


@cache
def _grid() -> Tensor:
    """Squared paper: 1 on fine lines, 2 on every fourth [DRAWN, DRAWN]."""
    at = torch.arange(DRAWN)
    fine, strong = (at % 12 == 6).float(), (at % 48 == 6).float()
    return torch.maximum(fine[:, None], fine[None]) + torch.maximum(strong[:, None], strong[None])


def blueprint(scene: Scene) -> Tensor:
    shown = _shown(scene).float()
    paper = tensor([0.09, 0.27, 0.62])[:, None, None] + 0.055 * _grid() * (1 - 0.75 * shown)
    face = scene.full(scene.normal[2].clamp(0, 1)) * shown
    paper = paper + 0.16 * shown * (1 - face)
    painted = scene.full(((scene.label == MARK) | (scene.label == BELLY)).float()) * (_strokes(0.8, 0.05) > 0.3)
    paper = _over(paper, tensor([0.75, 0.87, 1.0])[:, None], 0.45 * painted)
    solid = scene.full((scene.label == PUPIL).float())
    return _over(paper, tensor([0.93, 0.97, 1.0])[:, None], torch.maximum(lines(scene, 2), solid))


def woodcut(scene: Scene) -> Tensor:
    """A block in two tones: light, shade in broad level cuts, black; rays behind."""
    x, y = BASIS[3].view(DRAWN, DRAWN), BASIS[4].view(DRAWN, DRAWN)
    rays = torch.sin(torch.atan2(y + 0.1, x) * 22) > 0.15
    cuts = _strokes(np.pi / 2, 0.125)
    tone = 1.5 * _toward(scene) * (0.5 + 0.5 * scene.albedo.mean(0).clamp(max=1).sqrt())
    painted = (scene.label == EYE) | (scene.label == PUPIL) | (scene.label == MOUTH) | (scene.label == LID)
    level = torch.where(
        painted, (scene.albedo.mean(0) > 0.25).float(), smooth(0.12, 0.16, tone) * 0.5 + smooth(0.66, 0.70, tone) * 0.5
    )
    shade = scene.full(level * ((scene.label != MARK) | painted))
    wood = torch.where(shade > 0.75, torch.ones(()), torch.where(shade > 0.2, (cuts > 0.1).float(), torch.zeros(())))
    clear = (x**2 + (y - 0.02) ** 2).sqrt() < 0.86
    ground = torch.where(y > FLOOR + 0.1, (rays | clear).float(), (cuts > 0.3).float())
    light = torch.where(_shown(scene), wood, ground) * (1 - lines(scene, 2))
    return _over(
        tensor([0.20, 0.09, 0.06])[:, None, None].expand(3, DRAWN, DRAWN), tensor([0.96, 0.89, 0.73])[:, None], light
    )


@cache
def _panes() -> tuple[Tensor, Tensor]:
    """A window's panes: a shade for each -1..1, and the lead between them (1 on lead) [DRAWN, DRAWN]."""
    rng = np.random.default_rng(3)
    at = (
        np.stack(np.meshgrid(np.arange(7), np.arange(7)), -1).reshape(-1, 2) / 3 - 1 + rng.uniform(-0.12, 0.12, (49, 2))
    )
    d = ((BASIS[3:5].T[:, None] - tensor(at)[None]) ** 2).sum(-1).sqrt()
    near = d.topk(2, dim=1, largest=False)
    shade = tensor(rng.uniform(-1, 1, 49))[near.indices[:, 0]]
    return shade.view(DRAWN, DRAWN), smooth(0.035, 0.022, near.values[:, 1] - near.values[:, 0]).view(DRAWN, DRAWN)


def stained_glass(scene: Scene) -> Tensor:
    shade, lead = _panes()
    x, y = BASIS[3].view(DRAWN, DRAWN), BASIS[4].view(DRAWN, DRAWN)
    sun = 0.75 + 0.55 * torch.exp(-(x**2 + y**2) / 0.6)
    flat = _set(scene, tensor(scene.ground)[:, None, None].expand(3, DRAWN, DRAWN), scene.albedo)
    grey = flat.mean(0, keepdim=True)
    glass = (grey + (flat - grey) * 1.3).clamp(min=0.01) * (1 + 0.38 * shade) * sun
    face = scene.full(
        ((scene.label == EYE) | (scene.label == PUPIL) | (scene.label == MOUTH) | (scene.label == LID)).float()
    )
    return _over(
        srgb(exposure(glass)), tensor([0.05, 0.05, 0.06])[:, None], torch.maximum(lines(scene, 2), lead * (1 - face))
    )


def gold(scene: Scene) -> Tensor:
    """A polished statue: every surface mirrors a bright sky, a dark horizon and a warm floor."""
    n = scene.normal
    up = 2 * n[2] * n[1] + 0.25 * torch.sin(3 * n[0])
    sky = 0.10 + 0.55 * smooth(-0.05, 0.35, up) + 0.65 * smooth(0.45, 0.9, up) + 0.30 * smooth(-0.35, -0.8, up)
    carved = 0.35 + 0.65 * scene.albedo.mean(0).clamp(0, 1).sqrt()
    carved = torch.where(
        (scene.label == PUPIL) | (scene.label == MOUTH) | (scene.label == MARK), 0.45 * carved, 0.6 + 0.4 * carved
    )
    light = sky * carved * (0.4 + 0.6 * scene.open_sky) + 1.1 * _shine(scene, 70) + 0.25 * _rim(scene)
    metal = tensor([1.0, 0.60, 0.13])[:, None] * light + tensor([0.9, 0.85, 0.6])[:, None] * (light - 0.85).clamp(min=0)
    return srgb(exposure(_set(scene, stage(scene) * 0.45, metal)))


@cache
def _stars() -> Tensor:
    rng = np.random.default_rng(11)
    sky = torch.zeros(DRAWN, DRAWN)
    for row, column in rng.integers((4, 4), (int(DRAWN * 0.7), DRAWN - 4), (26, 2)):
        sky[row : row + 2, column : column + 2] = float(rng.uniform(0.4, 1.0))
    return sky


def night(scene: Scene) -> Tensor:
    """Moonlight: everything blue and dark but the eyes."""
    x, y = BASIS[3].view(DRAWN, DRAWN), BASIS[4].view(DRAWN, DRAWN)
    moon = smooth(0.17, 0.155, ((x - 0.62) ** 2 + (y - 0.66) ** 2).sqrt())
    glow = torch.exp(-((x - 0.62) ** 2 + (y - 0.66) ** 2) / 0.25)
    sky = _colour(0.06, 0.10, 0.28).unsqueeze(-1) * (1.1 + 0.5 * glow - 0.4 * y) + _stars() * 0.7
    sky = sky + glow * _colour(0.30, 0.38, 0.6).unsqueeze(-1) * 0.5
    room = _over(sky, _colour(0.98, 0.95, 0.82), moon)
    room = _over(room, _colour(0.05, 0.10, 0.16), smooth(FLOOR + 0.13, FLOOR + 0.10, y))
    from_moon = (scene.normal * unit(tensor([0.75, 0.65, 0.1])[:, None])).sum(0).clamp(min=0)
    blue = tensor([0.30, 0.42, 0.85])[:, None]
    dark = (
        scene.albedo * (0.05 + 0.32 * blue * _toward(scene) + 0.9 * blue * from_moon**2)
        + 0.35 * blue * _rim(scene) * from_moon
    )
    eyes = (scene.label == EYE).float()
    lit = dark + eyes * (tensor([1.0, 0.85, 0.35])[:, None] * (0.35 + 0.65 * scene.albedo.mean(0)) - dark)
    flare = _blur(scene.full(eyes), 8) * _colour(1.0, 0.8, 0.3).unsqueeze(-1)
    return srgb(exposure(_set(scene, room, lit) + 0.35 * flare))


DRAW: dict[str, Callable[[Scene], Tensor]] = {
    "clay": clay,
    "vinyl": vinyl,
    "cartoon": cartoon,
    "ink": ink,
    "pixel art": pixel_art,
    "pastel": pastel,
    "neon": neon,
    "blueprint": blueprint,
    "woodcut": woodcut,
    "stained glass": stained_glass,
    "gold": gold,
    "night": night,
}
