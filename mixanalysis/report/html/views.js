/** Bounds of numbers, widened by a share of their span or, on log axes, of their ratio. */
function bounds(values, log = false, share = 0.04) {
  const known = values.filter((value) => value !== null && value !== undefined);
  let low = Math.min(...known), high = Math.max(...known);
  if (log) {
    const factor = (high / low) ** share || 1.1;
    return { low: low / Math.max(factor, 1.05), high: high * Math.max(factor, 1.05), log };
  }
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  return { low: low - share * (high - low), high: high + share * (high - low) };
}

/** From 0, or less where values are less, to 1 at least. */
function unit(values) {
  const known = values.filter((value) => value !== null);
  return { low: Math.min(0, ...known), high: Math.max(1, ...known) };
}

function meansView(box, width, label) {
  const rows = [...data.means].sort((a, b) => a.value - b.value);
  const kinds = ["", "floor: untrained", "ceiling: another seed"];
  const series = kinds.map((name, kind) => ({
    name, colour: kind, shape: markerOf(kind), kind: "points",
    points: rows.flatMap((row, y) => (row.kind !== kind ? [] : [{
      x: row.value, y, x0: row.low, x1: row.high,
      text: `${row.a} – ${row.b}${row.relation ? ` (${row.relation})` : ""}\nmean CKA ${withInterval(row.value, row.low, row.high)}`,
    }])),
  })).filter(({ points }) => points.length);
  xyChart(box, width, {
    label, series, height: 60 + 26 * rows.length,
    x: { label: "mean CKA", ...unit(rows.flatMap((row) => [row.value, row.low])) },
    y: { names: rows.map((row) => `${row.a} – ${row.b}`), low: -0.6, high: rows.length - 0.4 },
  });
}

function profileView(box, width, label) {
  const pairs = data.pairs.filter((pair) => pair.a === data.reference && pair.b !== data.reference);
  const longest = pairs.reduce((names, pair) => (pair.rows.length > names.length ? pair.rows : names), []);
  const series = pairs.map((pair, colour) => ({
    name: pair.b, colour, shape: markerOf(colour), kind: "both", size: longest.length > 30 ? 2.5 : 4,
    points: pair.rows.slice(0, pair.columns.length).flatMap((row, i) => (pair.value[i][i] === null ? [] : [{
      x: i + (colour - (pairs.length - 1) / 2) * 0.06, y: pair.value[i][i], y0: pair.low[i][i], y1: pair.high[i][i],
      text: `${pair.a} ${row} – ${pair.b} ${pair.columns[i]}\nCKA ${withInterval(pair.value[i][i], pair.low[i][i], pair.high[i][i])}`,
    }])),
  }));
  xyChart(box, width, {
    label, series,
    x: { label: `block of ${data.reference}`, names: longest, low: -0.5, high: longest.length - 0.5 },
    y: { label: "CKA", ...unit(series.flatMap(({ points }) => points.flatMap((p) => [p.y, p.y0 ?? p.y]))) },
  });
}

function edgesView(box, width, label) {
  const series = data.networks.filter((name) => data.layers[name]).map((name) => {
    const colour = data.networks.indexOf(name);
    return {
      name, colour, shape: markerOf(colour), kind: "both", size: data.layers[name].length > 60 ? 2.5 : 4,
      points: data.layers[name].flatMap((layer, i) => (layer.ratio === null ? [] : [{
        x: i + 1, y: layer.ratio, open: !layer.beyond,
        text: `${name} ${layer.short}\nlargest ${brief(layer.s_max)}, edge ${brief(layer.null_edge)}: ratio ${brief(layer.ratio)}\n${layer.p_text}`,
      }])),
    };
  }).filter(({ points }) => points.length);
  if (!series.length) return void box.append(el("p", { class: "note" }, "No layer has a null to be compared with."));
  const points = series.flatMap((each) => each.points);
  const log = Math.max(...points.map((p) => p.y)) > 20;
  xyChart(box, width, {
    label, series, rule: 1,
    x: { label: `layer, in forward order (filled: p < ${data.significant} / layers)`, ...bounds(points.map((p) => p.x)) },
    y: { label: "s_max / null_edge", ...bounds([1, ...points.map((p) => p.y)].filter((v) => !log || v > 0), log) },
  });
}

