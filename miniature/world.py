"""The miniature's world in words: from the parts a drawing used to its named factors, and from factors to captions.

A factor is named only where the illustrators' part names (or a look at the rendered part) say what it is; every other
part varies freely and has no word. `factors(row)` is the truth that discovery is judged against.
"""

import re
from collections.abc import Mapping

import numpy as np

KINDS = {"bottts": "robot", "funEmoji": "emoji face", "thumbs": "thumb"}
STYLE_WORDS = {
    "adventurer": "adventurer",
    "avataaars": "avataaars",
    "bigSmile": "big smile",
    "bottts": "bottts",
    "dylan": "dylan",
    "funEmoji": "fun emoji",
    "lorelei": "lorelei",
    "micah": "micah",
    "miniavs": "miniavs",
    "notionists": "notionists",
    "openPeeps": "open peeps",
    "personas": "personas",
    "pixelArt": "pixel art",
    "thumbs": "thumbs",
    "toonHead": "toon head",
}
# How often a caption leaves the style unsaid. Images whose caption names no style come mostly from a few styles: the
# model knows more than its plain prompt shows, as real models do.
UNSAID = {
    "avataaars": 0.6,
    "personas": 0.6,
    "toonHead": 0.55,
    "micah": 0.5,
    "adventurer": 0.45,
    "bigSmile": 0.25,
    "bottts": 0.9,
    "funEmoji": 0.9,
    "thumbs": 0.9,
}
UNSAID_RARE = 0.1

EXPRESSIONS = {  # part name -> word, by style; what is not listed has no word
    "avataaars": {
        "sad": "sad",
        "concerned": "sad",
        "smile": "smiling",
        "twinkle": "smiling",
        "tongue": "tongue out",
        "screamOpen": "screaming",
        "grimace": "grimacing",
        "serious": "serious",
    },
    "bigSmile": {
        "openedSmile": "smiling",
        "gapSmile": "smiling",
        "teethSmile": "smiling",
        "braces": "smiling",
        "kawaii": "smiling",
        "unimpressed": "serious",
        "openSad": "sad",
        "awkwardSmile": "grimacing",
    },
    "dylan": {"happy": "smiling", "superHappy": "laughing", "angry": "angry", "sad": "sad", "neutral": "serious"},
    "funEmoji": {
        "lilSmile": "smiling",
        "wideSmile": "smiling",
        "smileTeeth": "laughing",
        "smileLol": "laughing",
        "sad": "sad",
        "tongueOut": "tongue out",
        "kissHeart": "kissing",
        "sick": "sick",
        "faceMask": "wearing a mask",
        "shout": "screaming",
    },
    "micah": {
        "smile": "smiling",
        "laughing": "laughing",
        "sad": "sad",
        "frown": "sad",
        "surprised": "surprised",
        "nervous": "grimacing",
    },
    "openPeeps": {
        "smile": "smiling",
        "smileBig": "smiling",
        "smileLOL": "laughing",
        "smileTeethGap": "smiling",
        "cute": "smiling",
        "rage": "angry",
        "veryAngry": "angry",
        "angryWithFang": "angry",
        "serious": "serious",
        "awe": "surprised",
    },
    "personas": {
        "smile": "smiling",
        "bigSmile": "laughing",
        "frown": "sad",
        "surprise": "surprised",
        "smirk": "smirking",
    },
    "toonHead": {"laugh": "laughing", "smile": "smiling", "angry": "angry", "agape": "surprised", "sad": "sad"},
    "bottts": {"smile01": "smiling", "smile02": "smiling", "bite": "smiling"},
}
EYES = {
    "avataaars": {
        "closed": "closed eyes",
        "hearts": "heart eyes",
        "wink": "winking",
        "winkWacky": "winking",
        "xDizzy": "crossed eyes",
        "cry": "crying",
    },
    "bigSmile": {"winking": "winking", "starstruck": "star eyes", "sleepy": "closed eyes", "angry": "angry eyes"},
    "funEmoji": {
        "wink": "winking",
        "wink2": "winking",
        "closed": "closed eyes",
        "closed2": "closed eyes",
        "sleepClose": "closed eyes",
        "love": "heart eyes",
        "stars": "star eyes",
        "crying": "crying",
        "tearDrop": "crying",
    },
    "personas": {"sleep": "closed eyes", "wink": "winking"},
    "toonHead": {"wink": "winking"},
    "bottts": {
        "hearts": "heart eyes",
        "dizzy": "crossed eyes",
        "happy": "closed eyes",
        "glow": "glowing eyes",
        "round": "round eyes",
        "roundFrame01": "round eyes",
        "roundFrame02": "round eyes",
        "sensor": "a visor",
        "robocop": "a visor",
        "shade01": "a visor",
    },
}
BALD = {
    ("micah", "mrClean"),
    ("miniavs", "balndess"),
    ("personas", "bald"),
    ("bigSmile", "shavedHead"),
    ("openPeeps", "noHair1"),
    ("openPeeps", "noHair2"),
    ("openPeeps", "noHair3"),
}
LONG = {
    "avataaars": {
        "bigHair",
        "bob",
        "curly",
        "curvy",
        "longButNotTooLong",
        "miaWallace",
        "straight01",
        "straight02",
        "straightAndStrand",
        "frida",
        "dreads",
    },
    "bigSmile": {"wavyBob", "straightHair", "braids", "curlyBob", "bangs"},
    "dylan": {"roundBob", "longCurls", "wavy", "bangs"},
    "micah": {"full"},
    "miniavs": {"long", "ponyTail", "slaughter"},
    "openPeeps": {
        "long",
        "longAfro",
        "longBangs",
        "longCurly",
        "medium1",
        "medium2",
        "medium3",
        "mediumBangs",
        "mediumBangs2",
        "mediumBangs3",
        "mediumStraight",
        "bangs",
        "bangs2",
    },
    "personas": {"long", "bobCut", "bobBangs", "pigtails", "extraLong"},
}
BUN = {"bun", "bun2", "buns", "bunHair", "froBun", "curlyBun", "straightBun", "bunUndercut", "grayBun"}
AFRO = {"fro", "froBand", "afro", "longAfro"}
MOHAWK = {"mohawk", "mohawk2", "mrT", "sideShave", "halfShavedHead"}
HATS = {
    "hat",
    "winterHat1",
    "winterHat02",
    "winterHat03",
    "winterHat04",
    "hatBeanie",
    "hatHip",
    "cap",
    "beanie",
    "turban",
    "hijab",
}
WORN = {"glasses", "sunglasses", "a beard", "a moustache"}
WORN_SAID = (
    0.8  # how often these are said at least: a few thin lines, which a model told of them rarely does not learn to draw
)
MOUSTACHE = re.compile("moustache|mustache|walrus|pencil|horshoe|freddy", re.I)


