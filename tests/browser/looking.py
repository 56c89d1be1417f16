"""Checks for every page: axe-core's findings, content wider than a small screen, targets too small to press."""

from typing import Any

from tests.browser.windows import Window

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AUDIT = """async rules => {
  const found = await axe.run(document, { runOnly: { type: "tag", values: rules } });
  return found.violations.map(one => `${one.id}: ${one.nodes.map(node => node.html.slice(0, 120)).join(" | ")}`);
}"""

FINDINGS = """() => {
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  const off = [...document.querySelectorAll("main *, header *, footer *")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && !element.closest(".decoy, .unseen") && (box.right > innerWidth + 1 || box.left < -1);
  });
  const targets = document.querySelectorAll("button, a.button, summary, input:not([type=hidden])");
  const small = [...targets].filter(element => {
    const target = ["checkbox", "radio"].includes(element.type) ? element.closest("label") : element;
    const box = target.getBoundingClientRect();
    return box.width > 1 && !element.closest(".decoy") && (box.height < 44 || box.width < 44);
  });
  const named = element => `${element.tagName} ${element.innerText || element.name}`.slice(0, 60);
  return { wide, off: off.map(named), small: small.map(named) };
}"""


def audit(window: Window, axe: str) -> Any:
    """The violations that axe-core, whose source is ``axe``, finds on the page."""
    window.page.evaluate(axe)
    return window.page.evaluate(AUDIT, RULES)


def fits(window: Window, name: str, scheme: str) -> None:
    """Asserts that the page fits the phone and follows its colour scheme."""
    assert window.page.evaluate(FINDINGS) == {"wide": False, "off": [], "small": []}, name
    ground = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    shade = sum(int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(","))
    assert (shade < 384) is (scheme == "dark"), (name, ground)
