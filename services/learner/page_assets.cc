#include "services/learner/page_assets.h"

#include "absl/strings/str_cat.h"
#include "common/html/html.h"
#include "common/html/svg_plot.h"

namespace cohort {
namespace {

// Asks for the page again and puts its parts (data-live) in the place of those that changed. What a
// reader does meanwhile stays: what is open, focused, scrolled or selected. The answer is parsed as
// a document of its own, in which nothing runs.
constexpr char kUpdate[] = R"JS(
'use strict';
const every = 2000, patience = 8000;
const shown = new Map();
const parts = (root) => root.querySelectorAll('[data-live]');
for (const part of parts(document)) shown.set(part.id, part.outerHTML);

function replace(old, next) {
  const open = [...old.querySelectorAll('details[open]')].map((e) => e.id);
  const scrolled = [...old.querySelectorAll('[id]')].filter((e) => e.scrollTop || e.scrollLeft)
    .map((e) => [e.id, e.scrollTop, e.scrollLeft]);
  const focused = old.contains(document.activeElement) ? document.activeElement.id : '';
  const picked = old.querySelector('input:checked')?.id;
  const now = document.importNode(next, true);
  old.replaceWith(now);
  for (const id of open) document.getElementById(id)?.setAttribute('open', '');
  for (const [id, top, left] of scrolled) {
    const e = document.getElementById(id);
    if (e) { e.scrollTop = top; e.scrollLeft = left; }
  }
  if (picked && document.getElementById(picked)) document.getElementById(picked).checked = true;
  if (focused) document.getElementById(focused)?.focus({preventScroll: true});
}

function selected(part) {
  const selection = getSelection();
  return !selection.isCollapsed && part.contains(selection.anchorNode);
}

function update(text) {
  const next = new DOMParser().parseFromString(text, 'text/html');
  document.title = next.title;
  for (const part of parts(next)) {
    const old = document.getElementById(part.id);
    if (!old || shown.get(part.id) === part.outerHTML || selected(old)) continue;
    shown.set(part.id, part.outerHTML);
    replace(old, part);
  }
  readAgain();
}

const lost = document.getElementById('lost');
let answered = new Date();
async function ask() {
  try {
    const answer = await fetch('/', {signal: AbortSignal.timeout(patience)});
    if (!answer.ok) throw new Error(answer.statusText);
    update(await answer.text());
    answered = new Date();
    lost.hidden = true;
  } catch {
    lost.hidden = false;
    lost.textContent = `No answer from the learner since ${answered.toLocaleTimeString()}: ` +
      'it has ended, or cannot be reached. The page shows the run as it was then.';
  }
}
let due = 0;
async function loop() {
  clearTimeout(due);
  if (!document.hidden) await ask();
  due = setTimeout(loop, every);
}
document.addEventListener('visibilitychange', () => { if (!document.hidden) loop(); });
due = setTimeout(loop, every);
)JS";

// Reads a plot at the pointer, or with the arrow keys.
constexpr char kReadout[] = R"JS(
let reading = null;  // {id, x}: of a plot, and where in it
const width = 480;

function lines(plot) {
  return [...plot.querySelectorAll('polyline[data-v]')].map((line) => ({
    name: line.dataset.n,
    values: line.dataset.v.split(' ').map((v) => v.split(':')),
    at: line.getAttribute('points').trim().split(' ').map((p) => Number(p.split(',')[0])),
  }));
}

function nearest(at, x) {
  let best = 0;
  for (let i = 1; i < at.length; ++i) if (Math.abs(at[i] - x) < Math.abs(at[best] - x)) best = i;
  return best;
}

function visiblePlot(card) {
  return [...card.querySelectorAll('.plot')].find((plot) => plot.offsetParent !== null);
}

function read(card, x) {
  const plot = visiblePlot(card), out = card.querySelector('.readout');
  if (!plot || !out) return;
  const all = lines(plot);
  if (!all.length) return;
  const lead = all.reduce((a, b) => (b.at.length > a.at.length ? b : a));
  const i = nearest(lead.at, x);
  reading = {id: card.id, x: lead.at[i]};
  const texts = all.map((line) => {
    const j = nearest(line.at, lead.at[i]);
    const where = line.values[j][0] === lead.values[i][0] ? '' : ` (step ${line.values[j][0]})`;
    return `${line.name} ${Number(Number(line.values[j][1]).toPrecision(3))}${where}`;
  });
  out.textContent = `step ${lead.values[i][0]}: ${texts.join(', ')}`;
  const svg = plot.querySelector('svg');
  let mark = svg.querySelector('.cursor');
  if (!mark) {
    mark = document.createElementNS('http://www.w3.org/2000/svg', 'line');
    mark.setAttribute('class', 'cursor');
    mark.setAttribute('y1', 10);
    mark.setAttribute('y2', svg.viewBox.baseVal.height - 36);
    svg.append(mark);
  }
  mark.setAttribute('x1', reading.x);
  mark.setAttribute('x2', reading.x);
}

function stopReading() {
  const card = reading && document.getElementById(reading.id);
  reading = null;
  if (!card) return;
  card.querySelector('.readout').textContent = '';
  for (const mark of card.querySelectorAll('.cursor')) mark.remove();
}

function readAgain() {
  const card = reading && document.getElementById(reading.id);
  if (card) read(card, reading.x);
}

document.addEventListener('pointermove', (event) => {
  const card = event.target.closest?.('.card[data-plot]');
  const svg = card && visiblePlot(card)?.querySelector('svg');
  if (!svg) { if (reading && document.activeElement.id !== reading.id) stopReading(); return; }
  if (reading && reading.id !== card.id) stopReading();
  const box = svg.getBoundingClientRect();
  read(card, (event.clientX - box.left) / box.width * width);
});
document.addEventListener('keydown', (event) => {
  const card = document.activeElement;
  if (!card.matches?.('.card[data-plot]')) return;
  if (event.key === 'Escape') return stopReading();
  const back = event.key === 'ArrowLeft';
  if (!back && event.key !== 'ArrowRight') return;
  event.preventDefault();
  const plot = visiblePlot(card);
  const all = plot ? lines(plot) : [];
  if (!all.length) return;
  const at = all.reduce((a, b) => (b.at.length > a.at.length ? b : a)).at;
  const from = reading?.id === card.id ? nearest(at, reading.x) : at.length;
  read(card, at[Math.max(0, Math.min(at.length - 1, from + (back ? -1 : 1)))]);
});
document.addEventListener('focusout', (event) => {
  if (reading && event.target.id === reading.id && event.relatedTarget) stopReading();
});
)JS";

