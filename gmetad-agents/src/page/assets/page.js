// Keeps #live as fresh as the server has it, in the language and order that the server writes. Without this script the
// browser loads the whole page again from time to time.
(() => {
  "use strict";
  const every = Number(document.body.dataset.fresh) * 1000;
  const fresh = document.getElementById("fresh");
  const words = fresh.querySelector(".text");
  const usual = words.textContent;
  let timer;

  // What somebody reads, selects or types in is not pulled away.
  const busy = () => {
    const live = document.getElementById("live");
    const selection = getSelection();
    const selected = selection && !selection.isCollapsed && live.contains(selection.anchorNode);
    return selected || (live.contains(document.activeElement) && document.activeElement.matches("input, select"));
  };

  // What has not changed stays the same element: nothing flickers, and what is pointed at, focused or open stays so.
  const key = (node) => node.id || node.dataset?.key;
  const patch = (to, from) => {
    if (to.isEqualNode(from)) return;
    if (to.nodeType !== Node.ELEMENT_NODE) {
      to.data = from.data;
      return;
    }
    for (const { name } of [...to.attributes]) if (!from.hasAttribute(name) && name !== "open") to.removeAttribute(name);
    for (const { name, value } of from.attributes) if (to.getAttribute(name) !== value) to.setAttribute(name, value);
    const keys = new Set([...from.children].map(key));
    for (const child of [...to.children]) if (key(child) && !keys.has(key(child))) child.remove();
    const known = new Map([...to.children].map((child) => [key(child), child]));
    let at = to.firstChild;
    for (const child of [...from.childNodes]) {
      const same = key(child) ? known.get(key(child)) : at && !key(at) ? at : null;
      if (same?.nodeName !== child.nodeName) {
        to.insertBefore(child, at);
        continue;
      }
      if (same === at) at = at.nextSibling;
      else to.insertBefore(same, at);
      patch(same, child);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  const take = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    const to = document.getElementById("live");
    let from = next.getElementById("live");
    if (!from) {
      // The agent is gone; the page says so, until it is back.
      const problem = next.querySelector("main > .problem");
      if (!problem) throw new Error("not the page that was expected");
      from = to.cloneNode();
      from.append(problem);
    }
    const focused = document.activeElement;
    patch(to, from);
    // It may have been moved.
    if (focused !== document.activeElement && to.contains(focused)) focused.focus({ preventScroll: true });
    document.title = next.title;
    document.querySelector("link[rel=icon]").href = next.querySelector("link[rel=icon]").getAttribute("href");
    const clock = next.getElementById("clock");
    if (clock) document.getElementById("clock").replaceChildren(...clock.childNodes);
  };

  const refresh = async () => {
    clearTimeout(timer);
    try {
      if (!busy()) {
        const answer = await fetch(location.pathname + location.search, { signal: AbortSignal.timeout(10000) });
        if (!answer.ok && answer.status !== 404) throw new Error(answer.status);
        take(await answer.text());
      }
      fresh.classList.remove("lost");
      words.textContent = usual;
    } catch {
      // What is shown grows old; that must be seen.
      fresh.classList.add("lost");
      words.textContent = fresh.dataset.lost;
    }
    timer = setTimeout(refresh, every);
  };

  timer = setTimeout(refresh, every);
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) refresh();
  });
})();
