"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const MAX_BYTES = 20 * 2 ** 20;
  let labels = { findings: [], themes: [] };
  let asked = new AbortController();

  const titled = (id) => [...labels.findings, ...labels.themes].find((label) => label.id === id)?.title ?? id;
  const kind = (id) => (["strength", "concern", "recommendation", "none"].includes(id) ? id : "other");
  const mark = (id) => labels.findings.find((label) => label.id === id)?.mark ?? "•";
  const sure = (probability) => (probability > 0.99 ? "over 99%" : `${Math.round(probability * 100)}%`);
  const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

  // All text goes through here, as text: nothing of a document can become markup.
  function made(tag, className, ...parts) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...parts);
    return element;
  }

  function sign(id) {
    const sign = made("i", "", mark(id));
    sign.setAttribute("aria-hidden", "true");
    return sign;
  }

  function say(text, wrong = false) {
    one("status").textContent = text;
    one("status").classList.toggle("error", wrong);
  }

  function labelled(s) {
    const meta = made("p", "meta", made("b", "", sign(s.finding), ` ${titled(s.finding)}`), ` ${sure(s.probability)}`);
    if (s.unsure) meta.append(" ", made("mark", "", "To review"));
    if (s.themes.length) meta.append(` · ${s.themes.map(titled).join(", ")}`);
    if (s.place) meta.append(` · ${s.place}`);
    return meta;
  }

  function counts(element, s) {
    element.dataset.finding = s.finding;
    return element;
  }

  const item = (s) => counts(made("li", kind(s.finding), made("p", "text", s.sentence), labelled(s)), s);

  function section({ heading, title, rows }) {
    const head = heading ? [made("h3", "", heading)] : [];
    if (title) head.push(counts(made("div", `title ${kind(title.finding)}`, labelled(title)), title));
    return made("section", "", ...head, made("ol", "", ...rows.map(item)));
  }

  // A heading that was also read as a sentence heads its section and does not end the one before.
  function sections(all) {
    const parts = [];
    for (const s of all) {
      const last = parts.at(-1);
      if (last?.heading !== s.heading) {
        const before = last?.rows.at(-1);
        const titled = before && before.sentence === s.heading && !before.list_item;
        parts.push({ heading: s.heading, title: titled ? last.rows.pop() : null, rows: [] });
      }
      parts.at(-1).rows.push(s);
    }
    return parts.filter((part) => part.heading || part.rows.length);
  }

  function pill(finding, number) {
    const box = made("input");
    box.type = "checkbox";
    box.checked = true;
    box.value = finding.id;
    box.addEventListener("change", filter);
    const label = made("label", kind(finding.id), box, sign(finding.id), `${finding.title}: ${number}`);
    label.title = finding.definition;
    return label;
  }

  function filter() {
    const chosen = new Set([...one("legend").querySelectorAll(":checked")].map((box) => box.value));
    let shown = 0;
    for (const part of one("sentences").children) {
      for (const element of part.querySelectorAll("[data-finding]")) {
        element.hidden = !chosen.has(element.dataset.finding);
        shown += !element.hidden;
      }
      part.hidden = !part.querySelector("[data-finding]:not([hidden])");
    }
    say(`${counted(shown, "sentence")} shown`);
  }

  function show(answer) {
    const all = answer.sentences;
    const number = (id) => all.filter((s) => s.finding === id).length;
    one("legend").replaceChildren(
      one("legend").querySelector("legend"),
      ...labels.findings.map((finding) => pill(finding, number(finding.id))),
    );
    for (const s of all) s.place = answer.pages > 1 ? `page ${s.page}` : "";
    one("sentences").replaceChildren(...sections(all).map(section));
    one("result-title").textContent = answer.name === "text" ? "Your paragraph" : answer.name;
    one("by").textContent = `Labelled by ${answer.model}.`;
    one("result").hidden = false;
    say(`${counted(all.length, "sentence")} read`);
    one("result").focus({ preventScroll: true });
    one("status").scrollIntoView({ block: "start" });
  }

  async function read(address, type, body, name) {
    asked.abort();
    const mine = (asked = new AbortController());
    say(`Reading ${name} …`);
    one("result").hidden = true;
    try {
      if (!labels.findings.length) await learn();
      const headers = { "Content-Type": type };
      if (one("token").value) headers.Authorization = `Bearer ${one("token").value}`;
      const response = await fetch(address, { method: "POST", headers, body, signal: mine.signal });
      const answer = await response.json();
      if (mine.signal.aborted) return;
      if (response.ok) return show(answer);
      if (response.status === 401) {
        one("locked").hidden = false;
        one("token").focus();
        return say("This server asks for a token. Type it in above and try again.", true);
      }
      say(answer.message, true);
    } catch (error) {
      if (error.name !== "AbortError") say("The server does not answer. Try again in a moment.", true);
    }
  }

  function readFile(file) {
    if (file.size > MAX_BYTES) return say(`${file.name} is larger than 20 MiB. Split it, or use findings read.`, true);
    read(`sentences?name=${encodeURIComponent(file.name)}`, "application/octet-stream", file, file.name);
  }

  async function learn() {
    labels = await (await fetch("labels")).json();
    one("locked").hidden = !labels.token;
  }

  one("locked").addEventListener("submit", (event) => event.preventDefault());
  one("paste").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = one("text").value;
    if (!text.trim()) return say("There is no text to read. Paste some first.", true);
    read("sentences", "application/json", JSON.stringify({ text }), "your paragraph");
  });
  one("choose").addEventListener("submit", (event) => {
    event.preventDefault();
    readFile(one("file").files[0]);
  });
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      document.body.classList.toggle("over", name === "dragenter" || name === "dragover");
      if (name !== "drop") return;
      const files = event.dataTransfer.files;
      if (files.length !== 1) return say("Drop one document at a time.", true);
      readFile(files[0]);
    });
  }
  learn().catch(() => say("The server does not answer. Try again in a moment.", true));
})();
