// What pages do beyond what they say without a script: parts that keep themselves up
// to date, and buttons that copy.

// A live part: <tbody data-live="/calls/live" data-live-most="50">. The server sends
// markup that its templates made; "prepend" puts it first, "replace" in the place of
// everything.
for (const part of document.querySelectorAll("[data-live]")) {
  const most = Number(part.dataset.liveMost) || 0;
  let source = null;
  let paused = false;
  const put = (event, first) => {
    // What somebody is at with the keyboard is not taken away from them.
    if (!first && part.contains(document.activeElement)) return;
    const made = document.createElement("template");
    made.innerHTML = event.data;
    if (first) part.prepend(made.content); else part.replaceChildren(made.content);
    while (most && part.children.length > most) part.lastElementChild.remove();
  };
  const open = () => {
    if (source || paused || document.hidden) return;
    source = new EventSource(part.dataset.live);
    source.addEventListener("prepend", (e) => put(e, true));
    source.addEventListener("replace", (e) => put(e, false));
  };
  const close = () => { source?.close(); source = null; };
  // A page that nobody looks at costs nobody anything.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  for (const pause of document.querySelectorAll("[data-live-pause]")) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      if (paused) close(); else open();
    });
  }
  open();
}

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}
