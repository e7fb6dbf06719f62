// The puzzle of a vote without an account: a number n such that SHA-256 of "challenge.n" begins with so many zero bits.
// The page asks for the challenge and a worker (this same file) solves it while its owner reads; nobody has to do or see
// anything. Whatever breaks here, the vote is sent all the same, and the server holds it for a look.
"use strict";

const K = new Uint32Array(64), START = new Uint32Array(8);
(function constants() { // the first 32 bits of the fractions of roots of the first primes (FIPS 180-4)
  const fraction = (x) => Math.floor((x - Math.floor(x)) * 4294967296);
  for (let found = 0, n = 2; found < 64; n++) {
    let isPrime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) { isPrime = false; break; }
    if (!isPrime) continue;
    if (found < 8) START[found] = fraction(Math.sqrt(n));
    K[found++] = fraction(Math.cbrt(n));
  }
})();

const WORDS = new Uint32Array(64);
const turned = (x, n) => (x >>> n) | (x << (32 - n));

// One block of 64 bytes into the state.
function compress(state, block, at) {
  for (let i = 0; i < 16; i++, at += 4) {
    WORDS[i] = (block[at] << 24) | (block[at + 1] << 16) | (block[at + 2] << 8) | block[at + 3];
  }
  for (let i = 16; i < 64; i++) {
    const x = WORDS[i - 15], y = WORDS[i - 2];
    const low = turned(x, 7) ^ turned(x, 18) ^ (x >>> 3), high = turned(y, 17) ^ turned(y, 19) ^ (y >>> 10);
    WORDS[i] = (WORDS[i - 16] + low + WORDS[i - 7] + high) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const one = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + WORDS[i]) | 0;
    const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
  }
  state[0] += a; state[1] += b; state[2] += c; state[3] += d;
  state[4] += e; state[5] += f; state[6] += g; state[7] += h;
}

function sha256(bytes) {
  const length = bytes.length, blocks = (length + 72) >> 6, padded = new Uint8Array(blocks * 64);
  padded.set(bytes);
  padded[length] = 128;
  new DataView(padded.buffer).setUint32(padded.length - 4, length * 8);
  const state = Uint32Array.from(START);
  for (let at = 0; at < padded.length; at += 64) compress(state, padded, at);
  return state;
}

function solve(challenge) {
  const bits = Number(challenge.split(".")[1]), encoder = new TextEncoder();
  if (!(bits >= 0 && bits <= 32)) throw new Error("a puzzle of another kind");
  for (let number = 0; ; number++) {
    if (Math.clz32(sha256(encoder.encode(`${challenge}.${number}`))[0]) >= bits) return `${challenge}.${number}`;
  }
}

if (typeof document === "undefined") {
  self.onmessage = (event) => self.postMessage(solve(event.data));
} else {
  const source = document.currentScript.src;
  const PATIENCE = 10000; // milliseconds that a vote waits for its puzzle

  const inWorker = (challenge) => new Promise((done, failed) => {
    const worker = new Worker(source);
    worker.onmessage = (event) => { worker.terminate(); done(event.data); };
    worker.onerror = (event) => { worker.terminate(); failed(event); };
    worker.postMessage(challenge);
  });

  const solved = new WeakMap(); // of each field, the promise of its solution
  async function begin(field) {
    const answer = await fetch(field.dataset.puzzle, { headers: { Accept: "application/json" } });
    const { challenge } = await answer.json();
    if (challenge) field.value = await inWorker(challenge);
  }
  function look() {
    for (const field of document.querySelectorAll("input[data-puzzle]")) {
      if (!solved.has(field)) solved.set(field, begin(field).catch(() => {}));
    }
  }
  look();
  document.addEventListener("htmx:afterSettle", look);

  // A vote that comes before its puzzle is solved waits a little, and is sent in any case.
  document.addEventListener("htmx:confirm", (event) => {
    const field = event.detail.elt.querySelector?.("input[data-puzzle]");
    if (!field || field.value || !solved.has(field)) return;
    event.preventDefault();
    const progress = document.getElementById("progress");
    if (progress) progress.textContent = "One moment: your browser is solving a small puzzle.";
    const enough = new Promise((done) => setTimeout(done, PATIENCE));
    Promise.race([solved.get(field), enough]).then(() => event.detail.issueRequest(true));
  });
}
