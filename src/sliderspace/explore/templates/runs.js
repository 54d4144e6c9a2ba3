// ---- runs and discoveries, after page.js and in its scope

let openings = 0;
async function open(number) {  // the last one that is asked for counts
  const mine = ++openings;
  find(".ss-title").textContent = "Opening …";
  const answer = await ask("open", { run: number }, () => mine === openings);
  if (answer.stale) return;
  find(".ss-runs").value = answer.error ? run : number;
  find(".ss-title").textContent = answer.error ? page?.prompt ?? "Not opened" : answer.prompt;
  if (!answer.error) { say(""); enter(number, answer); }
}
function enter(number, answer) {
  run = number; page = answer; mix = empty(); history = []; drawn = null; axes = [0, 1]; loaded = answer.loaded; ticket++;
  element.classList.remove("ss-busy"); find(".ss-main-part").inert = false;
  mix.seeds = page.seeds.slice(0, SHOWN).join(",") || "0-1";
  find(".ss-about").textContent = `${page.rows.length} sliders found in ${page.prompts > 1 ? `${page.prompts} prompts` : "this prompt"} · ${page.model}`;
  field("prompt").placeholder = page.prompt;
  find(".ss-kept").replaceChildren(); find(".ss-exported").textContent = ""; find(".ss-undo").disabled = true;
  find(".ss-rows").replaceChildren(...page.rows.map(line));
  refresh();
  const first = page.rows.find((row) => row.strip && !page.hidden.includes(row.index));
  if (first) { preview(first, first.span[1]); state("Drag a slider: stored pictures follow at once. Let go, and the model draws."); }
  else draw();
}
async function listed() {
  const answer = await ask("runs"), box = find(".ss-runs"), chosen = box.value || run;
  if (answer.error) return;
  box.replaceChildren(...answer.runs.map((name, i) => make("option", { value: i, textContent: name })));
  box.value = chosen; box.hidden = answer.runs.length < 2;
  find(".ss-ask [name=backbone]").replaceChildren(...answer.models.map((name) => make("option", { value: name, textContent: name })));
  if (answer.discovery.running || answer.discovery.paused) { find(".ss-discover").hidden = false; progress(answer.discovery); }
}
function progress(now) {
  find(".ss-bar i").style.width = `${Math.round(now.share * 100)}%`;
  find(".ss-bar").setAttribute("aria-valuenow", Math.round(now.share * 100));
  find(".ss-said").textContent = now.prompt ? `${now.prompt}: ${now.said}` : now.said;
  find(".ss-pause").hidden = !now.running; find(".ss-go-on").hidden = !now.paused;
  find(".ss-stop").hidden = !now.running && !now.paused;
  find(".ss-ask [type=submit]").hidden = now.running || now.paused;
  clearTimeout(polling);
  if (now.running) polling = setTimeout(async () => {
    const next = await ask("progress");
    if (next.error) { progress({ ...now, said: "waiting for the app …" }); return; }
    progress(next);
  }, POLL_MS);
  if (now.finished) finished(now);
}
async function finished(now) {  // its page is opened where that takes nothing away
  const mine = history.length || Object.keys(mix.strengths).length || find(".ss-kept").children.length;
  const stays = mine && now.run !== run;
  find(".ss-discover").hidden = !stays;
  find(".ss-said").textContent = `${now.prompt}: done, among the concepts above`;
  await listed();
  if (!stays) await open(now.run);
}
find(".ss-new").onclick = () => { const box = find(".ss-discover"); box.hidden = !box.hidden; if (!box.hidden) find(".ss-ask [name=prompt]").focus(); };
find(".ss-ask").onsubmit = async (event) => {
  event.preventDefault();
  const form = event.target, count = (name) => (form[name].value === "" ? null : Math.round(+form[name].value));
  const asked = { prompt: form.prompt.value, backbone: form.backbone.value, sliders: count("sliders"), samples: count("samples"), updates: count("updates") };
  const answer = await ask("discover", { asked });
  if (!answer.error) { say(""); loaded = false; progress(answer); }
};
for (const action of ["pause", "go_on", "stop"]) {
  const button = find(`.ss-${action.replace("_", "-")}`);
  button.onclick = async () => {
    button.disabled = true;
    const answer = await ask(action);
    button.disabled = false;
    if (answer.error) return;
    if (action === "go_on") loaded = false;
    progress(answer);
  };
}
find(".ss-runs").onchange = (event) => open(+event.target.value);
listed();
open(0);
