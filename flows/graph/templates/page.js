"use strict";
// The graph of the page's data, on a canvas. Whatever comes from the data is shown by textContent or drawn as text.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("canvas"), pen = canvas.getContext("2d");
  const element = (id) => document.getElementById(id);
  const HUES = ["#3b78b8", "#d9822b", "#3f9a6c", "#c2506b", "#8263b3", "#b99a1f", "#2f9aa8", "#a5643d", "#6f8f2f", "#cf6fae", "#5b6fd0", "#7d7f86"];
  const colour = (kind) => kind < HUES.length ? HUES[kind] : `hsl(${Math.round(kind * 137.5) % 360} 45% 52%)`;

  const nodes = data.nodes.map(([name, kind, confidence, documents, x, y, facts, said], number) => (
    { number, name, kind, confidence, documents, x, y, facts, said, edges: [], shown: x !== null, lower: name.toLowerCase() }));
  const edges = data.edges.map(([source, target, label, confidence, documents, said]) => (
    { source: nodes[source], target: nodes[target], label: data.labels[label], confidence, documents, said }));
  // Edges between the same two nodes are drawn as one line.
  const lines = new Map();
  for (const edge of edges) {
    edge.source.edges.push(edge);
    if (edge.target !== edge.source) edge.target.edges.push(edge);
    const key = Math.min(edge.source.number, edge.target.number) + " " + Math.max(edge.source.number, edge.target.number);
    if (!lines.has(key)) lines.set(key, { one: edge.source, other: edge.target, edges: [] });
    lines.get(key).edges.push(edge);
  }
  for (const node of nodes) node.radius = 5 + Math.min(16, 2.6 * Math.sqrt(node.edges.length));

  const hidden = new Set();
  let least = 0, chosen = null, hover = null, near = new Set();
  const view = { x: 0, y: 0, scale: 1 };
  const isShown = (node) => node.shown && !hidden.has(node.kind) && node.confidence >= least;
  const shownEdges = (line) => isShown(line.one) && isShown(line.other) ? line.edges.filter((edge) => edge.confidence >= least) : [];
  const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
  const toScreen = (node) => [(node.x - view.x) * view.scale + canvas.clientWidth / 2, (node.y - view.y) * view.scale + canvas.clientHeight / 2];
  const toGraph = (x, y) => [(x - canvas.clientWidth / 2) / view.scale + view.x, (y - canvas.clientHeight / 2) / view.scale + view.y];
  const size = (node) => node.radius * Math.max(0.5, Math.min(1.7, Math.sqrt(view.scale)));

  // --- Drawing ---
  let waiting = false;
  const draw = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; paint(); }); } };

  function paint() {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    }
    const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--ink"), paper = style.getPropertyValue("--paper");
    const soft = style.getPropertyValue("--soft"), accent = style.getPropertyValue("--accent");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const focus = hover || chosen;
    near = new Set();
    if (focus && focus.edges && focus.name !== undefined) { near.add(focus); for (const edge of focus.edges) { near.add(edge.source); near.add(edge.target); } }
    if (focus && focus.source) { near.add(focus.source); near.add(focus.target); }
    const labels = [];
    for (const line of lines.values()) {
      const kept = shownEdges(line);
      if (!kept.length) continue;
      const [x1, y1] = toScreen(line.one), [x2, y2] = toScreen(line.other);
      if (Math.max(x1, x2) < 0 || Math.min(x1, x2) > width || Math.max(y1, y2) < 0 || Math.min(y1, y2) > height) continue;
      const bright = focus && (kept.includes(focus) || line.one === focus || line.other === focus);
      pen.globalAlpha = bright ? 0.95 : focus ? 0.12 : 0.4;
      pen.strokeStyle = pen.fillStyle = bright ? accent : soft;
      pen.lineWidth = (bright ? 1.8 : 1) + Math.min(2, (kept.length - 1) * 0.6);
      if (line.one === line.other) { pen.beginPath(); pen.arc(x1, y1 - size(line.one) * 1.5, size(line.one), 0, 7); pen.stroke(); continue; }
      pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke();
      if (view.scale > 0.45) {
        if (kept.some((edge) => edge.target === line.other)) arrow(x1, y1, x2, y2, size(line.other));
        if (kept.some((edge) => edge.target === line.one)) arrow(x2, y2, x1, y1, size(line.one));
      }
      if (bright || (!focus && view.scale > 1.5)) labels.push([[...new Set(kept.map((edge) => edge.label))].join(", "), (x1 + x2) / 2, (y1 + y2) / 2, Math.hypot(x2 - x1, y2 - y1), bright]);
    }
    const visible = nodes.filter(isShown);
    for (const node of visible) {
      const [x, y] = toScreen(node), radius = size(node);
      if (x < -30 || x > width + 30 || y < -30 || y > height + 30) continue;
      pen.globalAlpha = !focus || near.has(node) ? 1 : 0.18;
      pen.fillStyle = colour(node.kind);
      pen.beginPath(); pen.arc(x, y, radius, 0, 7); pen.fill();
      pen.lineWidth = node === chosen ? 3 : 1.5; pen.strokeStyle = node === chosen ? accent : paper; pen.stroke();
    }
    const taken = [];
    pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineJoin = "round"; pen.strokeStyle = paper;
    // The most connected nodes come first in the data and get their names first.
    const named = focus ? [...visible.filter((node) => near.has(node)), ...visible.filter((node) => !near.has(node))] : visible;
    for (const node of named) {
      const [x, y] = toScreen(node);
      if (x < 0 || x > width || y < 0 || y > height) continue;
      const bright = near.has(node);
      if (focus && !bright) continue;
      pen.font = `${bright ? 600 : 500} ${bright ? 13 : 12}px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
      write(cut(node.name, 34), x, y + size(node) + 9, taken, bright && node === focus, ink);
    }
    pen.font = "11px system-ui, \"Segoe UI\", \"DejaVu Sans\", sans-serif";
    for (const [text, x, y, room, bright] of labels) if (bright || pen.measureText(text).width < room * 0.8) write(cut(text, 44), x, y, taken, false, soft);
    pen.globalAlpha = 1;
  }

  function arrow(x1, y1, x2, y2, radius) {
    const angle = Math.atan2(y2 - y1, x2 - x1), x = x2 - Math.cos(angle) * (radius + 2), y = y2 - Math.sin(angle) * (radius + 2);
    pen.beginPath(); pen.moveTo(x, y);
    pen.lineTo(x - 7 * Math.cos(angle - 0.4), y - 7 * Math.sin(angle - 0.4)); pen.lineTo(x - 7 * Math.cos(angle + 0.4), y - 7 * Math.sin(angle + 0.4));
    pen.fill();
  }

  function write(text, x, y, taken, always, ink) {
    const half = pen.measureText(text).width / 2 + 3, box = [x - half, y - 8, x + half, y + 8];
    if (!always && taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) return;
    taken.push(box);
    pen.globalAlpha = 1; pen.lineWidth = 4; pen.strokeText(text, x, y); pen.fillStyle = ink; pen.fillText(text, x, y);
  }

  const cut = (text, most) => { const letters = [...text.replace(/\s+/g, " ")]; return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : letters.join(""); };

  // --- Moving ---
  function fit(some) {
    const kept = some.filter(isShown);
    if (!kept.length) return;
    const xs = kept.map((node) => node.x), ys = kept.map((node) => node.y);
    const low = [xs.reduce((a, b) => Math.min(a, b)), ys.reduce((a, b) => Math.min(a, b))], high = [xs.reduce((a, b) => Math.max(a, b)), ys.reduce((a, b) => Math.max(a, b))];
    // The panel and the card lie over the picture.
    const left = canvas.clientWidth > 700 ? 290 : 20, right = chosen && canvas.clientWidth > 1000 ? 390 : 50;
    const width = Math.max(200, canvas.clientWidth - left - right), height = canvas.clientHeight - 100;
    view.scale = Math.min(2.2, width / (high[0] - low[0] + 60), height / (high[1] - low[1] + 60));
    view.x = (low[0] + high[0]) / 2 - (left - right) / 2 / view.scale;
    view.y = (low[1] + high[1]) / 2;
    draw();
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const [beforeX, beforeY] = toGraph(x, y);
    view.scale = Math.max(0.02, Math.min(8, view.scale * factor));
    const [afterX, afterY] = toGraph(x, y);
    view.x += beforeX - afterX; view.y += beforeY - afterY;
    draw();
  }

  function at(x, y) {
    let best = null, distance = Infinity;
    for (const node of nodes) {
      if (!isShown(node)) continue;
      const [nx, ny] = toScreen(node), away = Math.hypot(x - nx, y - ny) - size(node);
      if (away < 5 && away < distance) { best = node; distance = away; }
    }
    if (best) return best;
    distance = 6;
    for (const line of lines.values()) {
      const kept = shownEdges(line);
      if (!kept.length || line.one === line.other) continue;
      const [x1, y1] = toScreen(line.one), [x2, y2] = toScreen(line.other), length = (x2 - x1) ** 2 + (y2 - y1) ** 2 || 1;
      const along = Math.max(0, Math.min(1, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length));
      const away = Math.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1));
      if (away < distance) { best = kept.reduce((one, other) => (other.confidence > one.confidence ? other : one)); distance = away; }
    }
    return best;
  }

  let grip = null;
  canvas.addEventListener("pointerdown", (event) => { grip = { x: event.clientX, y: event.clientY, far: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (grip) {
      if (Math.hypot(event.clientX - grip.x, event.clientY - grip.y) < 3 && !grip.far) return;
      grip.far = true; canvas.classList.add("moving");
      view.x -= (event.clientX - grip.x) / view.scale; view.y -= (event.clientY - grip.y) / view.scale;
      grip.x = event.clientX; grip.y = event.clientY;
      draw();
      return;
    }
    const found = at(event.clientX, event.clientY);
    if (found !== hover) { hover = found; canvas.classList.toggle("over", Boolean(found)); draw(); }
  });
  canvas.addEventListener("pointerup", (event) => {
    canvas.classList.remove("moving");
    if (grip && !grip.far) choose(at(event.clientX, event.clientY));
    grip = null;
  });
  canvas.addEventListener("pointerleave", () => { hover = null; draw(); });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), event.clientX, event.clientY); }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoom(1.8, event.clientX, event.clientY));
  canvas.addEventListener("keydown", (event) => {
    const step = 60 / view.scale, move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (move) { view.x += move[0]; view.y += move[1]; draw(); event.preventDefault(); }
    if (event.key === "+") zoom(1.3);
    if (event.key === "-") zoom(1 / 1.3);
    if (event.key === "0") fit(nodes);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { choose(null); element("search").value = ""; search(); }
    if (event.key === "/" && document.activeElement !== element("search")) { element("search").focus(); event.preventDefault(); }
  });
  element("closer").addEventListener("click", () => zoom(1.4));
  element("farther").addEventListener("click", () => zoom(1 / 1.4));
  element("whole").addEventListener("click", () => fit(nodes));
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  // --- The card ---
  const make = (tag, text, className) => { const made = document.createElement(tag); if (text !== undefined) made.textContent = text; if (className) made.className = className; return made; };
  const dot = (kind) => { const made = make("span", undefined, "dot"); made.style.background = colour(kind); return made; };
  const percent = (value) => `${Math.round(value * 100)} %`;

  function choose(one, goTo) {
    chosen = one; hover = null;
    const card = element("card");
    card.hidden = !one;
    card.replaceChildren();
    if (one) {
      const close = make("button", "×", "close");
      close.type = "button"; close.setAttribute("aria-label", "Close"); close.addEventListener("click", () => choose(null));
      card.append(close);
      if (one.source) edgeCard(card, one); else nodeCard(card, one);
      card.scrollTop = 0;
      if (goTo) bring(one);
    }
    draw();
  }

  function bring(one) {
    const around = one.source ? [one.source, one.target] : [one, ...one.edges.flatMap((edge) => [edge.source, edge.target])];
    reveal(one.source || one);
    for (const node of around) { hidden.delete(node.kind); if (node.confidence < least) setLeast(0); }
    legend();
    const middle = one.source ? { x: (one.source.x + one.target.x) / 2, y: (one.source.y + one.target.y) / 2 } : one;
    fit(around);
    // What was asked for lies in the middle of what is free.
    const left = canvas.clientWidth > 700 ? 290 : 20, right = canvas.clientWidth > 1000 ? 390 : 50;
    view.x = middle.x - (left - right) / 2 / view.scale; view.y = middle.y;
    view.scale = Math.max(view.scale, 0.7);
    view.x = middle.x - (left - right) / 2 / view.scale;
    draw();
  }

  function reveal(node) {
    // A node that wasn't among the first gets a place beside its neighbours, they one around it.
    if (node.x === null) {
      const placed = node.edges.flatMap((edge) => [edge.source, edge.target]).find((other) => other.x !== null);
      const [x, y] = placed ? [placed.x, placed.y] : [lowest() , 0];
      node.x = x + 70 * Math.cos(node.number); node.y = y + 70 * Math.sin(node.number);
    }
    node.shown = true;
    const fresh = [...new Set(node.edges.flatMap((edge) => [edge.source, edge.target]))].filter((other) => other.x === null);
    fresh.forEach((other, place) => {
      const turn = place * 2.4, away = 80 + 14 * Math.sqrt(place);
      other.x = node.x + away * Math.cos(turn); other.y = node.y + away * Math.sin(turn); other.shown = true;
    });
    counts();
  }

  const lowest = () => nodes.reduce((most, node) => (node.x === null ? most : Math.max(most, node.x)), 0) + 200;

  function nodeCard(card, node) {
    card.append(make("h1", node.name));
    const kind = make("div", undefined, "kind");
    kind.append(dot(node.kind), make("span", data.classes[node.kind][0]), make("span", `${plural(node.documents, "document", "documents")}, confidence ${percent(node.confidence)}`));
    card.append(kind);
    if (node.facts.length) {
      card.append(make("h2", "Facts"));
      const list = make("dl");
      for (const [label, value, said] of node.facts) { list.append(make("dt", label)); const cell = make("dd", value); if (said.length) cell.title = said[0][2]; list.append(cell); }
      card.append(list);
    }
    const kept = node.edges.filter((edge) => edge.confidence >= least);
    if (kept.length) card.append(make("h2", plural(kept.length, "relation", "relations")));
    for (const edge of kept.slice(0, 60)) {
      const button = make("button", undefined, "relation");
      button.type = "button";
      const own = edge.source === node;
      if (own) button.append(make("span", `${edge.label} `), make("b", edge.target.name, "link"));
      else button.append(make("b", edge.source.name, "link"), make("span", ` ${edge.label} this`));
      button.addEventListener("click", () => choose(edge, true));
      card.append(button);
    }
    if (kept.length > 60) card.append(make("p", `… and ${kept.length - 60} more`));
    sentences(card, node.said, node.documents);
  }

  function edgeCard(card, edge) {
    card.append(make("h1", edge.label));
    for (const [text, node] of [["from ", edge.source], ["to ", edge.target]]) {
      const button = make("button", undefined, "relation");
      button.type = "button";
      button.append(make("span", text), make("b", node.name, "link"));
      button.addEventListener("click", () => choose(node, true));
      card.append(button);
    }
    card.append(make("p", `${plural(edge.documents, "document says", "documents say")} so, confidence ${percent(edge.confidence)}`));
    sentences(card, edge.said, edge.documents);
  }

  function sentences(card, said, documents) {
    if (said.length) card.append(make("h2", "In the documents"));
    for (const [documentId, before, quote, after] of said) {
      const block = make("blockquote");
      block.append(document.createTextNode(before), make("mark", quote), document.createTextNode(after), make("cite", documentId));
      card.append(block);
    }
    if (documents > said.length) card.append(make("p", `… and in ${plural(documents - said.length, "more document", "more documents")}`));
  }

  // --- Search, legend, filters ---
  let offered = [], picked = 0;
  function search() {
    const text = element("search").value.trim().toLowerCase(), list = element("found");
    list.replaceChildren();
    offered = []; picked = 0;
    if (!text) return;
    const starting = nodes.filter((node) => node.lower.startsWith(text)), within = nodes.filter((node) => !node.lower.startsWith(text) && node.lower.includes(text));
    offered = [...starting, ...within].slice(0, 12);
    offered.forEach((node, place) => {
      const item = make("li");
      item.setAttribute("role", "option"); item.setAttribute("aria-selected", String(place === picked));
      item.append(dot(node.kind), make("span", node.name));
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); take(node); });
      list.append(item);
    });
    if (!offered.length) list.append(make("li", "Nothing of that name"));
  }
  function take(node) { element("search").value = ""; search(); choose(node, true); }
  element("search").addEventListener("input", search);
  element("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && offered.length) take(offered[picked]);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      picked = (picked + (event.key === "ArrowDown" ? 1 : offered.length - 1)) % Math.max(1, offered.length);
      [...element("found").children].forEach((item, place) => item.setAttribute("aria-selected", String(place === picked)));
      event.preventDefault();
    }
  });

  function legend() {
    const list = element("legend");
    list.replaceChildren();
    data.classes.forEach(([label, count], kind) => {
      const item = make("li"), row = make("label"), box = make("input");
      box.type = "checkbox"; box.checked = !hidden.has(kind);
      box.addEventListener("change", () => { if (box.checked) hidden.delete(kind); else hidden.add(kind); counts(); draw(); });
      row.append(box, dot(kind), make("span", label), make("span", count.toLocaleString("en"), "count"));
      item.append(row); list.append(item);
    });
  }

  function setLeast(value) {
    least = value; element("confidence").value = Math.round(value * 100); element("confidence-shown").textContent = percent(value);
    counts(); draw();
  }
  element("confidence").addEventListener("input", () => setLeast(Number(element("confidence").value) / 100));

  function counts() {
    const shown = nodes.filter(isShown).length, total = data.totals.node;
    const entities = data.merged ? `${plural(total, "entity", "entities")} in ${plural(data.totals.document, "document", "documents")}` : `${plural(total, "entity", "entities")} in ${plural(data.totals.document, "document", "documents")}, not merged across them`;
    let text = shown === total ? `${entities}.` : `${shown.toLocaleString("en")} of ${entities}.`;
    const first = data.first < nodes.length ? nodes.filter((node) => !node.shown).length : 0;
    if (first) text += ` ${plural(first, "less connected one is", "less connected ones are")} left out; search shows them.`;
    if (nodes.length < total) text += ` ${(total - nodes.length).toLocaleString("en")} more are in exports only.`;
    element("counts").textContent = text;
  }

  legend(); counts(); fit(nodes);
  document.body.dataset.ready = "yes";
})();
