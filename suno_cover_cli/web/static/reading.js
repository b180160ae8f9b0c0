// Bodies as people read them: JSON indented, text as it stands, bytes in hex. All of it bounded.

const MOST_LINES = 3000;
const MOST_LINE_CHARS = 4000;
const HEX_BYTES = 16 * 1024;

/** The bytes behind base64. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/** A size in words. */
export function sizeOf(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** Lines of a text. */
export function textLines(text) {
  const lines = text === "" ? [] : text.split(/\r\n|\r|\n/);
  const shown = lines.slice(0, MOST_LINES).map((line) => line.slice(0, MOST_LINE_CHARS));
  return lines.length > MOST_LINES ? [...shown, "…"] : shown;
}

/** Lines of a text, indented where it is JSON. */
export function jsonLines(text) {
  try {
    return textLines(JSON.stringify(JSON.parse(text), null, 2));
  } catch {
    return textLines(text);
  }
}

/** Lines of 16 bytes: offset, hex, letters. */
export function hexLines(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, HEX_BYTES); at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const letters = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(47)}  ${letters}`);
  }
  return bytes.length > HEX_BYTES ? [...lines, "…"] : lines;
}