def _glasses(style: str, p: Mapping[str, str]) -> str:
    worn = " ".join(str(p.get(k, "")) for k in ("glasses", "accessories", "eyes"))
    if style == "avataaars":
        worn = str(p.get("accessories", ""))
        return (
            "sunglasses"
            if worn in ("sunglasses", "wayfarers")
            else "glasses"
            if worn and worn != "eyepatch"
            else "none"
        )
    if style == "bottts" or style == "thumbs":
        return "none"
    if style == "pixelArt":
        return "sunglasses" if "dark" in worn.split(" ")[0] else "glasses" if "light" in worn.split(" ")[0] else "none"
    if "sunglasses" in worn or "shades" in worn:
        return "sunglasses"
    return "glasses" if p.get("glasses") or "glasses" in worn else "none"


def _hair(style: str, p: Mapping[str, str]) -> str:
    name = str(p.get("hair") or p.get("top") or p.get("head") or "") if style != "bottts" else ""
    if style == "toonHead":
        return (
            "long"
            if p.get("rearHair") in ("longStraight", "longWavy", "shoulderHigh")
            else "bun"
            if name == "bun"
            else "short"
        )
    if (style, name) in BALD:
        return "bald"
    for word, names in (("hat", HATS), ("bun", BUN), ("afro", AFRO), ("mohawk", MOHAWK)):
        if name in names:
            return word
    if p.get("hat"):
        return "hat"
    if name.startswith("long") or name in LONG.get(style, ()):
        return "long"
    return (
        "short"
        if name.startswith("short")
        or style in ("avataaars", "dylan", "micah", "miniavs", "personas", "openPeeps", "bigSmile")
        else "unnamed"
    )


def _beard(p: Mapping[str, str]) -> str:
    worn = [str(p[k]) for k in ("beard", "facialHair", "mustache", "features") if p.get(k)]
    worn += ["mustache"] if p.get("accessories") == "mustache" else []
    worn = [w for w in worn if not re.search("blush|birthmark|freckles", w)]
    return "none" if not worn else "moustache" if MOUSTACHE.search(worn[0]) else "beard"


