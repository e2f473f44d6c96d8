// Sorting of tables by the button in a column's head, and, on a sector's page, the horizon and the plots of one factor.
"use strict";
const minus = text => text.replace("-", "−");
const missing = value => value === null || value === undefined;
const fixed = (value, digits, sign) => {
  if (missing(value)) return "–";
  const text = value.toFixed(digits), zero = Number(text) === 0;
  return minus((sign && value > 0 && !zero ? "+" : "") + (zero ? text.replace("-", "") : text));
};
const percent = (value, digits, sign) => missing(value) ? "–" : fixed(100 * value, digits, sign) + "%";

function sortBy(button, descending) {
  const head = button.closest("th"), table = button.closest("table"), body = table.tBodies[0];
  const column = head.cellIndex, rows = Array.from(body.rows);
  const key = row => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
  const numeric = head.dataset.kind !== "text";
  const value = row => numeric ? (key(row) === "" ? null : Number(key(row))) : key(row);
  const magnitude = head.dataset.kind === "magnitude" ? Math.abs : each => each;
  rows.sort((one, other) => {
    const a = value(one), b = value(other);
    if (a === null || b === null) return (a === null) - (b === null);
    const order = numeric ? magnitude(a) - magnitude(b) : a.localeCompare(b);
    return descending ? -order : order;
  });
  body.append(...rows);
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), sorted = head.getAttribute("aria-sort");
    sortBy(button, sorted === null ? head.dataset.kind !== "text" : sorted === "ascending");
  });
}