constexpr char kStyle[] = R"CSS(
body{font-size:15px;max-width:80rem;padding:1rem 1.5rem 2rem}
:root{--warn:#7a5200;--line:#d3d8de}
@media (prefers-color-scheme:dark){:root{--warn:#f0c24b;--line:#3a4047}}
.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.skip{position:absolute;left:-999px}.skip:focus{left:1rem;top:.5rem;background:var(--page);padding:.3rem .6rem;z-index:1}
:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
.top{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem .9rem}
.top h1{margin:0;font-size:1.35rem;overflow-wrap:anywhere}
.brand{color:var(--muted);font-weight:600;letter-spacing:.02em}
.pill{border:1px solid currentColor;border-radius:1rem;padding:.05rem .65rem;font-size:.875rem}
.pill.wait{color:var(--muted)}.pill.go{color:var(--good)}.pill.stop{color:var(--bad);font-weight:600}
progress{width:100%;height:.4rem;margin:.8rem 0 .2rem;display:block;border:0;border-radius:.2rem;background:var(--grid);appearance:none;overflow:hidden}
progress::-webkit-progress-bar{background:var(--grid)}
progress::-webkit-progress-value{background:var(--c0)}progress::-moz-progress-bar{background:var(--c0)}
.facts{display:flex;flex-wrap:wrap;gap:.35rem 2.2rem;margin:.5rem 0 0}
.facts div{min-width:4.5rem}.facts dt{color:var(--muted);font-size:.8rem}
.facts dd{margin:0;font-size:1.05rem;font-variant-numeric:tabular-nums}
h2{font-size:1.05rem;margin:1.8rem 0 .6rem;padding-top:.9rem}
h3{font-size:.9rem;margin:0;font-weight:600}
.note{border-left:.25rem solid var(--bad);background:var(--card);border-radius:.2rem;padding:.55rem .9rem;margin:.8rem 0 0;max-width:none;overflow-wrap:anywhere}
.alerts{list-style:none;margin:.8rem 0 0;padding:0;display:grid;gap:.5rem}
.alerts li{border-left:.25rem solid var(--bad);background:var(--card);border-radius:.2rem;padding:.5rem .9rem;overflow-wrap:anywhere}
.alerts li.over{border-color:var(--line);color:var(--muted)}
.alerts b{color:var(--bad)}.alerts .over b{color:inherit}
.alerts small{display:block}
.head{display:flex;flex-wrap:wrap;justify-content:space-between;align-items:baseline;gap:.2rem 1rem;border-top:1px solid var(--grid);margin-top:1.8rem}
.head h2{border:0;margin:0 0 .6rem}
.range{border:0;margin:0;padding:0;display:flex;gap:.9rem;font-size:.875rem;color:var(--muted)}
.range label{cursor:pointer}.range input{accent-color:var(--c0)}
.new{display:none}
body:has(#range-new:checked) .new{display:block}body:has(#range-new:checked) .all{display:none}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:1rem}
.card{border:1px solid var(--grid);border-radius:.5rem;padding:.75rem .9rem .3rem;min-width:0;display:flex;flex-direction:column}.card .plot:first-of-type,.card .new{margin-top:auto}
.card .now{display:flex;align-items:baseline;gap:.6rem;margin:.05rem 0 .1rem;flex-wrap:wrap}
.card .now b{font-size:1.55rem;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums}
.card .now span{color:var(--muted);font-size:.85rem;font-variant-numeric:tabular-nums}
.card svg{width:100%;height:auto;display:block}.card svg text{fill:var(--muted);font-size:15px}
.card svg text.axis{fill:var(--muted)}
.card .legend{margin:0 0 .2rem;font-size:.8rem;gap:.1rem .9rem;color:var(--muted)}.card .legend svg{width:30px;height:10px}
.readout{min-height:1.3em;margin:0;font-size:.8rem;color:var(--muted);font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.cursor{stroke:var(--muted);stroke-width:1;pointer-events:none}
.waits{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem 2rem}
.bar{width:100%;height:1.1rem;display:block;border-radius:.2rem;margin:.35rem 0 .4rem;overflow:hidden}
.k0{fill:var(--c0);background:var(--c0)}.k1{fill:var(--c1);background:var(--c1)}.k2{fill:var(--c2);background:var(--c2)}
.k3{fill:var(--c3);background:var(--c3)}.k4{fill:var(--c4);background:var(--c4)}.k5{fill:var(--c5);background:var(--c5)}
.k6{fill:var(--c6);background:var(--c6)}.k7{fill:var(--c7);background:var(--c7)}.idle{fill:var(--line);background:var(--line)}.rest{fill:var(--muted);background:var(--muted);opacity:.5}
.keys{list-style:none;display:flex;flex-wrap:wrap;gap:.15rem 1rem;padding:0;margin:0;font-size:.85rem;font-variant-numeric:tabular-nums}
.keys li{display:flex;align-items:center;gap:.4rem}.keys i{width:.7rem;height:.7rem;border-radius:.15rem;flex:none}
.verdict{margin:0 0 .8rem}
table{width:100%}.scroll{border-radius:.2rem}
td,th{padding:.3rem .6rem}thead th{color:var(--muted);font-weight:500;font-size:.8rem;white-space:nowrap}
tbody th{font-weight:500;white-space:nowrap}
#workers tr>:nth-child(2),#workers tr>:last-child{text-align:left}
#flow h3{margin-top:.9rem}#flow .waits h3{margin:0}
.dead,.suspect{color:var(--bad)}.stale{color:var(--warn)}.healthy{color:var(--good)}
.samples{display:grid;gap:1rem}
.one{border:1px solid var(--grid);border-radius:.5rem;padding:.7rem .9rem;min-width:0}
.one header{display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:baseline;font-size:.875rem;color:var(--muted);font-variant-numeric:tabular-nums}
.one header b{font-size:1rem;color:var(--text)}
.verdict-right{color:var(--good);font-weight:600}.verdict-wrong{color:var(--bad);font-weight:600}
.texts{display:grid;grid-template-columns:minmax(0,2fr) minmax(0,3fr) minmax(0,1fr);gap:.3rem 1.2rem;margin-top:.5rem}
.texts h4{margin:0;font-size:.8rem;font-weight:500;color:var(--muted)}
.texts pre{max-height:14rem;overflow:auto;font:.85rem/1.45 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;margin:.1rem 0 0}
@media (max-width:45rem){.texts{grid-template-columns:minmax(0,1fr)}body{padding:.8rem .9rem 1.5rem}.facts{gap:.35rem 1.5rem}}
footer{margin-top:2.2rem;padding-top:.8rem;border-top:1px solid var(--grid);color:var(--muted);font-size:.85rem}
@media print{.range,.skip,footer{display:none}}
)CSS";

}  // namespace

std::string StatusScript() { return absl::StrCat(kUpdate, kReadout); }
std::string StatusStyle() { return absl::StrCat(PageStyle(), PlotStyle(), kStyle); }

}  // namespace cohort
