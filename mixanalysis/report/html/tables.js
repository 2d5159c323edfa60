/** Order of two cells: numbers by value, text by language, what is undefined last whatever the direction. */
function order(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const difference = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  return sign * difference;
}

function key(row, index) {
  const cell = row.cells[index];
  if (!("v" in cell.dataset)) return cell.textContent;
  return cell.dataset.v === "" ? "" : Number(cell.dataset.v);
}

for (const part of document.querySelectorAll("[data-table]")) {
  const body = part.querySelector("tbody"), heads = [...part.querySelectorAll("thead th")];
  const original = [...body.rows].filter((row) => row.cells.length === heads.length);
  const count = part.querySelector("output"), filter = part.querySelector("input");

  heads.forEach((head, index) => {
    head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      body.append(...[...original].sort((a, b) => order(key(a, index), key(b, index), sign)));
    });
  });

  const narrow = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of original) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    const every = `${original.length} ${original.length === 1 ? "row" : "rows"}`;
    count.textContent = words.length ? `${shown} of ${every}` : every;
  };
  filter.addEventListener("input", narrow);
  narrow();
}
