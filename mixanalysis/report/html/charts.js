/** Path of the marker of a network, as on the PDF's figures. */
function marker(shape, x, y, r) {
  const path = (...points) => `M${points.map(([a, b]) => `${(x + a * r).toFixed(1)} ${(y + b * r).toFixed(1)}`).join("L")}`;
  switch (shape) {
    case "s": return `${path([-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9])}Z`;
    case "^": return `${path([0, -1.1], [1, 0.8], [-1, 0.8])}Z`;
    case "v": return `${path([0, 1.1], [1, -0.8], [-1, -0.8])}Z`;
    case "D": return `${path([0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0])}Z`;
    case "P": return path([0, -1.2], [0, 1.2]) + path([-1.2, 0], [1.2, 0]);
    case "X": return path([-1, -1], [1, 1]) + path([-1, 1], [1, -1]);
    case "*": return path([0, -1.2], [0, 1.2]) + path([-1, -0.6], [1, 0.6]) + path([-1, 0.6], [1, -0.6]);
    default: return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  }
}

function markerOf(index) {
  return data.markers[index % data.markers.length];
}

function colourOf(index) {
  return `c${index % 8}`;
}

/** An empty picture that can be focused and is named. */
function picture(box, width, height, label) {
  const element = svg(box, "svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "application",
    "aria-roledescription": "chart", "aria-label": `${label}. Arrow keys move from value to value.`,
  });
  return element;
}

/** At most `count` round numbers within two bounds. */
function roundTicks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high, count) {
  const decades = Math.log10(high / low), steps = decades < 2.2 ? [1, 2, 5] : [1], every = Math.max(Math.ceil(decades / count), 1);
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1e-9; power += every) {
    for (const step of steps) {
      const value = step * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
    }
  }
  return ticks;
}

/** Where values stand on an axis from `start` to `end`: {at, ticks: [{value, text}]}. */
function axis({ low, high, log = false, names = null }, start, end, count) {
  const place = log ? (v) => Math.log(v / low) / Math.log(high / low) : (v) => (v - low) / (high - low);
  const at = (value) => start + place(value) * (end - start);
  if (names) {
    const every = Math.max(Math.ceil(names.length / count), 1);
    return { at, ticks: names.map((text, value) => ({ value, text })).filter(({ value }) => value % every === 0) };
  }
  const ticks = (log ? logTicks : roundTicks)(low, high, count);
  return { at, ticks: ticks.map((value) => ({ value, text: brief(value) })) };
}

