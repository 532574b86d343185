/* Adds to the form of a new password: a checklist that follows the typing, a tick that follows the opened question. */
var newPassword = (function () {
  "use strict";

  /* As the server compares: RFC 8265 OpaqueString. */
  function normal(text) { return text.replace(/\p{Zs}/gu, " ").normalize("NFC"); }

  /* Letters and digits without case and accents. The dotless i has no other case. */
  function squeezed(text) {
    var lower = Array.from(text, function (c) { return c === "\u0131" ? c : c.toUpperCase().toLowerCase(); }).join("");
    return lower.normalize("NFKD").replace(/[^\p{L}\p{N}]/gu, "");
  }

  return {
    length: function (text) { return Array.from(normal(text)).length >= 8; },
    upper: function (text) { return /[\p{Lu}\p{Lt}]/u.test(normal(text)); },
    digit: function (text) { return /\p{Nd}/u.test(normal(text)); },
    punct: function (text) { return /[\p{P}\p{S}]/u.test(normal(text)); },
    names: function (text, names) {
      var plain = squeezed(normal(text));
      return text !== "" && !names.some(function (name) { return plain.includes(name); });
    }
  };
})();

if (typeof document !== "undefined") {
  document.addEventListener("DOMContentLoaded", function () {
    "use strict";
    var QUIET = 700;
    var input = document.querySelector("[data-rules]");
    if (input) {
      var list = document.getElementById(input.dataset.rules), timer;
      var status = document.getElementById(input.dataset.rules + "-status");
      var names = input.dataset.names.split(" ").filter(Boolean);
      var items = Array.from(list.querySelectorAll("[data-rule]"));
      var follow = function () {
        items.forEach(function (item) {
          var met = newPassword[item.dataset.rule](input.value, names);
          item.classList.toggle("met", met);
          item.firstElementChild.textContent = met ? list.dataset.met : list.dataset.missing;
        });
      };
      input.addEventListener("input", function () {
        follow();
        clearTimeout(timer);
        timer = setTimeout(function () {
          var met = list.querySelectorAll(".met").length;
          status.textContent = list.dataset.summary.replace("{met}", met).replace("{all}", items.length);
        }, QUIET);
      });
      /* What the browser filled in by itself, or kept when one comes back. */
      window.addEventListener("pageshow", function () { if (input.value) { follow(); } });
    }
    document.querySelectorAll("[data-ticks]").forEach(function (details) {
      details.addEventListener("toggle", function () {
        document.getElementById(details.dataset.ticks).checked = details.open;
      });
    });
  });
}
