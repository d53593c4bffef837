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

  const take = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    const [from, to] = [next.getElementById("live"), document.getElementById("live")];
    if (!from) throw new Error("not the page that was expected");
    for (const open of to.querySelectorAll("details[open][id]")) {
      const same = from.querySelector("#" + CSS.escape(open.id));
      if (same) same.open = true;
    }
    const focused = document.activeElement && to.contains(document.activeElement) && document.activeElement.getAttribute("href");
    to.replaceWith(document.adoptNode(from));
    if (focused) document.querySelector(`#live a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    document.title = next.title;
    document.querySelector("link[rel=icon]").href = next.querySelector("link[rel=icon]").getAttribute("href");
    document.getElementById("clock").replaceChildren(...next.getElementById("clock").childNodes);
  };

  const refresh = async () => {
    clearTimeout(timer);
    try {
      if (!busy()) {
        const answer = await fetch(location.pathname + location.search, { signal: AbortSignal.timeout(10000) });
        if (!answer.ok) throw new Error(answer.status);
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
