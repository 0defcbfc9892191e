"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);
  const rows = all("[data-f]").map((element) => ({
    element,
    finding: element.dataset.f,
    themes: element.dataset.t.trim() ? element.dataset.t.trim().split(" ") : [],
    review: element.classList.contains("u"),
  }));
  const parts = all(".part");
  const findings = all("input[name=finding]");
  const cells = all("#matrix button");
  const theme = one("theme"), review = one("review"), sentences = one("sentences");
  const noTheme = theme.options[theme.options.length - 1].value;

  const fits = (row, chosen) =>
    chosen.has(row.finding) &&
    (theme.value === "" || (theme.value === noTheme ? !row.themes.length : row.themes.includes(theme.value))) &&
    (row.review || !review.checked);

  const pressed = (cell, chosen) =>
    !review.checked &&
    theme.value === cell.dataset.theme &&
    (cell.dataset.finding === ""
      ? chosen.size === findings.length
      : chosen.size === 1 && chosen.has(cell.dataset.finding));

  function apply() {
    const chosen = new Set(findings.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    for (const row of rows) {
      const show = fits(row, chosen);
      row.element.classList.toggle("off", !show);
      shown += show;
    }
    for (const part of parts) part.hidden = !part.querySelector(".s:not(.off)");
    for (const cell of cells) cell.setAttribute("aria-pressed", pressed(cell, chosen));
    const total = `${rows.length} sentence${rows.length === 1 ? "" : "s"}`;
    one("count").textContent = shown === rows.length ? total : `${shown} of ${total} shown`;
  }

  function choose(finding, number) {
    for (const box of findings) box.checked = finding === "" || box.value === finding;
    theme.value = number;
    review.checked = false;
    apply();
  }

  // What was chosen begins at the top; where the matrix leaves the window by that, focus goes along.
  function goToSentences() {
    sentences.scrollIntoView();
    if (!matchMedia("(min-width: 80rem)").matches) sentences.focus();
  }

  for (const cell of cells) {
    cell.disabled = false;
    cell.addEventListener("click", () => {
      if (cell.getAttribute("aria-pressed") === "true") return choose("", "");
      choose(cell.dataset.finding, cell.dataset.theme);
      goToSentences();
    });
  }
  for (const control of [...findings, theme, review]) {
    control.addEventListener("change", () => {
      apply();
      if (sentences.getBoundingClientRect().top < 0) sentences.scrollIntoView();
    });
  }
  one("reset").addEventListener("click", () => choose("", ""));
  // A quote leads to its sentence also when the filters had put that away.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#s']");
    if (link && one(link.hash.slice(1)).classList.contains("off")) choose("", "");
  });

  one("filters").hidden = false;
  for (const hint of all(".live")) hint.hidden = false;
  apply();
})();
