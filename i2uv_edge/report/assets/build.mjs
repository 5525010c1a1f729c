// Bundles viewer.mjs and what it needs of three.js into viewer.js: `make viewer`.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { build } from "esbuild";

const source = readFileSync("viewer.mjs");
const three = JSON.parse(readFileSync("node_modules/three/package.json", "utf8"));
const licence = readFileSync("node_modules/three/LICENSE", "utf8").trim();
const hash = createHash("sha256").update(source).digest("hex");

await build({
  entryPoints: ["viewer.mjs"],
  outfile: "viewer.js",
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  legalComments: "none", // the licence stands in front, once
  charset: "utf8",
  banner: { js: `/* viewer.mjs ${hash}\nthree.js ${three.version}\n\n${licence}\n*/` },
});
