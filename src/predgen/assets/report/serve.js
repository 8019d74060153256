"use strict";
// A row of text, and what a model says about it while it is typed. Texts are set as text, never as markup.
(() => {
  const PAUSE_MS = 300, MOST_BARS = 12, MOST_CELLS = 60, WIDTH = 320, HEIGHT = 120, SHOWN_FROM = 0.05, COVERAGE = 0.9;
  const SVG = "http://www.w3.org/2000/svg";
  const KINDS = {
    noul: ["yes or no", null], choice: ["a choice", "Options, one a line"], score: ["a score", "Levels, one a line, the lowest first"],
    number: ["a number", "Lowest number, highest number, step; one a line"],
  };
  const find = (id) => document.getElementById(id);
  let key = "", models = [], last = null, timer = 0;

  const element = (name, classes, ...content) => {
    const made = document.createElement(name);
    if (classes) made.className = classes;
    made.append(...content);
    return made;
  };
  const drawn = (name, attributes) => {
    const made = document.createElementNS(SVG, name);
    for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
    return made;
  };
  const figure = (x) => (x === null || x === undefined ? "open" : String(Number(x.toPrecision(4))));
  const chosen = () => models.find((model) => model.id === find("model").value);

  const trouble = (text) => {
    find("trouble").textContent = text;
    find("trouble").hidden = !text;
  };

  const call = async (path, body, signal) => {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
    const data = await answer.json().catch(() => ({}));
    if (!answer.ok) throw Object.assign(new Error(data.message || `The server answered ${answer.status}.`), { status: answer.status });
    return data;
  };

  // Fields

  const field = (name, label, rows) => {
    const area = element("textarea");
    Object.assign(area, { id: `field-${name}`, name, rows, dir: "auto" });
    const caption = element("label", "", element("bdi", "", label));
    caption.htmlFor = area.id;
    return element("p", "field", caption, area);
  };

  const showOptions = () => {
    const [, label] = KINDS[find("field-kind").value];
    find("options-line").hidden = !label;
    find("options-line").querySelector("label").textContent = label || "";
  };

  const questionFields = () => {
    const kind = element("select");
    kind.id = "field-kind";
    for (const [name, [words]] of Object.entries(KINDS)) kind.append(new Option(words, name));
    kind.addEventListener("change", showOptions);
    const caption = element("label", "", "Answer with ");
    caption.htmlFor = kind.id;
    const options = field("options", "", 3);
    options.id = "options-line";
    return [field("state", "Text", 4), field("question", "Question", 1), element("p", "", caption, kind), options];
  };

  const showModel = () => {
    const model = chosen(), isBase = model.kind === "questions";
    find("model-facts").textContent = isBase ? "a base: it answers any question, untrained" : `predicts ${model.target}`;
    find("fields").replaceChildren(...(isBase ? questionFields() : model.fields.map((name) => field(name, name, 3))));
    if (isBase) showOptions();
    const explains = model.kind === "classification" || model.kind === "regression";
    find("go").textContent = explains ? "Show what the words contribute" : "Ask";
    find("hint").textContent = explains ? "The answer follows what you type." : "";
    find("answer").hidden = true;
    trouble("");
  };

  // Answers

  const bars = (pairs) => {
    const list = element("ul", "bars");
    list.setAttribute("aria-label", "Probabilities");
    for (const [name, p] of pairs.sort((a, b) => b[1] - a[1]).slice(0, MOST_BARS)) {
      const bar = element("span", "bar");
      bar.style.setProperty("--p", `${(100 * p).toFixed(1)}%`);
      list.append(element("li", "", element("bdi", "", name), " ", bar, " ", element("span", "n", p.toFixed(2))));
    }
    return list;
  };

  const cells = (support, probabilities) => {
    if (support.length <= MOST_CELLS) return support.map((x, i) => [x, probabilities[i]]);
    const low = support[0], width = (support[support.length - 1] - low) / MOST_CELLS;
    const found = Array.from({ length: MOST_CELLS }, (_, i) => [low + (i + 0.5) * width, 0]);
    support.forEach((x, i) => { found[Math.min(MOST_CELLS - 1, Math.floor((x - low) / width))][1] += probabilities[i]; });
    return found;
  };

  const curve = ({ support, probabilities, mean }, interval) => {
    const points = cells(support, probabilities), top = Math.max(...points.map(([, p]) => p));
    const low = support[0], high = support[support.length - 1];
    const x = (value) => 8 + ((value - low) / (high - low || 1)) * (WIDTH - 16), y = (p) => HEIGHT - (p / top) * (HEIGHT - 10);
    const words = `Probabilities of numbers from ${figure(low)} to ${figure(high)}, mean ${figure(mean)}`;
    const image = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 20}`, role: "img", "aria-label": words, class: "curve" });
    if (interval) {
      const [from, to] = [x(interval.lower ?? low), x(interval.upper ?? high)].map((at) => Math.min(WIDTH - 8, Math.max(8, at)));
      image.append(drawn("rect", { x: from, y: 0, width: Math.max(1, to - from), height: HEIGHT, class: "inside" }));
    }
    const line = points.map(([at, p], i) => `${i ? "L" : "M"}${x(at).toFixed(1)} ${y(p).toFixed(1)}`).join("");
    image.append(drawn("path", { d: `${line}L${x(points.at(-1)[0])} ${HEIGHT}L${x(points[0][0])} ${HEIGHT}Z`, class: "amount" }));
    image.append(drawn("path", { d: line, class: "line c0" }), drawn("path", { d: `M8 ${HEIGHT}H${WIDTH - 8}`, class: "zero" }));
    for (const [value, anchor] of [[low, "start"], [high, "end"]]) {
      const text = drawn("text", { x: x(value), y: HEIGHT + 15, "text-anchor": anchor });
      text.append(figure(value));
      image.append(text);
    }
    return image;
  };

  const show = (value, interval, ...distribution) => {
    find("value").replaceChildren(element("bdi", "chip", value));
    find("interval").textContent = interval;
    find("distribution").replaceChildren(...distribution);
    find("answer").hidden = false;
  };

  const showPrediction = ({ value, probabilities, distribution, interval, set, flags }) => {
    const words = typeof value === "number" && distribution ? figure(value) : value === null ? "nothing readable" : String(value);
    const promised = interval ? `90 % interval: ${figure(interval.lower)} to ${figure(interval.upper)}` : set ? `90 % set: ${set.join(", ")}` : "";
    const shown = probabilities ? [bars(Object.entries(probabilities))] : distribution ? [curve(distribution, interval)] : [];
    show(words, [promised, ...flags.map((flag) => flag.replaceAll("_", " "))].filter(Boolean).join("; "), ...shown);
  };

  const showAnswer = (one) => {
    find("words").replaceChildren();
    if (one.type === "refusal") show("refused", "The model is not sure enough.");
    else if (one.type === "noul") show(one.noul >= 0.5 ? "yes" : "no", "", bars([["yes", one.noul], ["no", 1 - one.noul]]));
    else if (one.type === "choice") show(String(one.choice), `confidence ${figure(one.confidence)}`, bars(Object.entries(one.probabilities)));
    else if (one.type === "score") {
      const pairs = Object.entries(one.probabilities).map(([level, p]) => [one.legend[level], p]);
      show(figure(one.score), `confidence ${figure(one.confidence)}; levels count from 0`, bars(pairs));
    } else show(figure(one.value), Object.entries(one.quantiles).map(([level, x]) => `${level}: ${figure(x)}`).join("; "));
  };

  const showWords = ({ fields, words, unit, answer }) => {
    const largest = Math.max(0, ...words.map((word) => Math.abs(word.drop)));
    const shown = Object.entries(fields).map(([name, text]) => {
      const letters = [...text], line = element("p", "text spoken"); // places count code points
      line.dir = "auto";
      let at = 0;
      for (const word of words.filter((one) => one.field === name)) {
        line.append(letters.slice(at, word.start).join(""));
        const share = largest ? Math.abs(word.drop) / largest : 0;
        const kind = share < SHOWN_FROM ? "" : word.drop > 0 ? " for" : " against";
        const made = element("span", `word${kind}`, word.text);
        made.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
        made.title = `${word.drop > 0 ? "+" : ""}${figure(word.drop)} ${unit}`;
        line.append(made);
        at = word.end;
      }
      line.append(letters.slice(at).join(""));
      return line;
    });
    const strongest = [...words].sort((a, b) => Math.abs(b.drop) - Math.abs(a.drop)).slice(0, 5);
    const listed = element("ul", "notes", ...strongest.map((one) => element("li", "", element("bdi", "", one.text), ` ${one.drop > 0 ? "+" : ""}${figure(one.drop)} ${unit}`)));
    const title = element("h3", "", typeof answer === "string" ? `What the words do for “${answer}”` : "What the words do to the number");
    find("words").replaceChildren(title, ...shown, listed);
  };

  // Asking: a new question ends the one before, on the server, too.

  const ask = async (explains) => {
    clearTimeout(timer);
    if (last) last.abort();
    const mine = (last = new AbortController()), model = chosen();
    const row = Object.fromEntries([...document.querySelectorAll("#fields textarea")].map((area) => [area.name, area.value]));
    try {
      if (model.kind === "questions") {
        const kind = find("field-kind").value, lines = (row.options || "").split("\n").map((one) => one.trim()).filter(Boolean);
        const question = { type: kind, instructions: row.question };
        if (kind === "choice") question.criteria = Object.fromEntries(lines.map((one) => [one, null]));
        if (kind === "score") question.criteria = lines;
        if (kind === "number") Object.assign(question, { minimum: Number(lines[0]), maximum: Number(lines[1]), step: Number(lines[2] || 1) });
        const told = await call("v1/systemone", { model: model.id, state: row.state, questions: { question } }, mine.signal);
        showAnswer(told.answers.question);
      } else {
        const promise = model.calibrated ? { coverage: COVERAGE } : {};
        const told = await call("predict", { model: model.id, rows: [row], ...promise }, mine.signal);
        find("words").replaceChildren();
        showPrediction(told.predictions[0]);
        if (explains) showWords(await call("explain", { model: model.id, row }, mine.signal));
      }
      trouble("");
    } catch (error) {
      if (error.name !== "AbortError") trouble(error.message);
    }
  };

  const start = async () => {
    try {
      models = (await call("v1/models")).data;
    } catch (error) {
      find("key-form").hidden = error.status !== 401;
      trouble(error.status === 401 && !key ? "" : error.message);
      if (error.status === 401) find("key").focus();
      return;
    }
    find("key-form").hidden = true;
    find("model").replaceChildren(...models.map((model) => new Option(model.id)));
    find("row-form").hidden = false;
    showModel();
    find("fields").querySelector("textarea").focus();
  };

  find("key-form").addEventListener("submit", (event) => { event.preventDefault(); key = find("key").value; start(); });
  find("model").addEventListener("change", showModel);
  find("row-form").addEventListener("submit", (event) => { event.preventDefault(); ask(chosen().kind !== "math"); });
  find("fields").addEventListener("input", () => {
    clearTimeout(timer);
    if (chosen().kind !== "questions") timer = setTimeout(() => ask(false), PAUSE_MS);
  });
  find("fields").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); find("row-form").requestSubmit(); }
  });
  start();
})();
