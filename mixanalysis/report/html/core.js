const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
root.classList.add("js");

/** An element with attributes and children; text is text, never markup. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The same in SVG, appended to its parent. */
function svg(parent, tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** A number in few characters. */
function brief(value, digits = 3) {
  if (value === null) return "undefined";
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) return value.toExponential(digits - 1).replace(/\.?0+e\+?/, "e");
  return String(Number(value.toPrecision(Math.max(digits, Math.abs(value) >= 100 ? 6 : digits))));
}

/** A CKA value with its interval. */
function withInterval(value, low, high) {
  if (value === null) return "undefined";
  return value.toFixed(3) + (low === null || high === null ? "" : ` (${low.toFixed(3)} to ${high.toFixed(3)})`);
}

// ---- theme: the reader's system decides until they do; storage may be forbidden

function remembered() {
  try { return localStorage.getItem("mixanalysis-theme"); } catch { return null; }
}

function remember(theme) {
  try { localStorage.setItem("mixanalysis-theme", theme); } catch { /* it lasts as long as the page */ }
}

{
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => button.setAttribute("aria-pressed", String(dark()));
  const kept = remembered();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remember(root.dataset.theme);
    tell();
  });
  system.addEventListener("change", tell);
  tell();
}

// ---- the tip that tells a value; being a status, it is read aloud too

const tip = document.getElementById("tip");
let tipPlace = null;

/** Show a text at the point of the window that `place` returns, also after scrolling. */
function showTip(text, place) {
  if (tip.textContent !== text) tip.textContent = text;
  tipPlace = place;
  tip.classList.add("shown");
  placeTip();
}

function placeTip() {
  if (!tipPlace) return;
  const { x, y } = tipPlace(), box = tip.getBoundingClientRect();
  const below = y - box.height - 12 < 0;
  tip.style.left = `${clamp(x - box.width / 2, 4, Math.max(root.clientWidth - box.width - 4, 4))}px`;
  tip.style.top = `${below ? y + 16 : y - box.height - 12}px`;
}

function hideTip() {
  tipPlace = null;
  tip.classList.remove("shown");
  tip.textContent = "";
}

/**
 * Let a picture tell its values on hover, tap and keys.
 * @param picture the svg element
 * @param items [{x, y, width, height, text}] in the units of its view box
 * @param find (x, y) -> index of the item there, or -1
 * @param step (index, key) -> index that an arrow key leads to
 */
function telling(picture, items, find, step = along) {
  const cursor = svg(picture, "rect", { class: "cursor", visibility: "hidden" });
  let current = -1;
  const place = () => {
    const view = picture.viewBox.baseVal, box = picture.getBoundingClientRect();
    return { box, scale: box.width / view.width };
  };
  const leave = () => {
    cursor.setAttribute("visibility", "hidden");
    hideTip();
  };
  const select = (index) => {
    if (index < 0 || index >= items.length) return leave();
    current = index;
    const item = items[index];
    for (const name of ["x", "y", "width", "height"]) cursor.setAttribute(name, item[name]);
    cursor.setAttribute("visibility", "visible");
    showTip(item.text, () => {
      const { box, scale } = place();
      return { x: box.left + (item.x + item.width / 2) * scale, y: box.top + item.y * scale };
    });
  };
  const at = (event) => {
    const { box, scale } = place();
    select(find((event.clientX - box.left) / scale, (event.clientY - box.top) / scale));
  };
  picture.addEventListener("pointermove", at);
  picture.addEventListener("click", at);
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("blur", leave);
  picture.addEventListener("focus", () => { if (picture.matches(":focus-visible")) select(Math.max(current, 0)); });
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return leave();
    if (!/^(Arrow|Home$|End$)/.test(event.key)) return;
    event.preventDefault();
    const next = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : step(Math.max(current, 0), event.key);
    select(clamp(next, 0, items.length - 1));
  });
}

function along(index, key) {
  return index + (key === "ArrowRight" || key === "ArrowUp" ? 1 : -1);
}

addEventListener("scroll", placeTip, { passive: true, capture: true });

/** Draw into a box, and again whenever its width changes. */
function drawn(box, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (box.clientWidth === width || !box.clientWidth) return;
    width = box.clientWidth;
    const held = box.contains(document.activeElement);
    box.replaceChildren();
    draw(width);
    if (held) box.querySelector("svg")?.focus();
  }).observe(box);
  width = box.clientWidth || 640;
  draw(width);
}
