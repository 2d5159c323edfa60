/** Singular values of a layer: bars, the null's density, its edges, outliers and the largest value. */
function histogram(box, width, layer, label) {
  const height = clamp(Math.round(width * 0.48), 180, 280);
  const frame = { left: 46, right: width - 10, top: 8, bottom: height - 42 };
  const element = picture(box, width, height, label);
  const bin = layer.top / layer.counts.length, total = layer.counts.reduce((sum, count) => sum + count, 0) || 1;
  const heights = layer.counts.map((count) => count / (total * bin));
  const most = Math.max(...heights, ...layer.law.map((v) => v ?? 0), 1e-12);
  const x = axis({ low: 0, high: layer.top }, frame.left, frame.right, clamp(Math.floor(width / 80), 3, 8));
  const y = axis({ low: 0, high: most * 1.05 }, frame.bottom, frame.top, 4);
  for (const { value, text } of x.ticks) svg(element, "text", { class: "tick", x: x.at(value), y: frame.bottom + 16, "text-anchor": "middle" }, text);
  for (const { value, text } of y.ticks) {
    svg(element, "line", { class: "grid", x1: frame.left, x2: frame.right, y1: y.at(value), y2: y.at(value) });
    svg(element, "text", { class: "tick", x: frame.left - 6, y: y.at(value) + 4, "text-anchor": "end" }, text);
  }
  const items = [];
  let bars = "";
  heights.forEach((value, i) => {
    const left = x.at(i * bin), right = x.at((i + 1) * bin), top = y.at(value);
    bars += `M${left.toFixed(1)} ${frame.bottom}V${top.toFixed(1)}H${right.toFixed(1)}V${frame.bottom}Z`;
    const text = `singular values ${brief(i * bin)} to ${brief((i + 1) * bin)}\n${brief(layer.counts[i])} of ${brief(total)}, density ${brief(value)}`;
    items.push({ x: left, y: Math.min(top, frame.bottom - 4), width: right - left, height: Math.max(frame.bottom - top, 4), text });
  });
  svg(element, "path", { class: "bars", d: bars });
  const law = layer.law.map((value, i) => `${i ? "L" : "M"}${x.at(((i + 1) / layer.law.length) * layer.top).toFixed(1)} ${y.at(value ?? 0).toFixed(1)}`).join("");
  if (law) svg(svg(element, "g", { class: "c0" }), "path", { class: "line", d: law });
  for (const { at, colour, dots } of edgesOf(layer)) {
    svg(svg(element, "g", { class: colour }), "path", { class: `edge${dots ? " dots" : ""}`, d: `M${x.at(at)} ${frame.top}V${frame.bottom}` });
  }
  const spikes = svg(element, "g", { class: "c3" });
  for (const value of layer.outliers) svg(spikes, "path", { class: "spike", d: `M${x.at(value)} ${frame.bottom - 16}v16` });
  svg(svg(element, "g", { class: "c6" }), "path", { class: "mark", d: marker("v", x.at(layer.s_max), frame.bottom - 6, 5) });
  svg(element, "path", { class: "axis", d: `M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}` });
  svg(element, "text", { x: (frame.left + frame.right) / 2, y: height - 6, "text-anchor": "middle" }, "singular value");
  svg(element, "text", { transform: `translate(11 ${(frame.top + frame.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "density");
  telling(element, items, (px) => (px < frame.left || px >= frame.right ? -1 : Math.floor(((px - frame.left) / (frame.right - frame.left)) * items.length)));
}

/** Edges that a layer has and its picture shows. */
function edgesOf(layer) {
  const edges = [{ at: layer.null_edge, colour: "c1", dots: false }, { at: layer.threshold, colour: "c1", dots: true }];
  if (layer.bulk_edge !== layer.null_edge) edges.push({ at: layer.bulk_edge, colour: "c2", dots: false });
  return edges.filter(({ at }) => at !== null && at <= layer.top);
}

function histogramLegend(box) {
  const samples = [
    ["bars", "", "M2 15V4h8v11zM12 15V8h8v7z", "singular values"], ["line", "c0", "M0 8H28", "density of the null"],
    ["edge", "c1", "M0 8H28", "null_edge"], ["edge dots", "c1", "M0 8H28", "threshold"], ["edge", "c2", "M0 8H28", "bulk_edge, where it differs"],
    ["spike", "c3", "M14 3V13", "outliers"], ["mark", "c6", marker("v", 14, 8, 5), "s_max"],
  ];
  for (const [kind, colour, d, name] of samples) {
    const entry = el("span");
    svg(svg(entry, "svg", { viewBox: "0 0 28 16", "aria-hidden": "true", class: colour }), "path", { class: kind, d });
    entry.append(name);
    box.append(entry);
  }
}

/** CKA of a network's block with every block of every other: [{name, map}], each of one row. */
function rowsOf(network, block) {
  const rows = [];
  for (const pair of data.pairs) {
    const turned = pair.a !== network;
    if (turned && pair.b !== network) continue;
    const own = turned ? pair.columns : pair.rows;
    if (block >= own.length) continue;
    const take = (table) => [turned ? table.map((row) => row[block]) : table[block]];
    const columns = turned ? pair.rows : pair.columns, status = {};
    columns.forEach((_, j) => { status[`0,${j}`] = pair.status[turned ? `${j},${block}` : `${block},${j}`] ?? ""; });
    const map = { a: network, b: turned ? pair.a : pair.b, rows: [own[block]], columns, status };
    rows.push({ ...map, value: take(pair.value), low: take(pair.low), high: take(pair.high) });
  }
  return rows;
}

function layerCard(network, layer) {
  const chart = el("div", { class: "chart" }), strips = el("div", { class: "strips" });
  const numbers = el("dl", { class: "numbers" });
  data.facts.forEach((name, i) => {
    if (layer.facts[i] !== "") numbers.append(el("div", {}, el("dt", {}, name), el("dd", {}, layer.facts[i])));
  });
  const card = el("article", { class: "layer", "aria-label": `${network} ${layer.name}` }, el("h4", {}, `${network} ${layer.name}`), chart, numbers, strips);
  document.getElementById("picked").append(card);
  drawn(chart, (width) => histogram(chart, width, layer, `Singular values of ${network} ${layer.name}`));
  const rows = rowsOf(network, layer.block);
  strips.append(el("p", {}, rows.length ? `CKA of its block, ${rows[0].rows[0]}, with the blocks of:` : "Its block's CKA is not among the pairs of this page."));
  for (const map of rows) {
    const inner = el("div", { class: "chart" });
    strips.append(el("div", { class: "strip" }, el("span", {}, map.b), inner));
    drawn(inner, (width) => heatMap(inner, width, map, `CKA of ${network} ${map.rows[0]} with the blocks of ${map.b}`, true));
  }
}

{
  const select = document.getElementById("pick-network"), list = document.getElementById("pick-layers");
  const filter = document.getElementById("pick-filter"), picked = document.getElementById("picked");
  const boxes = () => [...list.querySelectorAll("input")];
  const layersOf = () => data.layers[select.value];
  for (const name of data.networks) if (data.layers[name]) select.append(el("option", { value: name }, name));

  const show = () => {
    picked.replaceChildren();
    hideTip();
    for (const box of boxes()) if (box.checked) layerCard(select.value, layersOf()[box.value]);
    const shown = picked.children.length, every = layersOf().length;
    document.getElementById("pick-count").textContent = shown ? `${shown} of ${every} layers of ${select.value}` : "No layer is chosen.";
  };
  const narrow = () => {
    for (const box of boxes()) box.parentElement.hidden = !box.parentElement.textContent.toLowerCase().includes(filter.value.trim().toLowerCase());
  };
  const listLayers = () => {
    const layers = layersOf();
    const furthest = layers.reduce((best, layer, i) => ((layer.ratio ?? -1) > (layers[best].ratio ?? -1) ? i : best), 0);
    list.replaceChildren(...layers.map((layer, i) => {
      const box = el("input", { type: "checkbox", value: i, ...(i === furthest ? { checked: "" } : {}) });
      return el("label", layer.beyond ? { class: "beyond" } : {}, box, layer.short);
    }));
    narrow();
    list.scrollTop = list.children[furthest].offsetTop - list.children[0].offsetTop;
    show();
  };
  const choices = { all: () => true, none: () => false, beyond: (layer) => layer.beyond };
  for (const button of document.querySelectorAll("[data-pick]")) {
    button.addEventListener("click", () => {
      for (const box of boxes()) box.checked = !box.parentElement.hidden && choices[button.dataset.pick](layersOf()[box.value]);
      show();
    });
  }
  select.addEventListener("change", listLayers);
  filter.addEventListener("input", narrow);
  list.addEventListener("change", show);
  document.getElementById("pick").addEventListener("submit", (event) => event.preventDefault());
  histogramLegend(document.getElementById("pick-legend"));
  listLayers();
}