function widthView(box, width, label) {
  const { lines, points } = data.width, series = [];
  lines.forEach((line, colour) => {
    const all = line.width.map((x, i) => ({ x, y: line.density[i] }));
    series.push({ name: `Ω = ${brief(line.omega)}, γ = ${brief(line.expansion)}`, colour, kind: "line", points: all });
    const mixers = all.filter((_, i) => line.mixer[i]);
    if (mixers.length) series.push({ name: colour ? "" : "thick: a Mixer exists", colour, kind: "thick", points: mixers });
  });
  points.forEach((p, i) => series.push({
    // rings of falling size stay visible where networks share a point
    name: p.network, colour: i, shape: markerOf(i), kind: "ring", size: Math.max(10 - 2 * i, 4),
    points: [{
      x: p.width, y: p.density,
      text: `${p.network}\nm = ${brief(p.width)}, p = ${brief(p.density)}, Ω = ${brief(p.omega)}\nwidest Mixer m* = ${brief(p.widest_mixer)}`,
    }].filter(({ x, y }) => x !== null && y !== null),
  }));
  const every = series.flatMap((each) => each.points);
  xyChart(box, width, {
    label, series: series.filter((each) => each.points.length),
    x: { label: "effective width m", ...bounds(every.map((p) => p.x), true) },
    y: { label: "density p", ...bounds(every.map((p) => p.y), true) },
  });
}

/** The expansions of a line, one number where they are the same. */
function gammas({ expansion_token: token, expansion_channel: channel }) {
  return token === channel ? `γ = ${brief(token)}` : `γ_S = ${brief(token)}, γ_C = ${brief(channel)}`;
}

function channelsView(box, width, label) {
  for (const [column, name] of [["width", "effective width m"], ["density", "density p"]]) {
    const series = data.width.channels.map((line, colour) => ({
      name: `Ω = ${brief(line.omega)}, ${gammas(line)}`,
      colour, kind: "both", size: 1.5, shape: "o",
      points: line.channels.map((x, i) => ({
        x, y: line[column][i],
        text: `Ω = ${brief(line.omega)}: C = ${brief(x)}, S = ${brief(line.tokens[i])}\nm = ${brief(line.width[i])}, p = ${brief(line.density[i])}`,
      })),
    }));
    const every = series.flatMap((each) => each.points);
    xyChart(box, width, {
      label: `${label}: ${name}`, series, height: 260,
      x: { label: "channels C", ...bounds(every.map((p) => p.x), true) },
      y: { label: name, ...bounds(every.map((p) => p.y), true) },
    });
  }
}

/** The scale from 0 to 1 as a bar. */
function colourKey() {
  const key = el("div", { class: "key" }, "CKA 0");
  const bar = svg(key, "svg", { viewBox: `0 0 ${data.shades.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  data.shades.forEach((fill, x) => svg(bar, "rect", { x, y: 0, width: 1.05, height: 1, fill }));
  key.append("1");
  return key;
}

function mapsView(box) {
  box.append(colourKey());
  const largest = Math.max(...data.pairs.map((pair) => Math.max(pair.rows.length, pair.columns.length)));
  box.classList.toggle("large", largest > data.readable);
  for (const pair of data.pairs) {
    const title = `${pair.a} against ${pair.b}`, inner = el("div");
    box.append(el("figure", {}, el("h4", {}, title), inner));
    drawn(inner, (width) => heatMap(inner, width, pair, `CKA of the blocks of ${title}`));
  }
}

const VIEWS = { means: meansView, profile: profileView, edges: edgesView, width: widthView, channels: channelsView };

for (const box of document.querySelectorAll("[data-chart]")) {
  const view = VIEWS[box.dataset.chart];
  if (view) drawn(box, (width) => view(box, Math.min(width, 820), box.dataset.label));
  else mapsView(box);
}
