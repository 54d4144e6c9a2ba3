// The page of `sliderspace explore`. All text goes in by textContent; what a tab does is kept in the tab.
const find = (selector) => element.querySelector(selector);
const tab = Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(16)).join("");
const FARTHEST = 10, MIXED = 3, SHOWN = 2, POLL_MS = 1000;
const SILENT = "the app does not answer: is it still running?";
const empty = () => ({ strengths: {}, off: [], prompt: "", seeds: "", start: 0, end: null });
let run = 0, page = null, mix = empty(), history = [], ticket = 0, loaded = false, drawn = null, axes = [0, 1], polling = 0;

function make(tag, props = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
}
async function ask(action, values = {}, wanted = () => true) {
  let answer;
  try { answer = await server.act({ action, ...values }); } catch (problem) { /* no answer either */ }
  answer ??= { error: SILENT };
  if (!wanted()) return { stale: true };
  if (answer.error) say(answer.error); else if (find(".ss-message").textContent === SILENT) say("");
  return answer;
}
function about(action, values = {}) {  // the run that is shown: an answer about one that no longer is, is stale
  const own = page;
  return ask(action, { run, of: own.made_from, ...values }, () => own === page);
}
const failed = (answer) => answer.error || answer.stale;
function say(text) { const box = find(".ss-message"); box.textContent = text; box.hidden = !text; }
function state(text) { find(".ss-state").textContent = text; }
// What is being typed stays: an answer that comes in between fills in every other box.
for (const [event, typing] of [["input", true], ["change", false], ["focusout", false]]) {
  element.addEventListener(event, ({ target }) => { target.typing = typing; }, { capture: true });
}
const put = (box, value) => { if (!box.typing) box.value = value; };
const written = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(Math.round(value * 100) / 100);
const title = (row) => row.name ? (row.sure ? row.name : `(${row.name})`) : `slider ${row.index}`;
const strength = (k) => mix.strengths[k] ?? 0;
const active = () => page.rows.map((row) => row.index).filter((k) => strength(k) && !mix.off.includes(k));

// ---- stored pictures: one sheet a slider, a row a seed, a column a scale

function nearest(value) {
  let best = 0;
  page.scales.forEach((scale, m) => { if (Math.abs(scale - value) < Math.abs(page.scales[best] - value)) best = m; });
  return best;
}
function cell(box, row, seed, column) {
  if (!row.strip) return;
  const along = page.scales.length - 1, down = page.seeds.length - 1;
  box.style.backgroundImage = `url(${row.strip})`;
  box.style.backgroundSize = `${(along + 1) * 100}% ${(down + 1) * 100}%`;
  box.style.backgroundPosition = `${along ? column / along * 100 : 0}% ${down ? seed / down * 100 : 0}%`;
}
function pairs(count, fill) {
  const box = find(".ss-pairs");
  box.classList.toggle("ss-many", count > SHOWN);
  if (box.children.length !== count) {
    box.replaceChildren(...Array.from({ length: count }, () => {
      const pics = [0, 1].map(() => make("div", { className: "ss-pic" }));
      pics.forEach((pic) => pic.setAttribute("role", "img"));
      return make("figure", { className: "ss-pair" }, ...pics, make("span", { textContent: "base" }), make("span"));
    }));
  }
  [...box.children].forEach((pair, s) => fill(...pair.children, s));
}
function preview(row, value) {  // what is stored of this slider alone, at once
  if (!row.strip) return;
  const seeds = mix.seeds.split(",").map((seed) => page.seeds.indexOf(seed.trim()));
  const known = seeds.every((s) => s >= 0) ? seeds : page.seeds.map((_, s) => s).slice(0, SHOWN);
  pairs(known.length, (base, edited, _, label, s) => {
    cell(base, row, known[s], nearest(0));
    cell(edited, row, known[s], nearest(value));
    base.setAttribute("aria-label", "base"); edited.setAttribute("aria-label", `${title(row)} ${written(value)}`);
    label.textContent = `${title(row)} ${written(page.scales[nearest(value)])}`;
  });
}
function turned() {
  const names = active().map((k) => `${title(page.rows[k])} ${written(strength(k))}`);
  return names.length > 2 ? `${names.length} sliders` : names.join(", ") || "no slider";
}
function show(pictures, text) {
  pairs(pictures.length, (base, edited, _, label, s) => {
    for (const [box, source, name] of [[base, pictures[s].base, "base"], [edited, pictures[s].edited, text]]) {
      box.style.cssText = ""; box.style.backgroundImage = `url(${source})`; box.setAttribute("aria-label", name);
    }
    label.textContent = text;
  });
}
function thumbnails() {  // of the kept mixes: the one that was drawn last gets its picture
  for (const kept of find(".ss-kept").children) {
    if (kept.mix === drawn?.mix) { kept.style.backgroundImage = `url(${drawn.picture})`; kept.textContent = ""; }
  }
}

