/* The form_post page sends itself; without JavaScript its button does. Stands right after the form. */
(function (d) {
  "use strict";
  d.getElementById("form-continue").submit();
})(document);
