// The front page's stepper. TRACES (traces.js) holds each task's executions on integers. It needs no library and no server.
"use strict";

(() => {
  const find = (id) => document.getElementById(id);
  const svgName = "http://www.w3.org/2000/svg";
  const state = { task: TRACES[0], execution: null, step: 0, timer: null };

  function element(parent, name, text = "", attributes = {}) {
    const made = parent.namespaceURI === svgName ? document.createElementNS(svgName, name) : document.createElement(name);
    if (text !== "") made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  // The choice: a task, one of its executions, a timestep of that.

  function showTask(key) {
    state.task = TRACES.find((task) => task.key === key) || TRACES[0];
    for (const button of document.querySelectorAll("[data-task]")) {
      button.setAttribute("aria-pressed", button.dataset.task === state.task.key);
    }
    find("about").textContent = `${state.task.layout} Machine: ${state.task.machine}.`;
    find("warning").hidden = state.task.solved;
    find("warning").textContent =
      `This machine has not solved the task: its error on integers is ${state.task.error} at complexity ` +
      `${state.task.complexity}. This is how far it gets.`;
    find("program").textContent = state.task.program;
    find("execution").replaceChildren();
    state.task.executions.forEach((execution, number) => element(find("execution"), "option", execution.label, { value: number }));
    const preferred = state.task.executions.findIndex((execution) => execution.target && execution.steps.length > 4);
    find("execution").value = Math.max(0, preferred);
    showExecution(Math.max(0, preferred));
  }

  function showExecution(number) {
    state.execution = state.task.executions[number];
    find("step").max = state.execution.steps.length - 1;
    drawTimesteps();
    showStep(0);
  }

  function showStep(number) {
    const last = state.execution.steps.length - 1;
    state.step = Math.min(Math.max(number, 0), last);
    find("step").value = state.step;
    find("previous").disabled = state.step === 0;
    find("next").disabled = state.step === last;
    if (state.step === last) play(false);
    const step = state.execution.steps[state.step];
    find("now").textContent = sentence(step, last);
    find("step").setAttribute("aria-valuetext", find("now").textContent);
    drawCells(step);
    drawWiring(step);
    drawWords(step);
    [...find("timesteps").tBodies[0].rows].forEach((row, index) => {
      if (index === state.step) row.setAttribute("aria-current", "step");
      else row.removeAttribute("aria-current");
    });
  }

  function sentence(step, last) {
    if (step.circuit !== undefined) {
      const stops = step.stop ? "; the machine stops after it" : "";
      return `Timestep ${state.step + 1} of ${last}: before and during it${stops}`;
    }
    const { output, target, limit } = state.execution;
    const how = state.execution.steps[last - 1].stop ? "by its own decision" : `at the time limit, ${limit}`;
    if (!target) return `The end, after ${last} timesteps`;
    const wrong = output.filter((cell) => step.memory[cell] !== target[cell]).length;
    return `The end, after ${last} timesteps, ${how}: ` +
      (wrong ? `${wrong} of ${output.length} output cells are wrong` : `all ${output.length} output cells are right`);
  }

  const reads = (step) => new Set((step.reads || []).map(([pointer]) => pointer));
  const writes = (step) => new Set((step.writes || []).map(([pointer]) => pointer));
  const before = (index) => state.execution.steps[Math.max(index - 1, 0)];

  function drawCells(step) {
    const read = reads(step), written = writes(step), { output, target } = state.execution;
    const old = before(state.step), ended = step.circuit === undefined;
    find("memory").replaceChildren();
    step.memory.forEach((value, cell) => {
      const is = ["tile"];
      if (read.has(cell)) is.push("read");
      if (written.has(cell)) is.push("written");
      if (output.includes(cell)) is.push("output");
      const wrong = ended && target && output.includes(cell) && value !== target[cell];
      if (wrong) is.push("wrong");
      const box = element(find("memory"), "div", "", { class: is.join(" ") });
      if (wrong) box.title = `should be ${target[cell]}`;
      element(box, "span", cell);
      element(box, value === old.memory[cell] ? "i" : "b", value);
    });
    find("registers").replaceChildren();
    step.registers.forEach((value, register) => {
      const box = element(find("registers"), "div", "", { class: "tile" });
      element(box, "span", `r${register + 1}`);
      element(box, value === old.registers[register] ? "i" : "b", value);
    });
  }

  // The circuit as a drawing, with the values of this timestep.

  const LANE = 25;
  const columns = (circuit) => Math.max(...circuit.nodes.map((node) => node[3])) + 1;
  const lanes = (circuit) => circuit.nodes.map((node) => node[4]);
  const rows = (circuit) => Math.max(...lanes(circuit)) - Math.min(...lanes(circuit)) + 2;

  function drawWiring(step) {
    // The execution's largest circuit sets the size: nothing moves between timesteps.
    const svg = find("wiring"), { steps } = state.execution;
    const used = steps.filter((each) => each.circuit !== undefined).map((each) => state.task.circuits[each.circuit]);
    const room = find("frame").clientWidth / Math.max(...used.map(columns));
    const column = Math.min(Math.max(room, 68), 110), half = Math.min(0.4 * column, 30);
    const width = Math.max(...used.map(columns)) * column, height = Math.max(...used.map(rows)) * LANE;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    if (step.circuit === undefined) {
      element(svg, "text", "The execution has ended.", { x: 80, y: LANE });
      return;
    }
    const circuit = state.task.circuits[step.circuit], { nodes, wires } = circuit, top = Math.max(...lanes(circuit));
    const after = state.execution.steps[state.step + 1].registers;
    const place = new Map(nodes.map(([number, name, kind, at, lane]) =>
      [number, { name, kind, x: (at + 0.5) * column, y: (top - lane + 1) * LANE }]));
    for (const [from, to, shift] of wires) {
      const a = place.get(from), b = place.get(to);
      const x0 = a.x + (a.kind === "module" ? half : 24), x1 = b.x - (b.kind === "module" ? half : 24);
      const y1 = b.y + shift * 5, reach = (x1 - x0) / 3;
      element(svg, "path", "", {
        d: `M${x0} ${a.y}C${x0 + reach} ${a.y} ${x1 - reach} ${y1} ${x1} ${y1}`,
        class: b.name.startsWith("WRITE") ? "write" : "wire",
      });
    }
    for (const [number, { name, kind, x, y }] of place) {
      const group = element(svg, "g", "", { class: name.replace(/\d+$/, "") });
      if (kind === "module") {
        const wrote = name.startsWith("WRITE") ? written(step, number) : null;
        element(group, "rect", "", { x: x - half, y: y - 15, width: 2 * half, height: 30, rx: 5 });
        element(group, "text", short(name), { x, y: y - 6 });
        element(group, "text", wrote || step.values[number], { x, y: y + 7, class: "value" });
      } else {
        const value = kind === "new" ? after[number - step.values.length] : step.values[number];
        const label = element(group, "text", "", { x, y });
        element(label, "tspan", `${name}${kind === "new" ? "′" : ""} `);
        element(label, "tspan", value, { class: "value" });
      }
    }
  }

  function written(step, number) {
    const [, , inputs] = state.task.circuits[step.circuit].lines.find((line) => line[0] === number);
    return `${step.values[inputs[0][0]]}←${step.values[inputs[1][0]]}`;
  }

  const SIGNS = { "LESS-THAN": "<", "LESS-OR-EQUAL-THAN": "≤", "EQUALITY-TEST": "=" };
  const short = (name) => name.replace(/^[A-Z-]+/, (module) => SIGNS[module] || module);

  // The same in words: each module in use, then each register that changes.

  function drawWords(step) {
    const list = find("words");
    list.replaceChildren();
    if (step.circuit === undefined) return;
    const { lines, registers } = state.task.circuits[step.circuit];
    const known = (name, value) => (/^(ZERO|ONE|TWO)/.test(name) ? `${value}` : `${name} = ${value}`);
    for (const [number, name, inputs] of lines) {
      const item = element(list, "li");
      const given = inputs.map(([source, of]) => known(of, step.values[source]));
      if (name.startsWith("WRITE")) {
        item.append(`${name}: cell ${given[0]} becomes ${given[1]}`);
      } else {
        item.append(`${short(name)}(${given.join(", ")}) gives `);
        element(item, "b", step.values[number]);
      }
    }
    for (const [register, source, name] of registers) {
      if (source === register) continue;
      const item = element(list, "li", `r${register + 1} becomes ${name}: `);
      element(item, "b", step.values[source]);
    }
  }

  // The whole execution as a table.

  function drawTimesteps() {
    const table = find("timesteps"), { steps } = state.execution;
    table.replaceChildren();
    const head = element(element(table, "thead"), "tr");
    element(head, "th", "step", { scope: "col" });
    steps[0].memory.forEach((_, cell) => element(head, "th", cell, { scope: "col" }));
    steps[0].registers.forEach((_, register) => {
      element(head, "th", `r${register + 1}`, { scope: "col", class: register ? "register" : "register first" });
    });
    const body = element(table, "tbody");
    steps.forEach((step, index) => {
      const row = element(body, "tr"), read = reads(step), written = writes(step), old = before(index);
      element(row, "th", step.circuit === undefined ? "end" : index + 1, { scope: "row" });
      const add = (value, was, is) => {
        if (value !== was) is.push("changed");
        else if (value === 0) is.push("zero");
        element(row, "td", value, { class: is.join(" ") });
      };
      step.memory.forEach((value, cell) => {
        const is = [];
        if (read.has(cell)) is.push("read");
        if (written.has(cell)) is.push("written");
        add(value, old.memory[cell], is);
      });
      step.registers.forEach((value, register) => {
        add(value, old.registers[register], register ? ["register"] : ["register", "first"]);
      });
      row.addEventListener("click", () => showStep(index));
    });
  }

  // Controls

  function play(on) {
    clearInterval(state.timer);
    state.timer = on ? setInterval(() => showStep(state.step + 1), 900) : null;
    find("play").setAttribute("aria-pressed", Boolean(on));
    find("play").textContent = on ? "pause" : "play";
  }

  find("previous").addEventListener("click", () => { play(false); showStep(state.step - 1); });
  find("next").addEventListener("click", () => { play(false); showStep(state.step + 1); });
  find("play").addEventListener("click", () => {
    const start = state.timer === null;
    if (start && state.step === state.execution.steps.length - 1) showStep(0);
    play(start);
  });
  find("step").addEventListener("input", (event) => { play(false); showStep(Number(event.target.value)); });
  find("execution").addEventListener("change", (event) => { play(false); showExecution(Number(event.target.value)); });
  for (const button of document.querySelectorAll("[data-task]")) {
    button.addEventListener("click", () => { play(false); showTask(button.dataset.task); });
  }
  document.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const busy = event.target.closest("input, select, textarea, .scroll");
    if (!move || busy || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    play(false);
    showStep(state.step + move);
    event.preventDefault();
  });
  function follow() {
    const [, key] = location.hash.match(/^#trace-(\w+)$/) || [];
    if (!key) return;
    showTask(key);
    find("stepper").scrollIntoView();
  }
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", () => drawWiring(state.execution.steps[state.step]));

  find("stage").hidden = false;
  showTask(find("stage").dataset.first);
  follow();
})();