// ---- drawing: the newest request counts

async function draw() {
  const mine = ++ticket, asked = JSON.stringify(mix), text = turned();
  element.classList.add("ss-busy");
  state(loaded ? "Drawing …" : "Loading the model, once …");
  const began = performance.now();
  const answer = await about("draw", { mix, tab, ticket: mine });
  if (mine !== ticket || answer.stale) return;
  element.classList.remove("ss-busy");
  if (answer.error) { state("Not drawn."); return; }
  loaded = true;
  say("");
  drawn = { mix: asked, picture: answer.pictures[0].edited };
  show(answer.pictures, text);
  thumbnails();
  state(`Drawn in ${((performance.now() - began) / 1000).toFixed(1)} s, the same seeds on both sides.`);
}
function change(how, { remember = true } = {}) {
  if (remember) history.push(JSON.stringify(mix));
  how();
  find(".ss-undo").disabled = !history.length;
  refresh();
  draw();
}

// ---- rows

function limits(row) {
  const far = Math.abs(strength(row.index));
  return [Math.min(row.span[0], -far), Math.max(row.span[1], far)];
}
function turn(k, value) {
  const number = Number.isFinite(value) ? Math.max(-FARTHEST, Math.min(FARTHEST, value)) : 0;
  if (number) mix.strengths[k] = number; else delete mix.strengths[k];
}
function line(row) {
  const k = row.index;
  const pic = make("div", { className: "ss-pic" });
  const name = make("input", { className: "ss-name", value: row.name, placeholder: `slider ${k}`, maxLength: 60, title: row.sentence || "click to rename" });
  name.setAttribute("aria-label", `Name of slider ${k}`);
  const range = make("input", { type: "range", step: 0.05 }), number = make("input", { type: "number", step: 0.25, min: -FARTHEST, max: FARTHEST });
  range.setAttribute("aria-label", `Strength of slider ${k}`); number.setAttribute("aria-label", `Strength of slider ${k}, typed`);
  const on = make("input", { type: "checkbox", title: "on, or passed by" });
  on.setAttribute("aria-label", `Slider ${k} is on`);
  const strip = make("button", { type: "button", textContent: "strip", title: "a strip and a GIF of this slider" });
  const hide = make("button", { type: "button", className: "ss-hide" });
  const note = make("details", { className: `ss-measures${row.warnings.length ? " ss-warned" : ""}` },
    make("summary", { textContent: row.measures || "measures" }), ...row.warnings.map((textContent) => make("p", { textContent })));
  note.hidden = !row.measures && !row.warnings.length;
  const item = make("li", { className: "ss-row" }, pic, make("div", { className: "ss-head" }, name, strip, hide), note, make("div", { className: "ss-turn" }, range, number, on));
  item.dataset.slider = k;

  const fill = () => {  // from no effect to where it stands
    const [low, high] = limits(row), share = (value) => Math.round((value - low) / (high - low) * 1000) / 10;
    const ends = [share(0), share(strength(k))].sort((a, b) => a - b);
    range.style.setProperty("--from", `${ends[0]}%`); range.style.setProperty("--to", `${ends[1]}%`);
  };
  const scrub = (value) => { cell(pic, row, 0, nearest(value)); preview(row, value); };
  let before = null;
  range.oninput = () => { before ??= JSON.stringify(mix); turn(k, +range.value); number.value = strength(k); fill(); scrub(strength(k)); };
  range.onchange = () => { history.push(before ?? JSON.stringify(mix)); before = null; change(() => turn(k, +range.value), { remember: false }); };
  range.ondblclick = () => change(() => turn(k, 0));
  number.onchange = () => change(() => turn(k, parseFloat(number.value)));
  on.onchange = () => change(() => { mix.off = on.checked ? mix.off.filter((j) => j !== k) : [...mix.off, k]; });
  name.onchange = async () => {
    const answer = await about("rename", { slider: k, name: name.value });
    if (answer.stale) return;
    if (answer.error) name.value = row.name; else { Object.assign(row, answer); say(""); }
    refresh();
  };
  name.onkeydown = (event) => { if (event.key === "Enter") name.blur(); };
  hide.onclick = async () => {
    const answer = await about("hide", { slider: k, hidden: !page.hidden.includes(k) });
    if (!failed(answer)) { page.hidden = answer.hidden; refresh(); }
  };
  strip.onclick = () => sheet(row, strip);
  item.refresh = () => {
    const [low, high] = limits(row), hidden = page.hidden.includes(k);
    Object.assign(range, { min: low, max: high }); range.value = strength(k); fill();
    put(number, strength(k)); put(name, row.name); on.checked = !mix.off.includes(k);
    name.classList.toggle("ss-unsure", !!row.name && !row.sure);
    item.classList.toggle("ss-changed", strength(k) !== 0); item.classList.toggle("ss-off", !on.checked);
    item.classList.toggle("ss-hidden", hidden); item.hidden = hidden && !strength(k) && !find(".ss-all").checked;
    hide.textContent = hidden ? "show" : "hide";
    cell(pic, row, 0, nearest(strength(k) || row.span[1]));
  };
  return item;
}
async function sheet(row, button) {
  button.disabled = true; state(loaded ? "Drawing a strip …" : "Loading the model, once …");
  const answer = await about("sweep", { mix, slider: row.index, span: limits(row), tab });
  button.disabled = false;
  if (button.isConnected) state("");
  if (failed(answer)) return;
  loaded = true;
  for (const kind of ["strip", "gif"]) {
    find(`.ss-${kind}`).src = answer[kind];
    Object.assign(find(`.ss-get-${kind}`), { href: answer[kind], download: `slider-${row.index}.${kind === "gif" ? "gif" : "png"}` });
  }
  find(".ss-sheet").showModal();
}
function sorted() {
  const by = find(".ss-order").value;
  const key = { index: (r) => r.index, variance: (r) => -(r.variance ?? -1), selectivity: (r) => -(r.selectivity ?? -1) }[by];
  return [...page.rows].sort(key ? (a, b) => key(a) - key(b) : (a, b) => !a.name - !b.name || a.name.localeCompare(b.name) || a.index - b.index);
}
function refresh() {
  const items = new Map([...find(".ss-rows").children].map((item) => [+item.dataset.slider, item]));
  const order = sorted().map((row) => items.get(row.index));
  if (order.some((item, i) => item !== find(".ss-rows").children[i])) find(".ss-rows").replaceChildren(...order);
  order.forEach((item) => item.refresh());
  for (const name of ["prompt", "seeds", "start"]) put(field(name), mix[name]);
  put(field("end"), mix.end ?? "");
  const label = find(".ss-hiding");
  label.hidden = !page.hidden.length; label.querySelector("span").textContent = `show ${page.hidden.length} hidden`;
  presets();
  pads();
}
const field = (name) => find(`.ss-fields [name=${name}]`);

