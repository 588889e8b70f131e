"""How the page of a search looks, and what it does when a point is opened."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1f2328; --soft: #59636e; --grid: #e6eaef;
  --front: #1f6feb; --best: #d1242f; --trial: #9aa3ad; --budget: #9a6700; --row: #f6f8fa;
  --recovered: #1a7f37; --tuned: #8250df; --warn: #fff8c5; --loss: #8250df; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --ink: #e6edf3; --soft: #9198a1;
  --grid: #262c36; --front: #58a6ff; --best: #ff7b72; --trial: #6e7681; --budget: #d29922;
  --row: #151b23; --recovered: #3fb950; --tuned: #bc8cff; --warn: #3b2e0a; --loss: #bc8cff; } }
* { box-sizing: border-box; }
body { margin: 24px auto; padding: 0 16px; max-width: 920px; background: var(--page);
  color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 20px; margin: 0 0 6px; } h2 { font-size: 15px; margin: 28px 0 8px; }
p { margin: 4px 0; } .answer { font-size: 15px; }
.warning { background: var(--warn); border-left: 3px solid var(--budget); padding: 8px 12px;
  margin: 10px 0; border-radius: 0 6px 6px 0; }
svg { width: 100%; height: auto; font-size: 12px; margin-top: 12px; }
svg.hidden { width: 0; height: 0; margin: 0; position: absolute; }
svg text { fill: var(--soft); } svg .title { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--grid); }
.baseline { stroke: var(--soft); stroke-dasharray: 6 5; }
.budget { stroke: var(--budget); } svg .budget-note { fill: var(--budget); }
.steps { fill: none; stroke: var(--front); stroke-width: 2; }
.tuned-steps { stroke: var(--tuned); } .recovered-steps { stroke: var(--recovered); }
.trial { fill: var(--trial); } .front { fill: var(--front); stroke: var(--page); }
.tuned { fill: var(--tuned); stroke: var(--page); }
.recovered { fill: var(--recovered); stroke: var(--page); }
.best { fill: var(--best); stroke: var(--page); }
svg .best-note { fill: var(--best); font-weight: 600; stroke: var(--page); stroke-width: 5px;
  paint-order: stroke; }
.best-line { stroke: var(--best); }
.point { cursor: pointer; outline: none; }
.point:hover, .point:focus-visible { stroke: var(--ink); stroke-width: 2; }
.point.opened { stroke: var(--ink); stroke-width: 2.5; }
.caption { color: var(--soft); margin: 4px 0 12px; }
.key { display: inline-block; width: 9px; height: 9px; border-radius: 5px; margin: 0 4px 0 8px; }
.front-key { background: var(--front); margin-left: 0; } .trial-key { background: var(--trial); }
.tuned-key { background: var(--tuned); } .recovered-key { background: var(--recovered); }
#opened { border: 1px solid var(--grid); border-radius: 8px; padding: 12px 16px; }
#opened h2 { margin: 0 0 2px; } #opened p { color: var(--soft); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid var(--grid); }
th.words, td.words { text-align: left; white-space: normal; min-width: 14em; }
th.name, td.name { text-align: left; }
tbody tr:nth-child(even) { background: var(--row); }
tr.best-row td { color: var(--best); font-weight: 600; }
tr[data-key] { cursor: pointer; } tr[data-key]:hover td { text-decoration: underline; }
.bar { display: flex; align-items: center; gap: 8px; min-width: 120px; }
.bar i { display: block; height: 10px; border-radius: 2px; background: var(--front); }
.bar.loss i { background: var(--loss); }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--soft); }
#tip { position: fixed; display: none; max-width: min(420px, 90vw); padding: 6px 10px;
  pointer-events: none; background: var(--ink); color: var(--page); border-radius: 6px;
  white-space: pre-line; z-index: 1; }
@media (max-width: 560px) { body { margin: 12px auto; padding: 0 10px; }
  svg { font-size: 20px; } th, td { padding: 4px 6px; } .hide-small { display: none; }
  .bar { min-width: 70px; } }
"""

SCRIPT = """
const tip = document.getElementById("tip");
const pictures = document.getElementById("pictures");
const panel = document.getElementById("opened");
const models = JSON.parse(document.getElementById("models").textContent);
pictures.addEventListener("pointermove", (event) => {
  const text = event.pointerType === "mouse" && event.target.dataset.tip;
  tip.style.display = text ? "block" : "none";
  if (!text) return;
  tip.textContent = text;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const top = event.clientY + 16 + tip.offsetHeight > innerHeight
    ? event.clientY - tip.offsetHeight - 10 : event.clientY + 16;
  tip.style.left = Math.max(left, 4) + "px";
  tip.style.top = top + "px";
});
pictures.addEventListener("pointerleave", () => { tip.style.display = "none"; });
function make(tag, text, css) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (css) node.className = css;
  return node;
}
function bar(share, text, css) {
  const cell = make("td"), box = make("div", undefined, "bar " + css), line = make("i");
  line.style.width = Math.max(100 * share, share > 0 ? 1 : 0) * 0.6 + "%";
  box.append(line, make("span", text));
  cell.append(box);
  return cell;
}
function open(key) {
  const model = models[key];
  if (!model) return;
  for (const point of document.querySelectorAll(".point"))
    point.classList.toggle("opened", point.dataset.key === key);
  panel.hidden = false;
  panel.replaceChildren(make("h2", model.title), make("p", model.told), make("p", model.file));
  if (!model.weights.length) return;
  const table = make("table"), head = make("tr"), body = make("tbody");
  const lossy = model.weights.some((weight) => weight.share !== null);
  head.append(make("th", "weight", "name"), make("th", "before", "hide-small"),
    make("th", "bits"), make("th", "bytes in the file", "name"));
  if (lossy) head.append(make("th", "predicted loss", "name"));
  head.append(make("th", "stored as", "words hide-small"));
  const most = Math.max(...model.weights.map((weight) => weight.bytes));
  for (const weight of model.weights) {
    const row = make("tr");
    row.append(make("td", weight.name, "name"), make("td", weight.before, "hide-small"),
      make("td", weight.bits), bar(weight.bytes / most, weight.after, "size"));
    if (lossy) row.append(bar(weight.share, Math.round(100 * weight.share) + " %", "loss"));
    row.append(make("td", weight.method, "words hide-small"));
    body.append(row);
  }
  const box = make("div", undefined, "scroll"), top = make("thead");
  top.append(head);
  table.append(top, body);
  box.append(table);
  panel.append(box);
}
document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-key]");
  if (target) open(target.dataset.key);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.dataset && event.target.dataset.key)
    open(event.target.dataset.key);
});
const asked = decodeURIComponent(location.hash.slice(1));
open(asked in models ? asked : panel.dataset.first);
"""
