// Keeps the waiting page true: countdowns, the mail's state, moving on once the link is used, the code as it is typed.
(() => {
  const spell = seconds => {
    const [count, unit] = seconds < 90 ? [seconds, "second"]
      : seconds <= 5400 ? [Math.ceil(seconds / 60), "minute"] : [Math.ceil(seconds / 3600), "hour"];
    return new Intl.NumberFormat(document.documentElement.lang, { style: "unit", unit, unitDisplay: "long" }).format(count);
  };
  const ends = new Map();
  for (const element of document.querySelectorAll("[data-countdown]")) {
    ends.set(element, Date.now() + 1000 * element.dataset.countdown);
  }
  const tick = () => {
    for (const [element, end] of ends) {
      const left = Math.ceil((end - Date.now()) / 1000);
      const { text, done, enables } = element.dataset;
      const words = left > 0 ? text.replace("{time}", spell(left)) : done;
      if (element.textContent !== words) element.textContent = words;
      if (enables) document.getElementById(enables).disabled = left > 0;
    }
  };
  tick();
  setInterval(tick, 1000);

  const page = document.querySelector("[data-state-url]");
  if (!page) return;
  const { stateUrl, continueUrl } = page.dataset;
  const life = document.querySelector("[data-countdown]:not([data-enables])");
  const mail = document.getElementById("mail");
  const colours = { delayed: "warn", failed: "bad" };
  document.getElementById("by-hand").hidden = true;

  let timer, asking = false, over = false, pause = 2000;
  const show = state => {
    const line = mail.firstElementChild;
    const words = mail.dataset[state];
    if (!words || line.textContent === words) return;
    line.textContent = words;
    mail.className = `notice ${colours[state] || ""}`;
  };
  const ask = async () => {
    clearTimeout(timer);
    if (asking || over || document.visibilityState !== "visible") return;
    asking = true;
    const late = Date.now() > ends.get(life);
    try {
      const answer = await fetch(stateUrl, { cache: "no-store", headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.status);
      const { state, mail: sent, next, expires_in: left } = await answer.json();
      pause = 2000;
      show(sent);
      if (left > 0) ends.set(life, Date.now() + 1000 * left);
      if (state !== "pending") {
        over = true;
        location.replace(next || continueUrl);
      }
    } catch {
      pause = Math.min(pause * 2, 16000);
    }
    asking = false;
    if (late && Date.now() > ends.get(life)) over = true;
    if (!over) timer = setTimeout(ask, pause);
  };
  document.addEventListener("visibilitychange", ask);
  addEventListener("pageshow", event => { if (event.persisted) { over = false; ask(); } });
  if ("BroadcastChannel" in window) new BroadcastChannel("gatepost").onmessage = ask;
  ask();

  const code = document.getElementById("code");
  const spaced = digits => digits.length > 4 ? `${digits.slice(0, 4)} ${digits.slice(4)}` : digits;
  code.addEventListener("paste", event => {
    const found = event.clipboardData.getData("text").match(/(?:\d[\s-]*){8}/);
    if (!found) return;
    event.preventDefault();
    code.value = spaced(found[0].replace(/\D/g, ""));
  });
  code.addEventListener("input", () => {
    if (code.selectionStart !== code.value.length) return;
    code.value = spaced(code.value.replace(/\D/g, "").slice(0, 8));
  });
})();