function shortened(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/**
 * Points and lines over two axes.
 * spec: {label, x: {label, low, high, log, names}, y, height, marks, series: [{name, colour, shape, kind, points}]};
 * a point is {x, y, x0, x1, y0, y1, open, text}; kinds: "both", "line", "thick", "points", "ring".
 */
function xyChart(box, width, spec) {
  const most = width < 480 ? 20 : 32;
  const named = spec.y.names ? Math.max(...spec.y.names.map((name) => Math.min(name.length, most))) * 6.6 + 12 : 52;
  const longest = Math.max(0, ...(spec.x.names ?? []).map((name) => Math.min(name.length, 12)));
  const tilted = longest > 3;
  const frame = { left: named, right: width - 12, top: 10, bottom: 0 };
  const height = spec.height ?? clamp(Math.round(width * 0.5), 220, 360);
  const foot = tilted ? 32 + 5.4 * longest : 44;
  frame.bottom = height - foot;
  const element = picture(box, width, height, spec.label);
  const x = axis(spec.x, frame.left, frame.right, spec.x.names ? Math.floor((frame.right - frame.left) / (tilted ? 16 : 26)) : clamp(Math.floor(width / 80), 3, 8));
  const y = axis(spec.y, frame.bottom, frame.top, spec.y.names ? 1e9 : 5);
  for (const { value, text } of x.ticks) {
    const at = x.at(value);
    if (!spec.x.names) svg(element, "line", { class: "grid", x1: at, x2: at, y1: frame.top, y2: frame.bottom });
    const turn = tilted ? { transform: `rotate(-60 ${at} ${frame.bottom + 12})`, "text-anchor": "end" } : { "text-anchor": "middle" };
    svg(element, "text", { class: "tick", x: at, y: frame.bottom + (tilted ? 12 : 16), ...turn }, shortened(text, 12));
  }
  for (const { value, text } of y.ticks) {
    const at = y.at(value);
    svg(element, "line", { class: "grid", x1: frame.left, x2: frame.right, y1: at, y2: at });
    svg(element, "text", { class: "tick", x: frame.left - 6, y: at + 4, "text-anchor": "end" }, spec.y.names ? shortened(text, most) : text);
  }
  svg(element, "path", { class: "axis", d: `M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}` });
  svg(element, "text", { x: (frame.left + frame.right) / 2, y: height - 6, "text-anchor": "middle" }, spec.x.label);
  if (spec.y.label) svg(element, "text", { transform: `translate(12 ${(frame.top + frame.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, spec.y.label);
  if (spec.rule !== undefined) svg(element, "line", { class: "rule", x1: frame.left, x2: frame.right, y1: y.at(spec.rule), y2: y.at(spec.rule) });
  const items = spec.series.flatMap((series) => drawSeries(element, series, x, y));
  telling(element, items, (px, py) => nearest(items, px, py));
  if (spec.series.some((series) => series.name)) box.append(legend(spec.series));
}

function drawSeries(element, series, x, y) {
  const group = svg(element, "g", { class: colourOf(series.colour) });
  const line = series.points.map((p, i) => `${i ? "L" : "M"}${x.at(p.x).toFixed(1)} ${y.at(p.y).toFixed(1)}`).join("");
  if (series.kind === "thick") svg(group, "path", { class: "thick", d: line });
  else if (series.kind !== "points" && series.kind !== "ring") svg(group, "path", { class: "line", d: line });
  if (series.kind === "line" || series.kind === "thick") return [];
  const size = series.size ?? 4;
  return series.points.map((p) => {
    const px = x.at(p.x), py = y.at(p.y);
    if (p.y0 != null && p.y1 != null) svg(group, "path", { class: "whisker", d: `M${px} ${y.at(p.y0)}V${y.at(p.y1)}` });
    if (p.x0 != null && p.x1 != null) svg(group, "path", { class: "whisker", d: `M${x.at(p.x0)} ${py}H${x.at(p.x1)}m0 -4v8M${x.at(p.x0)} ${py - 4}v8` });
    svg(group, "path", { class: `mark${p.open ? " open" : ""}${series.kind === "ring" ? " ring" : ""}`, d: marker(series.shape, px, py, size) });
    return { x: px - size - 3, y: py - size - 3, width: 2 * size + 6, height: 2 * size + 6, text: p.text };
  });
}

function nearest(items, x, y, within = 40) {
  let best = -1, least = within ** 2;
  items.forEach((item, index) => {
    const distance = (item.x + item.width / 2 - x) ** 2 + (item.y + item.height / 2 - y) ** 2;
    if (distance < least) [best, least] = [index, distance];
  });
  return best;
}

function legend(series) {
  const list = el("ul", { class: "legend" });
  for (const { name, colour, shape, kind } of series) {
    if (!name) continue;
    const entry = el("li");
    const sample = svg(entry, "svg", { viewBox: "0 0 28 16", "aria-hidden": "true", class: colourOf(colour) });
    if (kind !== "points" && kind !== "ring") svg(sample, "path", { class: kind === "thick" ? "thick" : "line", d: "M0 8H28" });
    if (kind !== "line" && kind !== "thick") svg(sample, "path", { class: `mark${kind === "ring" ? " ring" : ""}`, d: marker(shape, 14, 8, 4.5) });
    entry.append(name);
    list.append(entry);
  }
  return list;
}

// ---- heat maps: one path per shade instead of an element per cell

function shadeOf(value) {
  return clamp(Math.floor(value * data.shades.length), 0, data.shades.length - 1);
}

function isLight(shade) {
  const parts = [1, 3, 5].map((at) => parseInt(shade.slice(at, at + 2), 16) / 255);
  const [r, g, b] = parts.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179;
}

/** Rows by columns of CKA; `map` is {a, b, rows, columns, value, low, high, status}; strips have one row and no axes. */
function heatMap(box, width, map, label, strip = false) {
  const most = 12;
  const room = (names) => Math.max(...names.map((name) => Math.min(name.length, most))) * 6.4 + 10;
  const left = strip ? 0 : room(map.rows) + 16, foot = strip ? 0 : room(map.columns) + 20;
  const across = (width - left - 2) / map.columns.length;
  const cell = { width: strip ? Math.min(across, 48) : Math.min(across, 60), height: strip ? 24 : Math.min(across, 60) };
  const high = cell.height * map.rows.length;
  const element = picture(box, width, Math.ceil(high + foot + 2), label);
  const paths = new Map(), items = [], count = map.columns.length;
  map.rows.forEach((row, i) => map.columns.forEach((column, j) => {
    const value = map.value[i][j], x = left + j * cell.width, y = 1 + (map.rows.length - 1 - i) * cell.height;
    const shade = value === null ? -1 : shadeOf(value);
    paths.set(shade, `${paths.get(shade) ?? ""}M${x.toFixed(2)} ${y.toFixed(2)}h${cell.width.toFixed(2)}v${cell.height.toFixed(2)}h${(-cell.width).toFixed(2)}Z`);
    const why = value === null ? `: ${map.status[`${i},${j}`] ?? ""}` : "";
    const text = `${map.a} ${row} – ${map.b} ${column}\nCKA ${withInterval(value, map.low[i][j], map.high[i][j])}${why}`;
    items.push({ x, y, width: cell.width, height: cell.height, text });
  }));
  for (const [shade, d] of paths) {
    // smoothed, cells of different shades have seams between them
    svg(element, "path", shade < 0 ? { class: "undefined", d } : { fill: data.shades[shade], "shape-rendering": "crispEdges", d });
  }
  if (cell.width >= 28 && Math.max(map.rows.length, count) <= data.readable) cellTexts(element, map, items);
  if (!strip) mapLabels(element, map, { left, high, cell, most, width });
  const find = (x, y) => {
    const j = Math.floor((x - left) / cell.width), i = map.rows.length - 1 - Math.floor((y - 1) / cell.height);
    return j < 0 || j >= count || i < 0 || i >= map.rows.length ? -1 : i * count + j;
  };
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: count, ArrowDown: -count };
  telling(element, items, find, (index, pressed) => (items[index + steps[pressed]] ? index + steps[pressed] : index));
}

function cellTexts(element, map, items) {
  items.forEach((item, index) => {
    const value = map.value[Math.floor(index / map.columns.length)][index % map.columns.length];
    if (value === null) return;
    const tone = isLight(data.shades[shadeOf(value)]) ? "onlight" : "ondark";
    const place = { x: item.x + item.width / 2, y: item.y + item.height / 2 + 4, "text-anchor": "middle" };
    svg(element, "text", { class: `cell ${tone}`, ...place }, value.toFixed(2));
  });
}

function mapLabels(element, map, { left, high, cell, most, width }) {
  const every = Math.max(Math.ceil(13 / cell.height), 1);
  map.rows.forEach((name, i) => {
    if (i % every) return;
    svg(element, "text", { class: "tick", x: left - 5, y: high - (i + 0.5) * cell.height + 5, "text-anchor": "end" }, shortened(name, most));
  });
  map.columns.forEach((name, j) => {
    if (j % every) return;
    const at = left + (j + 0.5) * cell.width + 4;
    svg(element, "text", { class: "tick", "text-anchor": "end", transform: `translate(${at} ${high + 7}) rotate(-90)` }, shortened(name, most));
  });
  svg(element, "text", { transform: `translate(11 ${high / 2}) rotate(-90)`, "text-anchor": "middle" }, shortened(map.a, Math.max(Math.floor(high / 7), 8)));
  const middle = left + (cell.width * map.columns.length) / 2;
  svg(element, "text", { x: middle, y: element.viewBox.baseVal.height - 3, "text-anchor": "middle" }, shortened(map.b, Math.floor(width / 8)));
}
