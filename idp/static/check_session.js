/* The check-session frame (OpenID Connect Session Management 1.0, section 3.3): a relying party's frame posts
   "client_id session_state" and hears "unchanged", "changed" or "error". SHA-256 is written out: the browser's own
   answers later, and only in secure contexts. */
(function (d) {
  "use strict";

  function rotate(x, n) { return (x >>> n) | (x << (32 - n)); }

  var H = [], K = [];
  /* FIPS 180-4, sections 4.2.2 and 5.3.3: the fractions of the roots of the first primes. */
  (function () {
    function fraction(x) { return ((x - Math.floor(x)) * 4294967296) | 0; }
    for (var n = 2; K.length < 64; n += 1) {
      var prime = true;
      for (var f = 2; f * f <= n; f += 1) { if (n % f === 0) { prime = false; break; } }
      if (prime) {
        if (H.length < 8) { H.push(fraction(Math.pow(n, 1 / 2))); }
        K.push(fraction(Math.pow(n, 1 / 3)));
      }
    }
  })();

  /* Of a text that is ASCII, in hexadecimal digits. */
  function sha256(text) {
    var i, t, words = [], h = H.slice(), w = [], out = "";
    for (i = 0; i < text.length; i += 1) { words[i >> 2] |= text.charCodeAt(i) << (24 - (i % 4) * 8); }
    words[i >> 2] |= 0x80 << (24 - (i % 4) * 8);
    var total = (((i + 8) >> 6) + 1) * 16;
    words[total - 1] = i * 8;
    for (i = 0; i < total; i += 16) {
      var s = h.slice();
      for (t = 0; t < 64; t += 1) {
        if (t < 16) {
          w[t] = words[i + t] | 0;
        } else {
          var a = w[t - 15], b = w[t - 2];
          w[t] = ((rotate(b, 17) ^ rotate(b, 19) ^ (b >>> 10)) + w[t - 7] +
            (rotate(a, 7) ^ rotate(a, 18) ^ (a >>> 3)) + w[t - 16]) | 0;
        }
        var one = (s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
          ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[t] + w[t]) | 0;
        var two = ((rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
          ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]))) | 0;
        s = [(one + two) | 0, s[0], s[1], s[2], (s[3] + one) | 0, s[4], s[5], s[6]];
      }
      for (t = 0; t < 8; t += 1) { h[t] = (h[t] + s[t]) | 0; }
    }
    for (i = 0; i < 8; i += 1) {
      for (t = 28; t >= 0; t -= 4) { out += ((h[i] >>> t) & 15).toString(16); }
    }
    return out;
  }

  function browserState() {
    var name = d.documentElement.getAttribute("data-cookie") + "=", kept = d.cookie.split("; ");
    for (var i = 0; i < kept.length; i += 1) {
      if (kept[i].indexOf(name) === 0) { return kept[i].slice(name.length).replace(/^"|"$/g, ""); }
    }
    return null;
  }

  /* Who asks is told by the browser, so that nobody learns of another's session. */
  function judge(message, origin) {
    var parts = typeof message === "string" && message.length < 4096 ? message.split(" ") : [];
    var stated = parts.length === 2 ? parts[1].split(".") : [];
    if (stated.length !== 2 || !parts[0] || !stated[0] || !stated[1]) { return "error"; }
    var state = browserState();
    if (state === null) { return "changed"; }
    var now = sha256([parts[0], origin, state, stated[1]].join(" "));
    return now === stated[0] ? "unchanged" : "changed";
  }

  window.addEventListener("message", function (event) {
    if (event.source && event.origin && event.origin !== "null") {
      event.source.postMessage(judge(event.data, event.origin), event.origin);
    }
  });
})(document);
