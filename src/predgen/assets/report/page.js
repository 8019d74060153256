"use strict";
// The error browser's filters. Texts are set as text, never as markup.
(() => {
  const PAGE = 20;
  const find = (id) => document.getElementById(id);
  const list = find("error-list");
  if (!list) return;
  const { sets, texts } = JSON.parse(find("error-data").textContent);
  const task = find("error-task"), variant = find("error-variant"), only = find("error-only"), more = find("error-more");
  const ALL = "";
  let rows = [];
  let shown = 0;

  const element = (name, classes, text) => {
    const made = document.createElement(name);
    if (classes) made.className = classes;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const answers = (target, value, isError, error, interval, flags) => {
    const line = element("p", "answers", "Target ");
    line.append(element("bdi", "chip", target), " predicted ");
    line.append(element("bdi", isError ? "chip wrong" : "chip", value === null ? "nothing readable" : value));
    if (error) line.append(` error ${error}`);
    if (interval) line.append(" ", element("span", "quiet", `90 % interval ${interval}`));
    for (const flag of flags) line.append(" ", element("span", "flag", flag));
    return line;
  };

  const bars = (top) => {
    const made = element("ul", "bars");
    made.setAttribute("aria-label", "Most probable answers");
    for (const [answer, p] of top) {
      const item = element("li"), bar = element("span", "bar");
      bar.style.setProperty("--p", `${(100 * p).toFixed(1)}%`);
      item.append(element("bdi", "", answer), " ", bar, " ", element("span", "n", p.toFixed(2)));
      made.append(item);
    }
    return made;
  };

  const card = ([set, [row, target, value, , isError, error, top, interval, flags]]) => {
    const item = element("li"), article = element("article"), title = element("h3", "", `${set.task}, row ${row} `);
    title.append(element("span", "quiet", set.variant));
    article.append(title, answers(target, value, isError, error, interval, flags));
    if (top.length) article.append(bars(top));
    const fields = (texts[set.task] || {})[row] || [];
    for (const [name, text] of fields) {
      const line = element("p", "text");
      line.append(element("b", "", name), " ", element("bdi", "", text));
      article.append(line);
    }
    if (!fields.length) article.append(element("p", "quiet", "The text of this row was not passed on."));
    item.append(article);
    return item;
  };

  const showMore = () => {
    const first = shown;
    list.append(...rows.slice(shown, shown + PAGE).map(card));
    shown = Math.min(rows.length, shown + PAGE);
    more.hidden = shown >= rows.length;
    find("error-count").value = `${shown} of ${rows.length} rows shown`;
    return list.children[first];
  };

  const filter = () => {
    const kept = sets.filter((s) => s.task === task.value && [s.variant, ALL].includes(variant.value));
    rows = kept.flatMap((set) => set.rows.filter((row) => !only.checked || row[4]).map((row) => [set, row]));
    rows.sort((a, b) => b[1][3] - a[1][3]);
    list.replaceChildren();
    shown = 0;
    showMore();
  };

  const listVariants = () => {
    const before = variant.value;
    const names = sets.filter((s) => s.task === task.value).map((s) => s.variant);
    const option = (name) => {
      const made = element("option", "", name === ALL ? "all methods" : name);
      made.value = name;
      return made;
    };
    variant.replaceChildren(...[...names, ALL].map(option));
    if (names.includes(before)) variant.value = before;
  };

  task.addEventListener("change", () => { listVariants(); filter(); });
  variant.addEventListener("change", filter);
  only.addEventListener("change", filter);
  more.addEventListener("click", () => {
    const next = showMore();
    if (next) { next.tabIndex = -1; next.focus(); }
  });
  find("error-filters").addEventListener("submit", (event) => event.preventDefault());
  listVariants();
  find("error-filters").hidden = false;
  filter();
})();

// A box that scrolls is a stop for the Tab key; one that shows all of its table need not be.
(() => {
  const boxes = [...document.querySelectorAll(".scroll")];
  const settle = () => {
    const wide = boxes.map((box) => box.scrollWidth > box.clientWidth);
    boxes.forEach((box, i) => { if (wide[i]) box.tabIndex = 0; else box.removeAttribute("tabindex"); });
  };
  addEventListener("resize", settle);
  document.addEventListener("toggle", settle, true);
  settle();
})();

// Older browsers print what is closed as closed.
(() => {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
})();
