// Makes sealed-record.txt: an implementation of the sealed record that shares
// nothing with ours. Run: node vectors.mjs > sealed-record.txt
import { createCipheriv, createHash } from "node:crypto";

const bytes = (label, n) => createHash("sha512").update(label).digest().subarray(0, n);

function place(parts) {
  return Buffer.concat(parts.flatMap((part) => {
    const text = Buffer.from(part, "utf8");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return [length, text];
  }));
}

function seal(v) {
  const cipher = createCipheriv("aes-256-gcm", v.key, v.nonce);
  cipher.setAAD(place(["gatehouse/record/1", v.environment, v.table, v.row, v.column, v.person]));
  const version = Buffer.alloc(4);
  version.writeUInt32BE(v.version);
  return Buffer.concat([Buffer.from([1]), version, v.nonce,
    cipher.update(v.plaintext), cipher.final(), cipher.getAuthTag()]);
}

function print(name, expect, v, sealed, change = {}) {
  const shown = { ...v, ...change };
  console.log(`name: ${name}\nexpect: ${expect}`);
  for (const field of ["environment", "table", "row", "column", "person"]) console.log(`${field}: ${shown[field]}`);
  console.log(`key: ${shown.key.toString("hex")}\nplaintext: ${v.plaintext.toString("hex")}\nsealed: ${sealed.toString("hex")}\n`);
}

const base = (name, text) => ({
  environment: "production", table: "connections", row: "c1", column: "access_token", person: "ADA",
  version: 1, key: bytes("key " + name, 32), nonce: bytes("nonce " + name, 12), plaintext: Buffer.from(text, "utf8"),
});

for (const [name, text] of [["token", "a platform's token"], ["empty", ""], ["scripts", "ключ 鍵 🔑"], ["kilobyte", "x".repeat(1024)]]) {
  const v = base(name, text);
  print(name, "opens", v, seal(v));
}
const later = { ...base("later version", "token"), version: 0x01020304 };
print("later version", "opens", later, seal(later));

const v = base("moved", "a platform's token"), sealed = seal(v);
for (const [field, value] of [["environment", "staging"], ["table", "imports"], ["row", "c2"], ["column", "refresh_token"], ["person", "BOB"]]) {
  print(`another ${field}`, "unreadable", v, sealed, { [field]: value });
}
print("shifted border", "unreadable", v, sealed, { table: "connectionsc", row: "1" });
print("another key", "unreadable", v, sealed, { key: bytes("another", 32) });
const at = (i, value) => { const b = Buffer.from(sealed); b[i] = value; return b; };
print("another format", "unreadable", v, at(0, 2));
print("unknown format", "unreadable", v, at(0, 0));
print("version zero", "unreadable", v, at(4, 0));
print("changed nonce", "unreadable", v, at(5, sealed[5] ^ 1));
print("changed ciphertext", "unreadable", v, at(20, sealed[20] ^ 128));
print("changed tag", "unreadable", v, at(sealed.length - 1, sealed[sealed.length - 1] ^ 1));
print("cut tag", "unreadable", v, sealed.subarray(0, sealed.length - 1));
print("header only", "unreadable", v, sealed.subarray(0, 5));
print("shorter than a tag", "unreadable", v, sealed.subarray(0, 32));