const source = document.getElementById("factors");
if (source !== null) {
  const data = JSON.parse(source.textContent), columns = data.columns;
  const rows = Array.from(document.querySelectorAll("#overview tbody tr"));
  const heads = Array.from(document.querySelectorAll("#overview th"), head => head.dataset.figure);
  const detail = document.getElementById("detail"), chooser = document.getElementById("horizon");
  let chosen = null;

  const figure = (factor, horizon, name) => {
    const values = factor.by_horizon[horizon];
    return values === undefined ? null : values[columns.indexOf(name)];
  };
  const spread = (factor, horizon) => {
    const top = figure(factor, horizon, "quantile_5"), bottom = figure(factor, horizon, "quantile_1");
    return missing(top) || missing(bottom) ? null : top - bottom;
  };
  const CELLS = {
    ic: (factor, h) => [figure(factor, h, "ic"), value => fixed(value, 3, true)],
    ic_t: (factor, h) => [figure(factor, h, "ic_t"), value => fixed(value, 1, true)],
    ratio: (factor, h) => {
      const ic = figure(factor, h, "ic"), std = figure(factor, h, "ic_std");
      return [missing(ic) || !std ? null : ic / std, value => fixed(value, 2, true)];
    },
    spread: (factor, h) => [spread(factor, h), value => percent(value, 2, true)],
    top_turnover: (factor, h) => [figure(factor, h, "top_turnover"), value => percent(value, 0)],
    rank_autocorrelation: (factor, h) => [figure(factor, h, "rank_autocorrelation"), value => fixed(value, 2)],
    names: (factor, h) => [figure(factor, h, "names"), value => fixed(value, 0)],
  };

  function svg(name, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // Bars around zero with the value above each, and a line of two standard errors to both sides where there is one.
  function bars(place, title, labels, values, errors, show) {
    const width = 340, height = 190, top = 34, bottom = 22, shown = values.map(value => value ?? 0);
    const reach = (sign, index) => shown[index] + sign * 2 * (errors[index] ?? 0);
    const high = Math.max(0, ...shown.map((_, i) => reach(1, i))), low = Math.min(0, ...shown.map((_, i) => reach(-1, i)));
    const scale = (height - top - bottom - 26) / (high - low || 1), y = value => top + 10 + (high - value) * scale;
    const step = width / labels.length, bar = Math.min(step * 0.62, 46);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
      `${title}: ${labels.map((label, i) => `${label} ${show(values[i])}`).join(", ")}` });
    picture.append(svg("text", { x: 0, y: 13, class: "title" }, title));
    labels.forEach((label, i) => {
      const x = step * (i + 0.5), value = values[i];
      picture.append(svg("text", { x, y: height - 5, class: "tick" }, label));
      if (missing(value)) return;
      picture.append(svg("rect", { x: x - bar / 2, width: bar, y: y(Math.max(value, 0)), height: Math.max(Math.abs(value) * scale, 0.5),
        class: value < 0 ? "negative" : "positive" }));
      if (!missing(errors[i])) picture.append(svg("line", { x1: x, x2: x, y1: y(reach(1, i)), y2: y(reach(-1, i)), class: "error" }));
      const end = value < 0 ? Math.min(reach(-1, i), value) : Math.max(reach(1, i), value);
      picture.append(svg("text", { x, y: y(end) + (value < 0 ? 11 : -4), class: labels.length > 8 ? "small" : "value" }, show(value)));
    });
    picture.append(svg("line", { x1: 0, x2: width, y1: y(0), y2: y(0), class: "zero" }));
    place.replaceChildren(picture);
  }

  // Lines over the months with a legend; null where a month has no value.
  function lines(place, title, months, series, show) {
    const width = 340, height = 190, top = 40, bottom = 22, left = 40, right = 6;
    const all = series.flatMap(each => each.values).filter(value => !missing(value));
    if (all.length < 2 || months.length < 2) { place.replaceChildren(); return; }
    const high = Math.max(0, ...all), low = Math.min(0, ...all), scale = (height - top - bottom) / (high - low || 1);
    const y = value => top + (high - value) * scale, x = i => left + i * (width - left - right) / (months.length - 1);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, ${months[0]} to ${months[months.length - 1]}` });
    picture.append(svg("text", { x: 0, y: 13, class: "title" }, title));
    let at = left;
    for (const each of series) {
      picture.append(svg("line", { x1: at, x2: at + 14, y1: 27, y2: 27, class: "line", style: `stroke: ${each.color}` }));
      picture.append(svg("text", { x: at + 18, y: 30, class: "legend" }, each.label));
      at += 26 + 5.4 * each.label.length;
    }
    for (const value of high > 0 && low < 0 ? [high, 0, low] : [high, low]) picture.append(svg("text", { x: left - 4, y: y(value) + 3, class: "right" }, show(value)));
    picture.append(svg("line", { x1: left, x2: width - right, y1: y(0), y2: y(0), class: "zero" }));
    for (const each of series) {
      let path = "", pen = "M";
      each.values.forEach((value, i) => {
        if (missing(value)) { pen = "M"; return; }
        path += `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = "L";
      });
      picture.append(svg("path", { d: path, class: "line", style: `stroke: ${each.color}` }));
    }
    picture.append(svg("text", { x: left, y: height - 5, class: "legend" }, months[0]));
    picture.append(svg("text", { x: width - right, y: height - 5, class: "right" }, months[months.length - 1]));
    place.replaceChildren(picture);
  }

  const TRAILING = 12;
  function trailing(values) {
    return values.map((_, i) => {
      const given = values.slice(Math.max(0, i + 1 - TRAILING), i + 1).filter(value => !missing(value));
      return given.length < TRAILING / 2 ? null : given.reduce((sum, value) => sum + value, 0) / given.length;
    });
  }

  function drawMonths(factor) {
    const found = factor.by_month, horizon = data.months_horizon, places = [".months", ".growth"].map(name => detail.querySelector(name));
    if (missing(found)) { for (const each of places) each.replaceChildren(); return; }
    lines(places[0], `IC by month, ${horizon} sessions`, data.months, [
      { label: "month", color: "color-mix(in srgb, var(--muted) 55%, transparent)", values: found.ic },
      { label: `mean of up to ${TRAILING} months`, color: "var(--accent)", values: trailing(found.ic) },
    ], value => fixed(value, 2, true));
    const sums = [0, 0, 0, 0, 0], tones = ["var(--loss)", "color-mix(in srgb, var(--loss) 45%, transparent)", "var(--muted)",
      "color-mix(in srgb, var(--accent) 45%, transparent)", "var(--accent)"];
    const grown = found.quantiles.map(each => missing(each) ? null : each.map((value, q) => sums[q] += value * 21 / horizon));
    lines(places[1], "Return by quantile, added up, minus the mean", data.months, ["lowest", "2", "3", "4", "highest"].map((label, q) =>
      ({ label, color: tones[q], values: grown.map(each => missing(each) ? null : each[q]) })), value => percent(value, 0, true));
  }

  function cells(tag, texts) {
    const row = document.createElement("tr");
    for (const text of texts) {
      const cell = document.createElement(tag);
      cell.textContent = text;
      if (tag === "th") cell.scope = "col";
      row.append(cell);
    }
    return row;
  }

  function show(index) {
    chosen = index;
    const factor = data.factors[index], horizons = Object.keys(factor.by_horizon);
    const own = factor.by_horizon[chooser.value] === undefined ? horizons[0] : chooser.value;
    const of = name => horizons.map(horizon => figure(factor, horizon, name));
    detail.querySelector("h2").textContent = factor.factor;
    detail.querySelector(".meaning").textContent = factor.meaning;
    bars(detail.querySelector(".decay"), "IC by horizon in sessions, ± 2 standard errors", horizons, of("ic"), of("ic_standard_error"),
      value => fixed(value, 3, true));
    const quantiles = [1, 2, 3, 4, 5].map(number => figure(factor, own, `quantile_${number}`));
    bars(detail.querySelector(".quantiles"), `Return of ${own} sessions by quantile, minus the mean`,
      ["lowest", "2", "3", "4", "highest"], quantiles, [], value => percent(value, 2, true));
    bars(detail.querySelector(".years"), `IC by year, ${own} sessions`, data.years.map(year => year.slice(2)),
      factor.by_year[own] ?? [], [], value => fixed(value, 2));
    drawMonths(factor);
    const body = detail.querySelector("tbody");
    body.replaceChildren(...horizons.map(horizon => cells("td", [
      horizon, fixed(figure(factor, horizon, "ic"), 4, true), fixed(figure(factor, horizon, "ic_standard_error"), 4),
      fixed(figure(factor, horizon, "ic_t"), 2, true), fixed(figure(factor, horizon, "ic_std"), 3),
      ...[1, 2, 3, 4, 5].map(number => percent(figure(factor, horizon, `quantile_${number}`), 2, true)),
      percent(figure(factor, horizon, "top_turnover"), 0), percent(figure(factor, horizon, "bottom_turnover"), 0),
      fixed(figure(factor, horizon, "rank_autocorrelation"), 3), fixed(figure(factor, horizon, "ic_sessions"), 0),
    ])));
    for (const row of rows) row.removeAttribute("aria-current");
    rows.find(row => Number(row.dataset.factor) === index).setAttribute("aria-current", "true");
    detail.hidden = false;
  }

  function fill() {
    for (const row of rows) {
      const factor = data.factors[Number(row.dataset.factor)];
      heads.forEach((name, column) => {
        if (name === "") return;
        const [value, text] = CELLS[name](factor, chooser.value);
        row.cells[column].dataset.v = value ?? "";
        row.cells[column].textContent = text(value);
      });
    }
    const sorted = document.querySelector("#overview th[aria-sort] button");
    if (sorted !== null) sortBy(sorted, sorted.closest("th").getAttribute("aria-sort") === "descending");
    if (chosen !== null) show(chosen);
  }

  for (const row of rows) row.querySelector("button").addEventListener("click", () => show(Number(row.dataset.factor)));
  document.getElementById("search").addEventListener("input", event => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  });
  chooser.addEventListener("change", fill);
  document.getElementById("controls").hidden = false;
  fill();
  const named = decodeURIComponent(location.hash.slice(1)), asked = data.factors.findIndex(factor => factor.factor === named);
  if (rows.length > 0) show(asked >= 0 ? asked : Number(rows[0].dataset.factor));
}
