/* Adds to the account area: says that the session is about to end and offers to stay; shows nothing to who comes back
   to a page after signing out. Without it the server ends the session all the same. */
(function (d) {
  "use strict";
  window.addEventListener("pageshow", function (shown) { if (shown.persisted) { location.reload(); } });

  d.addEventListener("DOMContentLoaded", function () {
    var bar = d.getElementById("idle");
    if (!bar) { return; }
    var form = d.getElementById("form-extend"), over = d.getElementById("idle-over"), since, ticking;

    function start() {
      since = Date.now();
      form.hidden = true;
    }
    /* A clock, not a timer for each: a computer that slept has slept through timers too. */
    function look() {
      var seconds = (Date.now() - since) / 1000;
      if (seconds >= bar.dataset.end) {
        /* Nothing is asked of the server: another page of this browser may be in use, and asking would be use. */
        clearInterval(ticking);
        form.hidden = true;
        over.hidden = false;
        var said = over.querySelector("p"), heading = d.createElement("h1");
        heading.textContent = said.textContent;
        said.replaceWith(heading);
        d.getElementById("main").replaceChildren(over);
      } else if (seconds >= bar.dataset.warn) {
        form.hidden = false;
      }
    }
    form.addEventListener("submit", function (event) {
      event.preventDefault();
      fetch(form.action, {
        method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "application/json" }, redirect: "manual"
      }).then(function (answer) {
        if (answer.ok) { start(); } else { location.reload(); }
      }).catch(function () { form.submit(); });
    });
    start();
    ticking = setInterval(look, 1000);
  });
})(document);
