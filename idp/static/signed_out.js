/* Adds to the signed-out page: goes on to the application that asked once every frame is loaded, and does not wait for
   ever. Without it the page's button leads there. */
(function (d) {
  "use strict";
  var back = d.getElementById("submit"), left = false;

  function go() {
    if (!left) {
      left = true;
      location.replace(back.href);
    }
  }
  /* Fires when the page's frames are loaded too, or have failed. */
  window.addEventListener("load", go);
  setTimeout(go, +d.getElementById("go-on").getAttribute("data-wait"));
})(document);
