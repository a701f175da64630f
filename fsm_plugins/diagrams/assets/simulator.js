// Walks the diagram that is in the page. The moves so far are a list, `moves`; `at` is how many of them are shown. All
// that is on the page follows from these two, so that undo, the slider and the address are one thing.
"use strict";
(() => {
  const model = JSON.parse(document.getElementById("model").textContent);
  const byId = new Map(model.nodes.map((node) => [node.id, node]));
  const $ = (id) => document.getElementById(id);
  const MOVES = "#moves=";
  let moves = [];
  let at = 0;
  let timer = null;

  // The states.

  const label = (id) => (byId.has(id) ? byId.get(id).label : id);
  const outer = (id) => (byId.has(id) ? byId.get(id).group : null);
  const lineage = (id) => (id === null || id === undefined ? [] : [id, ...lineage(outer(id))]);

  // A group is entered at its initial state, however deep that is.
  function entered(id) {
    const inner = model.nodes.filter((node) => node.group === id);
    const first = inner.find((node) => node.initial) || inner[0];
    return first ? entered(first.id) : id;
  }

  const start = (() => {
    const top = model.nodes.find((node) => node.initial && node.group === null) || model.nodes[0];
    return top ? entered(top.id) : null;
  })();

  const current = () => {
    for (let place = at - 1; place >= 0; place -= 1) if (moves[place].dest !== null) return moves[place].dest;
    return moves.length && moves[0].source !== undefined ? moves[0].source : start;
  };
  const leaving = (state) => model.edges.filter((edge) => lineage(state).includes(edge.source));
  const sources = (trigger) =>
    [...new Set(model.edges.filter((edge) => edge.label === trigger).map((edge) => label(edge.source)))].join(", ");

  // What can be done.

  function make(move) {
    moves = [...moves.slice(0, at), move];
    at = moves.length;
    stop();
    show();
  }

  function fire(edge) {
    const state = current();
    if (lineage(state).includes(edge.source)) {
      const inside = edge.detail === "internal" || edge.detail.endsWith("& internal");
      make({ edge: edge.number, trigger: edge.label, source: state, dest: inside ? state : entered(edge.dest), cause: null });
    } else {
      refuse(edge.label);
    }
  }

  function refuse(trigger) {
    make({ trigger, source: current(), dest: null, cause: null });
  }

  function undo() {
    if (at > 0) moves = moves.slice(0, (at -= 1));
    stop();
    show();
  }

  function reset() {
    moves = [];
    at = 0;
    stop();
    show();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    $("play").textContent = "Play";
  }

  function play() {
    if (timer !== null) return stop();
    if (at >= moves.length) at = 0;
    $("play").textContent = "Pause";
    timer = setInterval(() => {
      if (at < moves.length) at += 1;
      if (at >= moves.length) stop();
      show();
    }, 700);
    return show();
  }

  // The address: each move as the number of its edge, a refused one as an exclamation mark and its trigger.

  function address() {
    const own = moves.filter((move) => move.edge !== undefined || move.dest === null);
    if (own.length !== moves.length) return "";
    return moves.length ? MOVES + moves.map((m) => (m.dest === null ? "!" + encodeURIComponent(m.trigger) : m.edge)).join(",") : "";
  }

  function read() {
    moves = [];
    at = 0;
    const told = location.hash.startsWith(MOVES) ? location.hash.slice(MOVES.length).split(",") : [];
    for (const word of told) {
      let trigger = null;
      if (word.startsWith("!")) {
        try {
          trigger = decodeURIComponent(word.slice(1));
        } catch {
          break;
        }
        refuse(trigger);
        continue;
      }
      const edge = /^\d+$/.test(word) ? model.edges[Number(word)] : undefined;
      if (edge === undefined || !lineage(current()).includes(edge.source)) break;
      fire(edge);
    }
    show();
  }

  // What is seen.

  const words = (move) =>
    move.dest === null
      ? `${move.trigger} is refused in ${label(move.source)}` +
        (sources(move.trigger) ? `; it is legal in: ${sources(move.trigger)}` : "; no state knows it")
      : `${move.trigger}: ${label(move.source)} → ${label(move.dest)}` + (move.cause ? ` (${move.cause})` : "");

  function button(text, kind, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.className = kind;
    made.addEventListener("click", act);
    return made;
  }

  function show() {
    const state = current();
    const held = document.activeElement && document.activeElement.closest && document.activeElement.closest("#legal, #illegal");
    const last = at > 0 ? moves[at - 1] : null;
    $("state").textContent = state === null ? "nothing" : label(state);
    $("said").textContent = last ? words(last) + "." : "Nothing has happened yet.";
    $("said").className = last && last.dest === null ? "refused" : "";
    const around = new Set(lineage(state));
    for (const box of document.querySelectorAll("svg [data-id]"))
      box.classList.toggle("current", around.has(box.getAttribute("data-id")));
    for (const arrow of document.querySelectorAll("svg .edge")) {
      const source = arrow.getAttribute("data-source");
      const dest = arrow.getAttribute("data-dest");
      const edge = last && last.edge !== undefined ? model.edges[last.edge] : null;
      const same = edge ? edge.source === source && edge.dest === dest : last && last.source === source && last.dest === dest;
      arrow.classList.toggle("taken", Boolean(last && last.dest !== null && same));
    }
    const open = leaving(state);
    const tried = new Set(open.map((edge) => edge.label));
    const text = (edge) => `${edge.label}${edge.detail ? ` [${edge.detail}]` : ""} → ${label(edge.dest)}`;
    $("legal").replaceChildren(...open.map((edge) => button(text(edge), "legal", () => fire(edge))));
    if (!open.length) $("legal").textContent = "No move leaves this state.";
    const others = model.triggers.filter((trigger) => !tried.has(trigger));
    $("illegal").replaceChildren(...others.map((trigger) => button(trigger, "illegal", () => refuse(trigger))));
    $("log").replaceChildren(
      ...moves.map((move, place) => {
        const line = document.createElement("li");
        line.textContent = words(move);
        line.className = (move.dest === null ? "refused" : "") + (place >= at ? " later" : "");
        if (place === at - 1) line.setAttribute("aria-current", "step");
        return line;
      }),
    );
    $("slider").max = String(moves.length);
    $("slider").value = String(at);
    $("slider").setAttribute("aria-valuetext", `step ${at} of ${moves.length}: ${label(state)}`);
    $("place").textContent = `${at} of ${moves.length}`;
    $("undo").disabled = at === 0;
    $("reset").disabled = $("play").disabled = moves.length === 0;
    const hash = address();
    if (location.hash !== hash) history.replaceState(null, "", hash || location.pathname + location.search);
    if (held) ($(held.id).querySelector("button") || $("undo")).focus();
  }

  // Traces that were recorded.

  function load(name) {
    stop();
    moves = name ? model.traces[name].map((move) => ({ ...move })) : [];
    at = 0;
    show();
  }

  for (const name of Object.keys(model.traces)) {
    const option = document.createElement("option");
    option.value = option.textContent = name;
    $("traces").append(option);
  }
  $("recorded").hidden = !Object.keys(model.traces).length;
  $("traces").addEventListener("change", () => load($("traces").value));
  $("undo").addEventListener("click", undo);
  $("reset").addEventListener("click", reset);
  $("play").addEventListener("click", play);
  $("slider").addEventListener("input", () => {
    stop();
    at = Number($("slider").value);
    show();
  });
  for (const arrow of document.querySelectorAll("svg .edge"))
    arrow.addEventListener("click", () => {
      const ends = [arrow.getAttribute("data-source"), arrow.getAttribute("data-dest")];
      const edge = model.edges.find((one) => one.source === ends[0] && one.dest === ends[1]);
      if (edge) fire(edge);
    });
  addEventListener("hashchange", read);
  read();
})();
