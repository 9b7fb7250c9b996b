for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const chart = JSON.parse(document.getElementById(svg.dataset.chart).textContent);
  const legend = svg.parentElement.querySelector(".legend");
  const values = [...legend.querySelectorAll("b")];
  const when = legend.querySelector("em");
  const cross = svg.querySelector(".cross");
  const last = values.map((b) => b.textContent);
  const show = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.width;
    const share = (x - chart.left) / (chart.right - chart.left);
    const n = Math.max(0, Math.min(chart.times.length - 1, Math.round(share * (chart.times.length - 1))));
    const at = chart.left + (n / Math.max(1, chart.times.length - 1)) * (chart.right - chart.left);
    cross.setAttribute("x1", at);
    cross.setAttribute("x2", at);
    cross.style.visibility = "visible";
    when.textContent = chart.times[n];
    values.forEach((b, i) => (b.textContent = chart.series[i][n]));
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerleave", () => {
    cross.style.visibility = "hidden";
    when.textContent = "";
    values.forEach((b, i) => (b.textContent = last[i]));
  });
}
for (const head of document.querySelectorAll("th[data-sort]")) {
  head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const column = [...head.parentElement.children].indexOf(head);
    const down = head.dataset.sort !== "down";
    head.dataset.sort = down ? "down" : "up";
    const key = (row) => row.children[column].dataset.v ?? row.children[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      const order = Number.isNaN(Number(x)) || Number.isNaN(Number(y)) ? x.localeCompare(y) : Number(x) - Number(y);
      return down ? -order : order;
    });
    body.append(...rows);
  });
}
