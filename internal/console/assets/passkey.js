// Passkeys: asks the server for a ceremony, the browser for its answer, and sends that
// in the form's own fields. <form data-passkey="get" data-begin="/sign-in/passkey/begin">

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// What the server sends has its bytes as text; the browser wants them as bytes.
function decode(options) {
  const o = { ...options, challenge: bytes(options.challenge) };
  if (o.user) o.user = { ...o.user, id: bytes(o.user.id) };
  for (const list of ["allowCredentials", "excludeCredentials"]) {
    if (o[list]) o[list] = o[list].map((c) => ({ ...c, id: bytes(c.id) }));
  }
  return o;
}

function encode(credential) {
  const r = credential.response;
  const response = { clientDataJSON: text(r.clientDataJSON) };
  for (const part of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (r[part]) response[part] = text(r[part]);
  }
  if (r.getTransports) response.transports = r.getTransports();
  return JSON.stringify({
    id: credential.id, rawId: text(credential.rawId), type: credential.type, response,
    authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
    clientExtensionResults: credential.getClientExtensionResults(),
  });
}

function explain(error) {
  switch (error.name) {
    case "NotAllowedError": return "Nothing was confirmed. Try again, or use another way.";
    case "InvalidStateError": return "This device has a passkey for this account already.";
    case "SecurityError": return "The browser does not use passkeys at this address. Open the console by its own name.";
  }
  return error.message || "That did not work. Try again.";
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const said = form.querySelector("[data-passkey-said]");
  const button = form.querySelector("button");
  if (!window.PublicKeyCredential) {
    said.textContent = "This browser has no passkeys.";
    button.disabled = true;
    continue;
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    said.textContent = "";
    try {
      const begun = await fetch(form.dataset.begin, { method: "POST", headers: { Accept: "application/json" }, body: new URLSearchParams() });
      if (begun.redirected) { location.assign(begun.url); return; }
      const answer = await begun.json();
      if (!begun.ok) throw new Error(answer.detail || answer.title);
      const options = { publicKey: decode(answer.options.publicKey ?? answer.options) };
      const credential = await (form.dataset.passkey === "create" ? navigator.credentials.create(options) : navigator.credentials.get(options));
      form.elements.ceremony.value = answer.ceremony;
      form.elements.response.value = encode(credential);
      form.submit();
    } catch (error) {
      said.textContent = explain(error);
      button.disabled = false;
    }
  });
}