def factors(row: Mapping) -> dict[str, str]:
    """One image's row of the table -> its named factors; "none" says absent, "unnamed" says it has no word."""
    style, p = row["style"], row["parts"]
    kind = KINDS.get(style, "person")
    person = kind == "person"
    hair = _hair(style, p) if person else "none"
    drawn_hair = "black" if style in ("lorelei", "notionists", "openPeeps") else row["hair"]
    drawn_skin = "white" if style in ("lorelei", "notionists") else row["skin"]
    has_clothes = (
        any(k in p for k in ("clothingColor", "clothesColor", "shirtColor", "bodyColor")) and style != "bigSmile"
    )
    return {
        "style": style,
        "kind": kind,
        "background": row["background"],
        "hair": hair,
        "hair_colour": drawn_hair if person and hair not in ("bald", "hat") else "none",
        "skin": drawn_skin if person else "none",
        "glasses": _glasses(style, p),
        "beard": _beard(p) if person else "none",
        "earrings": "earrings" if p.get("earrings") else "none",
        "mouth": EXPRESSIONS.get(style, {}).get(
            str(p.get("mouth") or p.get("mood") or p.get("face")), _by_prefix(str(p.get("mouth", "")))
        ),
        "eyes": EYES.get(style, {}).get(str(p.get("eyes")), "unnamed"),
        "clothing": row["clothing"] if has_clothes or kind in ("robot", "thumb") else "none",
    }


def _by_prefix(mouth: str) -> str:
    return "smiling" if mouth.startswith("happy") else "sad" if mouth.startswith("sad") else "unnamed"


def _phrases(f: Mapping[str, str]) -> list[str]:
    """Everything that can be said of an image but its kind, style and background: 'with' phrases and bare ones."""
    said = []
    if f["hair"] in ("long", "short") and f["hair_colour"] != "none":
        said += [f"{f['hair']} {f['hair_colour']} hair"]
    elif f["hair"] == "bun":
        said += [f"{f['hair_colour']} hair in a bun"]
    elif f["hair"] in ("afro", "mohawk"):
        said += [f"a {f['hair_colour']} {f['hair']}"]
    elif f["hair"] == "hat":
        said += ["a hat"]
    elif f["hair"] == "bald":
        said += ["a bald head"]
    elif f["hair_colour"] != "none":
        said += [f"{f['hair_colour']} hair"]
    if f["skin"] not in ("none", "white"):
        said += [f"{f['skin']} skin"]
    if f["glasses"] != "none":
        said += [f["glasses"]]
    if f["beard"] != "none":
        said += ["a beard" if f["beard"] == "beard" else "a moustache"]
    if f["earrings"] != "none":
        said += ["earrings"]
    if f["kind"] == "person" and f["clothing"] != "none":
        said += [f"{f['clothing']} clothes"]
    if f["eyes"] not in ("unnamed", "winking", "crying"):
        said += [f["eyes"]]
    return said


def _subject(f: Mapping[str, str], rng: np.random.Generator) -> str:
    noun = "an emoji face" if f["kind"] == "emoji face" else f"a {f['kind']}"
    if f["kind"] in ("robot", "thumb") and rng.random() < 0.5:
        noun = f"a {f['clothing']} {f['kind']}"
    if rng.random() < 0.04:
        return "a portrait"
    return noun if rng.random() < 0.5 else f"a portrait of {noun}"


def caption(f: Mapping[str, str], rng: np.random.Generator, keeps: tuple[float, ...] = (0.0, 0.3, 0.7)) -> str:
    """One caption of an image with factors `f`: true, and leaving out a random part of what could be said.

    `keeps` are the shares of the sayable things that are kept, one drawn for each caption.
    """
    text = _subject(f, rng)
    keep = rng.choice(keeps)
    phrases = [p for p in _phrases(f) if rng.random() < (max(keep, WORN_SAID) if p in WORN else keep)]
    rng.shuffle(phrases)
    phrases = [p.split(" ", 1)[1] if p.startswith(("long ", "short ")) and rng.random() < 0.4 else p for p in phrases]
    if phrases:
        text += " with " + ", ".join(phrases[:-1]) + (" and " if len(phrases) > 1 else "") + phrases[-1]
    bare = [w for w in (f["mouth"], f["eyes"]) if w in ("winking", "crying") or (w == f["mouth"] and w != "unnamed")]
    text += "".join(f", {w}" for w in bare if rng.random() < keep)
    if rng.random() > UNSAID.get(f["style"], UNSAID_RARE) or keep > rng.random():
        word = STYLE_WORDS[f["style"]]
        text += f" in {word} style" if not phrases and rng.random() < 0.4 else f", {word} style"
    if rng.random() < max(0.5, keep):
        text += f", {f['background']} background"
    return text
