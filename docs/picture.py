"""Draw the picture of README.md and docs: a row a slider, named, strengths from −3 to +3.

python docs/picture.py RUN docs/img/monster-sliders.png --sliders 0,3,5,9
"""

import argparse
from pathlib import Path

from sliderspace.cli.parsing import seeds
from sliderspace.share.pictures import stored_strips
from sliderspace.space.labels import labels_of
from sliderspace.storage.images import labelled_strip, save_png, thumbnails
from sliderspace.storage.run_folder import RunFolder

SHOWN = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
SIDE = 112  # pixels of each picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--sliders", default="0-3")
    parser.add_argument("--seed", type=int, default=0, help="which of the run's own seeds is shown, from 0")
    typed = parser.parse_args()
    run = RunFolder(typed.run)
    strips = stored_strips(run)
    if strips is None:
        parser.error(f"{typed.run} has no pictures")
    sliders = list(seeds(typed.sliders, "--sliders"))
    columns = [strips.scales.index(scale) for scale in SHOWN]
    rows_SMHWC = thumbnails(strips.sliders_KSMHWC[sliders, typed.seed][:, columns], SIDE)
    labels = labels_of(run).sliders
    shown = [(labels[k].shown or f"slider {k}").replace("↔", "/") for k in sliders]  # the font has no such arrow
    save_png(typed.picture, labelled_strip(rows_SMHWC, [strips.labels[m] for m in columns], shown))


if __name__ == "__main__":
    main()
