// Renders the miniature's world: 64x64 drawings by DiceBear's illustrators, each with the parts and colours it used.
//
//   node render.mjs OUT_PREFIX FIRST COUNT
//
// writes OUT_PREFIX.rgb (uint8, COUNT x 64 x 64 x 3) and OUT_PREFIX.jsonl (one line an image). Image i is a function of i
// alone, so shards can be rendered by any number of processes and rendered again later.
import { createWriteStream, readFileSync } from 'node:fs';
import { createAvatar } from '@dicebear/core';
import * as collection from '@dicebear/collection';
import { Resvg } from '@resvg/resvg-js';

const SIZE = 64;
const palette = JSON.parse(readFileSync(new URL('./palette.json', import.meta.url)));
const styleNames = Object.keys(palette.styles);

// Where each style takes a palette colour, and how often its optional parts appear. Rare parts of DiceBear's defaults
// (glasses 10 %) are drawn more often, so that a small model sees enough of them.
const BLACK_AND_WHITE = new Set(['lorelei', 'notionists']);
const HAIR = ['hairColor', 'headContrastColor', 'facialHairColor'];
const SKIN = { micah: ['baseColor'] };
const CLOTHES = ['clothingColor', 'clothesColor', 'shirtColor', 'bodyColor'];
const CHANCES = {
  glassesProbability: 45, accessoriesProbability: 45, beardProbability: 25, facialHairProbability: 25,
  mustacheProbability: 25, earringsProbability: 25, hatProbability: 12, featuresProbability: 20,
  hairAccessoriesProbability: 10, maskProbability: 4, frecklesProbability: 5, gestureProbability: 5,
  rearHairProbability: 50, textureProbability: 40, cheekProbability: 40, blushesProbability: 40, bodyIconProbability: 20,
};

/** mulberry32: a small generator, so that image i depends on i only. */
function generator(seed) {
  let state = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function options(index) {
  const random = generator(index);
  const pick = (table) => { const keys = Object.keys(table); return keys[Math.floor(random() * keys.length)]; };
  const style = styleNames[Math.floor(random() * styleNames.length)];
  const chosen = { background: pick(palette.background), hair: pick(palette.hair), skin: pick(palette.skin), clothing: pick(palette.clothing) };
  const takes = collection[style].schema.properties;
  const given = { seed: `miniature-${index}`, size: SIZE, backgroundColor: [palette.background[chosen.background]] };
  const set = (names, hex) => names.filter((name) => name in takes).forEach((name) => { given[name] = [hex]; });
  if (!BLACK_AND_WHITE.has(style)) {
    set(HAIR, palette.hair[chosen.hair]);
    set(SKIN[style] ?? ['skinColor'], palette.skin[chosen.skin]);
    set(CLOTHES, palette.clothing[chosen.clothing]);
  }
  if (style === 'micah') set(['glassesColor'], palette.hair.black); // otherwise often the colour of the skin: nobody can see them
  if (style === 'bottts') set(['baseColor'], palette.clothing[chosen.clothing]);
  if (style === 'thumbs') set(['shapeColor'], palette.clothing[chosen.clothing]);
  for (const [name, chance] of Object.entries(CHANCES)) if (name in takes) given[name] = chance;
  return { style, chosen, given };
}

function render(index) {
  const { style, chosen, given } = options(index);
  const avatar = createAvatar(collection[style], given);
  const pixels = new Resvg(avatar.toString(), { fitTo: { mode: 'width', value: SIZE }, background: '#ffffff' }).render().pixels;
  const rgb = Buffer.alloc(SIZE * SIZE * 3);
  for (let p = 0; p < SIZE * SIZE; p++) for (let c = 0; c < 3; c++) rgb[p * 3 + c] = pixels[p * 4 + c];
  return { rgb, line: JSON.stringify({ index, style, ...chosen, parts: avatar.toJson().extra }) };
}

const [prefix, first, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
if (!prefix || !Number.isInteger(first) || !Number.isInteger(count)) {
  console.error('usage: node render.mjs OUT_PREFIX FIRST COUNT');
  process.exit(2);
}
const images = createWriteStream(`${prefix}.rgb`);
const table = createWriteStream(`${prefix}.jsonl`);
for (let index = first; index < first + count; index++) {
  const { rgb, line } = render(index);
  table.write(line + '\n');
  if (!images.write(rgb)) await new Promise((resolve) => images.once('drain', resolve));
}
images.end();
table.end();
