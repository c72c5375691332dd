// Comfort for the settings form; every setting works without it.
"use strict";
(() => {
  const form = document.getElementById("settings");
  const report = document.getElementById("report");
  if (report) report.focus();
  if (!form) return;

  const unsaved = document.getElementById("unsaved");
  const fields = [...form.elements].filter((field) => field.name && field.type !== "hidden" && field.type !== "submit");
  let leaving = false;

  const changed = (field) => {
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") return [...field.options].some((o) => o.selected !== o.defaultSelected);
    return field.value !== field.defaultValue;
  };
  const title = (field) => field.closest("[data-title]")?.dataset.title || "";

  const tell = () => {
    const names = [...new Set(fields.filter(changed).map(title).filter(Boolean))];
    const dirty = names.length > 0 || "unsaved" in form.dataset;
    if (unsaved) unsaved.textContent = names.length ? unsaved.dataset.named + " " + names.join(", ") : dirty ? unsaved.dataset.some : "";
    return dirty;
  };

  const count = (list) => {
    const shown = document.getElementById(list.dataset.count);
    const lines = list.value.split(/\r\n|\r|\n/).filter((line) => line.trim() !== "").length;
    if (shown) shown.textContent = String(lines);
  };

  form.addEventListener("input", (event) => {
    if (event.target.dataset.count) count(event.target);
    tell();
  });
  form.addEventListener("submit", () => { leaving = true; });
  window.addEventListener("beforeunload", (event) => { if (!leaving && tell()) event.preventDefault(); });
  document.getElementById("discard")?.addEventListener("click", () => { leaving = true; });
  tell();
})();
