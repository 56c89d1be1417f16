// Goes on to the app by itself; after "back" it stays, so that nobody is caught in a loop.
(() => {
  const link = document.querySelector("[data-target]");
  const [arrival] = performance.getEntriesByType("navigation");
  if (link && arrival?.type !== "back_forward") location.replace(link.dataset.target);
})();
