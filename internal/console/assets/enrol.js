// A link to enrol has its secret behind the #, which a browser sends to nobody: it is put
// into the form, and taken out of the address.

function take() {
  const form = document.querySelector("form[data-enrol]");
  const secret = location.hash.slice(1);
  if (!form || !secret) return;
  form.elements.link.value = secret;
  history.replaceState(null, "", location.pathname);
  // On the page of another link, which this browser is at already.
  const other = form.closest("details");
  if (other) other.open = true;
  form.querySelector("button").focus();
}

take();
addEventListener("hashchange", take);