// ---- the pad: two sliders at once, no effect in the middle

const pad = find(".ss-pad");
const reach = (row) => Math.max(-row.span[0], row.span[1]);
function padded() {
  const [x, y] = axes.map((k) => page.rows[k]).map((row) => Math.max(-1, Math.min(1, strength(row.index) / reach(row))));
  Object.assign(pad.firstElementChild.style, { left: `${50 + 50 * x}%`, top: `${50 - 50 * y}%` });
}
function pads() {
  find(".ss-both").hidden = page.rows.length < 2;
  if (page.rows.length < 2) return;
  [find(".ss-x"), find(".ss-y")].forEach((box, i) => {
    box.replaceChildren(...page.rows.map((row) => make("option", { value: row.index, textContent: title(row) })));
    box.value = axes[i];
    box.onchange = () => {  // to the slider of the other axis: they change places
      if (axes[1 - i] === +box.value) axes[1 - i] = axes[i];
      axes[i] = +box.value;
      pads();
    };
  });
  padded();
}
function point(event) {
  const box = pad.getBoundingClientRect(), share = (at, size) => Math.max(-1, Math.min(1, 2 * at / size - 1));
  move([share(event.clientX - box.left, box.width), -share(event.clientY - box.top, box.height)]);
}
function move(places) {  // shares of how far each slider reaches, −1 … 1
  axes.forEach((k, i) => turn(k, Math.round(places[i] * reach(page.rows[k]) * 20) / 20));
  refresh();
}
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
pad.onkeydown = (event) => {
  const by = ARROWS[event.key];
  if (!by) return;
  event.preventDefault();
  change(() => move(axes.map((k, i) => Math.max(-1, Math.min(1, strength(k) / reach(page.rows[k]) + by[i] / 10)))));
};
pad.onpointerdown = (event) => { pad.setPointerCapture(event.pointerId); history.push(JSON.stringify(mix)); point(event); };
pad.onpointermove = (event) => { if (event.buttons) point(event); };
pad.onpointerup = () => change(() => {}, { remember: false });

