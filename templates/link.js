// Presses the one button of the link's page, and tells the waiting tab that somebody is signed in.
(() => {
  if (document.querySelector("[data-announce]") && "BroadcastChannel" in window) {
    new BroadcastChannel("gatepost").postMessage({ type: document.querySelector("[data-announce]").dataset.announce });
  }
  const form = document.querySelector("form[data-auto]");
  if (!form) return;
  let sent = false;
  form.addEventListener("submit", event => {
    if (sent) event.preventDefault();
    sent = true;
  });
  addEventListener("pageshow", event => { if (event.persisted) sent = false; });
  const [arrival] = performance.getEntriesByType("navigation");
  if (form.dataset.auto === "no" || arrival?.type === "back_forward") return;
  // A browser that renders ahead of the click must not spend the link.
  if (document.prerendering) document.addEventListener("prerenderingchange", () => form.requestSubmit(), { once: true });
  else form.requestSubmit();
})();
