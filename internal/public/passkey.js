// The one thing on these pages that needs a script: asking the browser for a passkey.
// All else works without. The server judges every answer; nothing here decides.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const list = (of) => (of || []).map((c) => ({ ...c, id: bytes(c.id) }));

async function ask(kind, key) {
  if (kind === "create") {
    const made = await navigator.credentials.create({
      publicKey: { ...key, challenge: bytes(key.challenge), user: { ...key.user, id: bytes(key.user.id) }, excludeCredentials: list(key.excludeCredentials) },
    });
    return {
      id: made.id, rawId: text(made.rawId), type: made.type, clientExtensionResults: {},
      response: {
        clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject),
        transports: made.response.getTransports ? made.response.getTransports() : [],
      },
    };
  }
  const used = await navigator.credentials.get({ publicKey: { ...key, challenge: bytes(key.challenge), allowCredentials: list(key.allowCredentials) } });
  const r = used.response;
  return {
    id: used.id, rawId: text(used.rawId), type: used.type, clientExtensionResults: {},
    response: {
      clientDataJSON: text(r.clientDataJSON), authenticatorData: text(r.authenticatorData), signature: text(r.signature),
      userHandle: r.userHandle && r.userHandle.byteLength ? text(r.userHandle) : null,
    },
  };
}

const reasons = {
  NotAllowedError: "Nothing was confirmed, or it took too long. Try again.",
  InvalidStateError: "This device has a passkey for this account already.",
  SecurityError: "This browser makes no passkeys for this address.",
  NotSupportedError: "This device cannot make such a passkey. Choose another way.",
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) break;
  const button = form.querySelector("button");
  const problem = form.querySelector("[role=alert]");
  form.hidden = false;
  form.nextElementSibling.hidden = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      const reply = await fetch(form.dataset.options, { method: "POST" });
      if (!reply.ok) throw new Error("refused");
      form.elements.answer.value = JSON.stringify(await ask(form.dataset.passkey, (await reply.json()).publicKey));
      form.submit();
    } catch (e) {
      problem.textContent = reasons[e.name] || "That did not work. Load this page again, or go back to the app and begin anew.";
      problem.hidden = false;
      button.disabled = false;
    }
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const lines = [...document.getElementById(button.dataset.copy).querySelectorAll("code")].map((c) => c.textContent);
    await navigator.clipboard.writeText(lines.join("\n") + "\n");
    document.getElementById("copied").textContent = "Copied.";
  });
}