// ---- the whole mix

find(".ss-random").onclick = () => change(() => {
  const pool = page.rows.filter((row) => !page.hidden.includes(row.index));
  mix.strengths = {}; mix.off = [];
  for (let i = 0; i < Math.min(MIXED, pool.length); i++) {
    const [row] = pool.splice(Math.floor(Math.random() * pool.length), 1);
    const end = row.span[Math.random() < 0.5 ? 0 : 1];
    turn(row.index, Math.round(end * (0.5 + Math.random() / 2) * 20) / 20);
  }
});
find(".ss-undo").onclick = () => { if (history.length) change(() => { mix = JSON.parse(history.pop()); }, { remember: false }); };
find(".ss-reset").onclick = () => change(() => { mix.strengths = {}; mix.off = []; });
find(".ss-seeds").onclick = () => change(() => { const first = Math.floor(Math.random() * 1e6); mix.seeds = `${first},${first + 1}`; });
find(".ss-keep").onclick = () => {
  const kept = make("button", { type: "button", mix: JSON.stringify(mix), textContent: turned(), title: `back to ${turned()}` });
  kept.setAttribute("aria-label", `Back to a kept mix: ${turned()}`);
  kept.onclick = () => change(() => { mix = JSON.parse(kept.mix); });
  find(".ss-kept").append(kept);
  thumbnails();
};
for (const name of ["prompt", "seeds", "start", "end"]) {
  field(name).onchange = () => change(() => {
    const value = field(name).value.trim();
    mix[name] = name === "prompt" || name === "seeds" ? value : value === "" ? (name === "end" ? null : 0) : Math.round(+value);
    if (name === "seeds" && !value) mix.seeds = "0-1";
  });
}
function presets() {
  find(".ss-presets").replaceChildren(...Object.entries(page.presets).map(([name, saved]) => {
    const use = make("button", { type: "button", textContent: name }), drop = make("button", { type: "button", textContent: "×", title: `delete ${name}` });
    use.onclick = () => change(() => { mix = { ...empty(), ...structuredClone(saved) }; });
    drop.onclick = async () => { const answer = await about("delete_preset", { name }); if (!failed(answer)) { page.presets = answer.presets; presets(); } };
    return make("span", {}, use, drop);
  }));
}
find(".ss-save").onsubmit = async (event) => {
  event.preventDefault();
  const answer = await about("save_preset", { name: event.target.name.value, mix });
  if (!failed(answer)) { page.presets = answer.presets; event.target.reset(); say(""); presets(); }
};
async function exported(action, values) {
  const buttons = [find(".ss-export"), find(".ss-export-mix")], box = find(".ss-exported");
  say(""); box.textContent = "Writing …";
  buttons.forEach((button) => { button.disabled = true; });
  const answer = await about(action, values);
  buttons.forEach((button) => { button.disabled = false; });
  const count = failed(answer) ? 0 : answer.files.length;
  box.textContent = count ? `${count} ${count === 1 ? "file" : "files"} in ${answer.folder}: ${answer.files.join(", ")}. ${answer.note ?? ""}` : "";
}
find(".ss-export").onclick = () => {
  const chosen = active().length ? active() : page.rows.map((row) => row.index).filter((k) => !page.hidden.includes(k));
  return exported("export", { sliders: chosen });
};
find(".ss-export-mix").onclick = () => exported("export_whole", { mix, name: find(".ss-save [name=name]").value });
find(".ss-order").onchange = refresh;
find(".ss-all").onchange = refresh;
find(".ss-close").onclick = () => find(".ss-sheet").close();
