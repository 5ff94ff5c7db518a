// Small things that need no server: the switch of colours, closing messages, submitting filters as they change.

document.addEventListener("click", (event) => {
  const close = event.target.closest?.("[data-close]");
  if (close) close.closest(`.${close.dataset.close}`)?.remove();
});

// Gives a field the value that stands behind it: `data-fill` names the field, `data-value` the value.
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-fill]");
  const field = button && document.getElementById(button.dataset.fill);
  if (!field) return;
  field.value = button.dataset.value;
  field.focus();
});

document.getElementById("theme")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const root = document.documentElement;
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark;
  root.dataset.theme = isDark ? "light" : "dark";
  document.cookie = `theme=${root.dataset.theme};path=/;max-age=31536000;samesite=lax`;
  document.dispatchEvent(new CustomEvent("theme"));
});

// A filter counts as soon as it is chosen; without this script its button does it.
document.addEventListener("change", (event) => {
  event.target.closest?.("form[data-on-change]")?.requestSubmit();
});

// What is asked before it is done: `data-ask` on a form holds the question.
document.addEventListener(
  "submit",
  (event) => {
    const question = event.target.dataset?.ask;
    if (question && !window.confirm(question)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  },
  true,
);

// On a phone the pages stand in a strip that scrolls: where we are should be in sight.
document.querySelector('.places [aria-current="page"]')?.scrollIntoView({ block: "nearest", inline: "center" });
