/* "Another image" without losing what was typed in the other fields. Without this script the button loads the page. */
(function (d) {
  "use strict";
  var form = d.getElementById("form-captcha-refresh"), button = d.getElementById("captcha-refresh");
  var image = d.getElementById("captcha-image"), audio = d.getElementById("captcha-audio");
  var input = d.getElementById("captcha"), status = d.getElementById("captcha-status");
  if (!form || !button || !window.fetch) { return; }
  var asking = false;

  function done() { asking = false; button.removeAttribute("aria-disabled"); }

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    if (asking) { return; }
    asking = true;
    button.setAttribute("aria-disabled", "true");
    status.textContent = "";
    fetch(form.action, {
      method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "application/json" }
    }).then(function (answer) {
      if (!answer.ok || answer.redirected) { throw new Error(String(answer.status)); }
      return answer.json();
    }).then(function (fresh) {
      audio.pause();
      audio.src = fresh.audio;
      d.querySelector("[name=captcha_handle]").value = fresh.handle;
      input.value = "";
      image.addEventListener("load", function () {
        status.textContent = button.dataset.done;
        input.focus();
      }, { once: true });
      image.src = fresh.image;
      done();
    }).catch(function () { done(); form.submit(); });
  });
})(document);
