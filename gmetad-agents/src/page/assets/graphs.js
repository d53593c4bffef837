// Draws the graphs of a page with uPlot from /api/v1/agents/NAME/series: periods, zoom by dragging (which fetches finer data),
// a legend with last, least, mean and largest value of what is seen, unknown as a gap.
(() => {
  "use strict";
  const french = document.documentElement.lang === "fr";
  const locale = french ? "fr" : "en-GB";
  const texts = document.getElementById("graphs").dataset;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const HEIGHT = 220;
  const THIN = "\u202f";

  const plain = (value, digits = 4) =>
    value === 0 ? "0" : new Intl.NumberFormat(locale, { maximumSignificantDigits: digits, useGrouping: false }).format(value);
  const duration = (s) => {
    const size = Math.abs(s);
    if (size < 1e-3 && size > 0) return plain(s * 1e6) + THIN + "µs";
    if (size < 1 && size > 0) return plain(s * 1e3) + THIN + "ms";
    if (size < 120) return plain(s) + THIN + "s";
    if (size < 7200) return plain(s / 60) + THIN + "min";
    if (size < 172800) return plain(s / 3600) + THIN + "h";
    return plain(s / 86400) + THIN + (french ? "j" : "d");
  };
  const show = (value, unit) => {
    if (value == null) return "–";
    const bytes = /^B(\/s)?$/.exec(unit);
    if (bytes) {
      let prefix = 0;
      while (Math.abs(value) >= 1023.5 && prefix < 5) { value /= 1024; prefix++; }
      return plain(value) + THIN + ["", "Ki", "Mi", "Gi", "Ti", "Pi"][prefix] + (french ? "o" : "B") + (bytes[1] || "");
    }
    if (unit === "s") return duration(value);
    if (unit === "1/s") unit = "/s";
    const size = Math.abs(value);
    if (size >= 1e5 || (size > 0 && size < 1e-3)) {
      const power = Math.max(-4, Math.min(5, Math.floor(Math.log10(size) / 3)));
      return plain(value / 1000 ** power) + THIN + ["p", "n", "µ", "m", "", "k", "M", "G", "T", "P"][power + 4] + unit;
    }
    return unit ? plain(value) + THIN + unit : plain(value);
  };

  // Steps of an axis that are round in the unit's own prefixes.
  const doubling = Array.from({ length: 60 }, (_, power) => 2 ** power);
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const mix = (colour, alpha) => colour + Math.round(alpha * 255).toString(16).padStart(2, "0");

  const format = (options) => new Intl.DateTimeFormat(locale, options);
  const clock = format({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const seconds = format({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const day = format({ day: "numeric", month: "short" });
  const month = format({ month: "short", year: "numeric" });
  const full = format({ weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const timeLabels = (u, splits, axis, space, incr) =>
    splits.map((split) => {
      const date = new Date(split * 1000);
      if (incr >= 28 * 86400) return month.format(date);
      if (incr >= 86400 || (date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0)) return day.format(date);
      return (incr < 60 ? seconds : clock).format(date);
    });

  // The period chosen last is that of the address, and of ways from here.
  const remember = (period) => {
    const with_it = (address) => {
      const url = new URL(address, location);
      url.searchParams.set("period", period);
      return url.pathname + url.search;
    };
    history.replaceState(null, "", with_it(location));
    for (const link of document.querySelectorAll(".languages a, .which a")) link.href = with_it(link.href);
  };

  // All graphs of a page show one time: what was zoomed to, or else the period that was chosen, until now.
  const periods = [...document.querySelectorAll("figure.graph .periods a")];
  let span = Number(periods.find((link) => link.hasAttribute("aria-current"))?.dataset.seconds) || 86400;
  let zoom = null;

  // Those out of sight follow when they come into it.
  const showAll = (time) => {
    zoom = time;
    for (const chart of charts) {
      chart.back.hidden = !zoom;
      chart.stale = true;
      if (chart.visible) chart.load();
    }
  };
  const unzoom = () => showAll(null);
  const zoomTo = (from, to) => {
    // No finer than a minute: nothing is measured more often than every second.
    const middle = (from + Math.min(to, Date.now() / 1000)) / 2;
    const half = Math.max(30, middle - from);
    showAll([Math.floor(middle - half), Math.ceil(middle + half)]);
  };
  const choose = (link) => {
    const { period, seconds } = link.dataset;
    span = Number(seconds);
    for (const other of periods) {
      if (other.dataset.period === period) other.setAttribute("aria-current", "true");
      else other.removeAttribute("aria-current");
    }
    remember(period);
    unzoom();
    for (const picture of pictures) picture.choose();
  };
  for (const link of periods) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      choose(link);
    });
  }

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.place = figure.querySelector(".chart");
      figure.classList.add("drawn");
      this.off = new Set();
      this.back = document.createElement("button");
      this.back.type = "button";
      this.back.textContent = texts.zoomed;
      this.back.hidden = true;
      this.back.addEventListener("click", unzoom);
      figure.querySelector(".periods").prepend(this.back);
      this.stale = true;
      this.asked = 0;
    }

    // Zooms to what is selected, unless that was a slip.
    selected(u) {
      const { left, width } = u.select;
      u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      if (width >= 4) zoomTo(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
    }

    // One finger that moves aside chooses a time as the mouse does, two pull time apart or together; up and down still scrolls.
    touch(u) {
      const fingers = new Map();
      let begun = 0;
      let held = null;
      const at = (event) => event.clientX - u.over.getBoundingClientRect().left;
      const select = (left, width) => u.setSelect({ left, width, top: 0, height: u.over.clientHeight }, false);
      u.over.addEventListener("pointerdown", (event) => {
        if (event.pointerType !== "touch" || fingers.size === 2) return;
        // What comes meanwhile is drawn afterwards.
        this.touched = true;
        begun = at(event);
        fingers.set(event.pointerId, begun);
        if (fingers.size < 2) return;
        select(0, 0);
        held = [...fingers.values()].map((x) => u.posToVal(x, "x"));
      });
      u.over.addEventListener("pointermove", (event) => {
        if (!fingers.has(event.pointerId)) return;
        fingers.set(event.pointerId, Math.max(0, Math.min(u.over.clientWidth, at(event))));
        const [one, two] = [...fingers.values()];
        if (!held) return select(Math.min(begun, one), Math.abs(one - begun));
        const perPixel = (held[1] - held[0]) / (two - one);
        const min = held[0] - perPixel * one;
        if (!(perPixel > 0 && Number.isFinite(perPixel))) return;
        this.pulled = [min, min + perPixel * u.over.clientWidth];
        u.setScale("x", { min, max: this.pulled[1] });
      });
      const end = (event) => {
        if (!fingers.has(event.pointerId)) return;
        const { pulled } = this;
        const cancelled = event.type === "pointercancel";
        fingers.clear();
        held = null;
        this.touched = false;
        this.pulled = null;
        if (cancelled) select(0, 0);
        else if (pulled) zoomTo(...pulled);
        else this.selected(u);
        if (this.data !== this.drawn || (pulled && cancelled)) this.draw();
      };
      u.over.addEventListener("pointerup", end);
      u.over.addEventListener("pointercancel", end);
    }

    async load() {
      const now = Math.floor(Date.now() / 1000);
      const [start, end] = zoom || [now - span, now];
      const rows = Math.max(50, Math.min(2000, Math.round(this.place.clientWidth)));
      const asked = ++this.asked;
      this.stale = false;
      try {
        const answer = await fetch(`${this.figure.dataset.src}&start=${start}&end=${end}&rows=${rows}`, { signal: AbortSignal.timeout(20000) });
        const data = await answer.json();
        if (!answer.ok) throw new Error(data.error || answer.status);
        // A later question may have been answered before.
        if (asked !== this.asked) return;
        this.data = data;
        if (!this.touched) this.draw();
      } catch (error) {
        if (asked !== this.asked) return;
        this.stale = true;
        this.say(`${texts.failed} ${error.message}`);
      }
    }

    say(text) {
      let note = this.place.querySelector(".empty");
      if (!note) {
        note = document.createElement("p");
        note.className = "empty";
        this.place.append(note);
      }
      note.textContent = text;
    }

    // Stacked values stand on those before; what is unknown is not stood on.
    heights() {
      const rows = this.data.time.length;
      let below = new Array(rows).fill(0);
      return this.data.curves.map((curve, place) => {
        const stacked = curve.draw === "stack";
        const floor = stacked ? below : null;
        const top = curve.values.map((value, row) => (value == null || this.off.has(place) ? null : value + (floor ? floor[row] : 0)));
        if (stacked || curve.draw === "area") below = top.map((value, row) => (value == null ? (floor ? floor[row] : 0) : value));
        return { top, floor };
      });
    }

    draw() {
      const { data } = this;
      this.drawn = data;
      const heights = this.heights();
      const columns = [data.time];
      const series = [{}];
      const bands = [];
      const width = { line1: 1, line2: 1.75, line3: 3, area: 1.25, stack: 1 };
      const peaks = data.curves.filter((curve) => curve.max).length <= 2;
      data.curves.forEach((curve, place) => {
        const { top, floor } = heights[place];
        const hidden = this.off.has(place);
        if (curve.max && peaks && !hidden && curve.draw !== "stack") {
          // Between the mean and the largest value of each row.
          columns.push(curve.max);
          series.push({ stroke: mix(curve.colour, 0.28), width: 1, points: { show: false } });
          bands.push({ series: [columns.length - 1, columns.length], fill: mix(curve.colour, 0.14) });
        }
        if (floor) {
          columns.push(floor);
          series.push({ points: { show: false }, width: 0, stroke: "transparent" });
          bands.push({ series: [columns.length, columns.length - 1], fill: mix(curve.colour, 0.5) });
        }
        const alone = data.curves.length === 1 && curve.draw.startsWith("line");
        columns.push(top);
        series.push({
          stroke: curve.colour,
          width: width[curve.draw] || 1.75,
          fill: curve.draw === "area" ? mix(curve.colour, 0.4) : alone ? mix(curve.colour, 0.1) : undefined,
          points: { show: (u, index, from, to) => to - from < 3 },
        });
      });
      const ink = variable("--soft");
      const grid = { stroke: variable("--line"), width: 1 };
      const known = columns.slice(1).some((column) => column.some((value) => value != null));
      const options = {
        width: this.place.clientWidth,
        height: HEIGHT,
        series,
        bands,
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: false }, y: false, points: { show: false }, sync: { key: "agent", setSeries: false, scales: ["x", null] }, bind: { dblclick: () => null } },
        scales: {
          x: { time: true, range: () => this.pulled || [data.start, data.end] },
          y: {
            range: (u, least, most) => {
              const lower = Math.min(data.lower ?? 0, least ?? 0);
              const top = most == null ? -Infinity : most + (most - lower) * 0.06;
              const upper = data.upper != null && !(most > data.upper) ? data.upper : top;
              return [least < lower ? least : lower, Number.isFinite(upper) && upper > lower ? upper : lower + 1];
            },
          },
        },
        axes: [
          { stroke: ink, grid, ticks: grid, values: timeLabels, font: "12px system-ui", space: 64, size: 34 },
          {
            stroke: ink, grid, ticks: { show: false }, font: "12px system-ui", size: 78, space: 36,
            values: (u, splits) => splits.map((split) => show(split, data.unit)),
            ...(/^B/.test(data.unit) ? { incrs: doubling } : {}),
          },
        ],
        hooks: {
          setSelect: [
            // Where the mouse is: the others only show what is selected there.
            (u) => (u.cursor.event ? this.selected(u) : u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false)),
          ],
          draw: [
            (u) => {
              // Where warnings and errors begin, if that is in sight.
              const { ctx, bbox } = u;
              for (const { state, value } of data.limits) {
                if (value < u.scales.y.min || value > u.scales.y.max) continue;
                const y = Math.round(u.valToPos(value, "y", true));
                ctx.save();
                ctx.strokeStyle = variable("--" + state);
                ctx.lineWidth = devicePixelRatio;
                ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
                ctx.beginPath();
                ctx.moveTo(bbox.left, y);
                ctx.lineTo(bbox.left + bbox.width, y);
                ctx.stroke();
                ctx.restore();
              }
            },
          ],
          setCursor: [(u) => this.legend(u.cursor.idx)],
        },
      };
      if (this.plot) this.plot.destroy();
      this.place.replaceChildren();
      this.plot = new uPlot(options, columns, this.place);
      this.plot.over.addEventListener("dblclick", unzoom);
      this.touch(this.plot);
      this.legend(null);
      if (!known) this.say(texts.nothing);
      Object.assign(this.figure.dataset, { start: data.start, end: data.end, step: data.step, rows: data.time.length });
    }

    legend(index) {
      const { data } = this;
      if (!this.rows) {
        const table = document.createElement("table");
        table.className = "legend";
        const head = table.createTHead().insertRow();
        head.append(document.createElement("th"));
        for (const word of [texts.now, texts.least, texts.mean, texts.most]) {
          const cell = document.createElement("th");
          cell.scope = "col";
          cell.textContent = word;
          head.append(cell);
        }
        this.when = head.cells[1];
        const body = table.createTBody();
        this.rows = data.curves.map((curve, place) => {
          const row = body.insertRow();
          const name = document.createElement("th");
          name.scope = "row";
          const button = document.createElement("button");
          button.type = "button";
          const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
          const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
          for (const [key, value] of [["width", "100%"], ["height", "100%"], ["rx", "2"], ["fill", curve.colour]]) square.setAttribute(key, value);
          swatch.append(square);
          const label = document.createElement("span");
          label.textContent = curve.label;
          button.append(swatch, label);
          button.setAttribute("aria-pressed", "true");
          button.addEventListener("click", () => {
            if (!this.off.delete(place)) this.off.add(place);
            row.classList.toggle("off", this.off.has(place));
            button.setAttribute("aria-pressed", String(!this.off.has(place)));
            this.draw();
          });
          name.append(button);
          row.append(name);
          return [0, 1, 2, 3].map(() => row.insertCell());
        });
        this.figure.append(table);
      }
      this.when.textContent = index == null ? texts.now : full.format(new Date(data.time[index] * 1000));
      data.curves.forEach((curve, place) => {
        const known = curve.values.filter((value) => value != null);
        const value = index == null ? known.at(-1) : curve.values[index];
        const peak = curve.max ? curve.max.filter((value) => value != null) : known;
        const mean = known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
        const least = known.length ? known.reduce((a, b) => Math.min(a, b)) : null;
        const most = peak.length ? peak.reduce((a, b) => Math.max(a, b)) : null;
        [value, least, mean, most].forEach((number, column) => {
          this.rows[place][column].textContent = show(number, data.unit);
        });
      });
    }
  }

  const charts = [...document.querySelectorAll("figure.graph[data-src]")].map((figure) => new Chart(figure));

  // Those that are seen are loaded first; the others when they come into sight.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const chart = charts.find((chart) => chart.figure === entry.target);
      chart.visible = entry.isIntersecting;
      if (chart.visible && chart.stale) chart.load();
    }
  }, { rootMargin: "300px" });
  for (const chart of charts) seen.observe(chart.figure);

  const redraw = () => charts.forEach((chart) => chart.data && chart.draw());
  dark.addEventListener("change", redraw);
  let width = innerWidth;
  let timer;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(redraw, 150);
  });
  setInterval(() => {
    if (document.hidden) return;
    for (const chart of charts) if (chart.visible && chart.data && !zoom && !chart.place.matches(":hover")) chart.load();
    for (const picture of pictures) if (picture.visible) picture.load();
  }, Number(document.body.dataset.fresh) * 1000);

  // On paper everything is in sight.
  addEventListener("beforeprint", () => charts.forEach((chart) => chart.stale && chart.load()));

  // Pictures of librrd change their address instead.
  const pictures = [];
  for (const figure of document.querySelectorAll("figure.graph.librrd")) {
    const links = [...figure.querySelectorAll(".periods a")];
    const image = figure.querySelector("img");
    const picture = { visible: true, stale: false };
    const address = () => links.find((link) => link.hasAttribute("aria-current")).dataset.picture;
    picture.choose = () => {
      picture.stale = !picture.visible;
      if (picture.visible) image.src = address();
    };
    picture.load = () => {
      const next = new Image();
      // Shown once it is there.
      next.onload = () => (image.src = next.src);
      next.src = `${address()}&end=${Math.floor(Date.now() / 1000)}`;
    };
    pictures.push(picture);
    const sight = new IntersectionObserver((entries) => {
      picture.visible = entries.at(-1).isIntersecting;
      if (picture.visible && picture.stale) picture.choose();
    });
    sight.observe(figure);
  }
})();
