document.documentElement.classList.add("js");

// A click on a column's head sorts its table: numbers by value, the rest by name; cells without a value come last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const direction = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    const sign = direction === "ascending" ? 1 : -1;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction);
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [row.cells[column].dataset.v, row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = head.classList.contains("name") ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
      return sign * order;
    });
    body.append(...rows.map(([, row]) => row));
  }));
}

// One slider moves all panes of an image through its views.
for (const card of document.querySelectorAll(".case")) {
  const slider = card.querySelector("input[type=range]");
  if (!slider) continue;
  const steps = [...card.querySelectorAll(".steps button")];
  const show = () => {
    const at = Number(slider.value);
    card.querySelectorAll(".view").forEach((view) => view.classList.toggle("on", Number(view.dataset.step) === at));
    steps.forEach((step, i) => step.setAttribute("aria-pressed", String(i === at)));
    slider.setAttribute("aria-valuetext", steps[at].textContent);
  };
  slider.addEventListener("input", show);
  steps.forEach((step, i) => step.addEventListener("click", () => { slider.value = i; show(); }));
  show();
}
