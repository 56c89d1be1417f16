// Shows the copy buttons and copies what they carry, or else what stands before them.
(() => {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    const label = button.textContent;
    const words = button.closest("[data-copied]").dataset;
    button.hidden = false;
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy || button.previousElementSibling.textContent);
        button.textContent = words.copied;
      } catch {
        button.textContent = words.failed;
      }
      setTimeout(() => { button.textContent = label; }, 3000);
    });
  }
})();
