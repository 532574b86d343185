/* Adds to pages that work without it: a modal alert, a shown password, a caps lock hint, one submission at a time. */
(function (d) {
  "use strict";
  var RESUBMIT_AFTER = 8000;
  d.documentElement.classList.add("js");

  function one(selector, root) { return (root || d).querySelector(selector); }
  function all(selector, root) { return Array.from((root || d).querySelectorAll(selector)); }

  d.addEventListener("DOMContentLoaded", function () {
    /* <dialog open> becomes a true modal; afterwards the person is where they go on. */
    var dialog = one("dialog.alert[open]");
    if (dialog && dialog.showModal) {
      dialog.removeAttribute("open");
      dialog.showModal();
      dialog.addEventListener("close", function () {
        var next = one("[data-after-alert]");
        if (next) { next.focus(); }
      });
    }

    var summary = one("[data-focus]");
    if (summary) { summary.focus(); }

    all("[data-reveal]").forEach(function (button) {
      var input = d.getElementById(button.getAttribute("aria-controls"));
      function show(on) {
        input.type = on ? "text" : "password";
        button.setAttribute("aria-pressed", String(on));
        button.firstChild.data = on ? button.dataset.hide : button.dataset.show;
      }
      button.addEventListener("click", function () { show(input.type === "password"); input.focus(); });
      /* The field may stand outside every form, as on a page that only shows it. */
      if (input.form) { input.form.addEventListener("submit", function () { show(false); }); }
    });

    all("[data-caps]").forEach(function (input) {
      var hint = d.getElementById(input.dataset.caps);
      ["keydown", "keyup"].forEach(function (kind) {
        input.addEventListener(kind, function (event) {
          var on = event.getModifierState && event.getModifierState("CapsLock");
          hint.textContent = on ? hint.dataset.msg : "";
        });
      });
    });

    /* The username typed before, offered again (WCAG 3.3.7). */
    all("[data-fill]").forEach(function (link) {
      link.addEventListener("click", function (event) {
        event.preventDefault();
        d.getElementById(link.dataset.fill).value = link.dataset.value;
        /* By its name: a password that is being shown is of another type. */
        var next = one("[name=password]", link.closest("form") || d);
        if (next) { next.focus(); }
      });
    });

    all("form[data-once]").forEach(function (form) {
      var sent = false;
      form.addEventListener("submit", function (event) {
        if (sent) { event.preventDefault(); return; }
        sent = true;
        var button = event.submitter || one("[type=submit]", form), label = one("span", button);
        var said = label && label.textContent;
        button.setAttribute("aria-disabled", "true");
        if (label && button.dataset.busy) { label.textContent = button.dataset.busy; }
        function again() {
          sent = false;
          button.removeAttribute("aria-disabled");
          if (label) { label.textContent = said; }
        }
        setTimeout(again, RESUBMIT_AFTER);
        /* Back from the next page: the form is as it was. */
        window.addEventListener("pageshow", function (shown) { if (shown.persisted) { again(); } });
      });
    });
  });
})(document);
