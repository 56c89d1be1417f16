// For a moment after this page comes to the front, no click allows anything: a window before it may have asked for a
// double click, and gone away between the two.
(() => {
  const buttons = document.querySelectorAll("button[name=decision][value=allow]");
  let timer;
  const wait = () => {
    clearTimeout(timer);
    for (const button of buttons) button.setAttribute("aria-disabled", "true");
    timer = setTimeout(() => { for (const button of buttons) button.removeAttribute("aria-disabled"); }, 800);
  };
  for (const button of buttons) {
    button.addEventListener("click", event => { if (button.hasAttribute("aria-disabled")) event.preventDefault(); });
  }
  for (const moment of ["focus", "pageshow"]) addEventListener(moment, wait);
  document.addEventListener("visibilitychange", wait);
  wait();
})();
