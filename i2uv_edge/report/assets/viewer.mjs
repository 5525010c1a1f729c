// Draws the meshes of report.html, to be turned: what `i2uv_edge.report.viewer` put into the page.
// Nothing is fetched. A frame is drawn when something changed, and at no other time.

import {
  AmbientLight,
  BufferAttribute,
  BufferGeometry,
  Color,
  DirectionalLight,
  DoubleSide,
  Mesh,
  MeshBasicMaterial,
  MeshLambertMaterial,
  PerspectiveCamera,
  Scene,
  SRGBColorSpace,
  Texture,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

const CLAY = new Color(0xd2cfc9);
const TURN = Math.PI / 24; // a key press
const ZOOM = 0.9;
const FIELD_OF_VIEW = 28; // degrees
const REACH = 14; // pixels from the pointer to the vertex that is told about
// Flat light where a colour is to be found again on the scale, more modelling elsewhere.
const LIGHTS = { flat: [0.78, 0.34], clay: [0.42, 0.72] };

const VIEWS = { camera: [0, 0, 1], side: [1, 0, 0.05], behind: [0, 0, -1] };

function decoded(text, Type) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Type(bytes.buffer);
}

// Vertices in millimetres around the sample's middle, as the camera has them: x right, y up, z to it.
function positions(text, step) {
  const steps = decoded(text, Int16Array);
  const made = new Float32Array(steps.length);
  for (let i = 0; i < steps.length; i += 3) {
    made[i] = steps[i] * step;
    made[i + 1] = -steps[i + 1] * step;
    made[i + 2] = -steps[i + 2] * step;
  }
  return made;
}

function distances(first, second) {
  const made = new Float32Array(first.length / 3);
  for (let i = 0; i < made.length; i++) {
    const at = 3 * i;
    made[i] = Math.hypot(
      first[at] - second[at],
      first[at + 1] - second[at + 1],
      first[at + 2] - second[at + 2],
    );
  }
  return made;
}

function magnified(from, to, factor) {
  return from.map((value, i) => value + factor * (to[i] - value));
}

// Where in the picture each vertex was seen; the middle of the sample is `centre` of the crop.
function pictureCoordinates(vertices, sample) {
  const made = new Float32Array((vertices.length / 3) * 2);
  for (let i = 0; i < made.length / 2; i++) {
    made[2 * i] = vertices[3 * i] / sample.unit_mm + sample.centre[0];
    made[2 * i + 1] = 1 + vertices[3 * i + 1] / sample.unit_mm - sample.centre[1];
  }
  return made;
}

function start(root, data) {
  const canvas = root.querySelector("canvas");
  const controls = root.querySelector("[data-controls]");
  const tip = root.querySelector("[data-tip]");
  const renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
  const scene = new Scene();
  const camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 1, 5000);
  const ambient = new AmbientLight(0xffffff);
  const lamp = new DirectionalLight(0xffffff);
  lamp.position.set(-0.4, 0.55, 1);
  camera.add(lamp, lamp.target); // the light goes with the eye
  lamp.target.position.set(0, 0, -1);
  scene.add(camera, ambient);

  const geometry = new BufferGeometry();
  const Index = data.vertices > 65535 ? Uint32Array : Uint16Array;
  geometry.setIndex(new BufferAttribute(decoded(data.faces, Index), 1));
  const ghostGeometry = new BufferGeometry();
  ghostGeometry.setIndex(geometry.index);
  const tinted = new MeshLambertMaterial({ vertexColors: true, side: DoubleSide });
  const clay = new MeshLambertMaterial({ color: CLAY, side: DoubleSide });
  const pictured = new MeshBasicMaterial({ side: DoubleSide });
  const surface = new Mesh(geometry, tinted);
  const ghost = new Mesh(
    ghostGeometry,
    new MeshBasicMaterial({ color: 0x8a8f96, wireframe: true, transparent: true, opacity: 0.28 }),
  );
  scene.add(surface, ghost);

  const ramp = data.ramp.map((colour) => new Color(colour)); // in linear light from here on
  const fingers = data.fingers ? decoded(data.fingers.labels, Uint8Array) : null;
  const orbit = new OrbitControls(camera, canvas);
  orbit.enablePan = false;
  orbit.enableZoom = false; // the wheel scrolls the page until the mesh has the focus
  orbit.touches = { ONE: 0, TWO: 3 }; // turn; turn and zoom
  canvas.style.touchAction = "pan-y"; // a thumb going up or down scrolls the page

  let shown = null; // {vertices, errors, sample}
  let pending = false;

  function draw() {
    pending = false;
    renderer.render(scene, camera);
    root.dataset.frames = String(Number(root.dataset.frames ?? 0) + 1);
  }

  function redraw() {
    if (!pending) {
      pending = true;
      requestAnimationFrame(draw);
    }
  }

  function choice(name) {
    return controls.querySelector(`select[name="${name}"], [name="${name}"]:checked`)?.value;
  }

  function meshes(sample) {
    sample.decoded ??= Object.fromEntries(
      Object.entries(sample.meshes).map(([name, text]) => [name, positions(text, sample.step_mm)]),
    );
    return sample.decoded;
  }

  // Which two meshes a colour tells apart; null for what tells no distance.
  function compared(colour, mesh) {
    if (colour === "apart") return ["theirs", "ours"];
    if (colour === "truth") return [mesh === "truth" ? "ours" : mesh, "truth"];
    return null;
  }

  function setColours(errors, top) {
    const colours = new Float32Array(errors.length * 3);
    errors.forEach((error, i) => {
      const place = Math.min(error / top, 1) * (ramp.length - 1);
      ramp[Math.round(place)].toArray(colours, 3 * i);
    });
    geometry.setAttribute("color", new BufferAttribute(colours, 3));
  }

  function setPicture(sample) {
    if (!sample.texture) {
      const image = new Image();
      sample.texture = new Texture(image);
      sample.texture.colorSpace = SRGBColorSpace;
      image.onload = () => {
        sample.texture.needsUpdate = true;
        pictured.needsUpdate = true;
        redraw();
      };
      image.src = document.getElementById(sample.picture).src;
    }
    pictured.map = sample.texture;
    pictured.needsUpdate = true;
  }

  function show() {
    const sample = data.samples[Number(choice("sample"))];
    const all = meshes(sample);
    for (const input of controls.querySelectorAll("[data-needs-truth]")) {
      input.disabled = !("truth" in all);
      if (input.disabled && input.checked) {
        controls.querySelector(`[name="${input.name}"]:not([data-needs-truth])`).checked = true;
      }
    }
    const mesh = choice("mesh");
    const colour = choice("colour");
    const factor = Number(choice("magnify"));
    const vertices = mesh === "ours" ? magnified(all.theirs, all.ours, factor) : all[mesh];
    geometry.setAttribute("position", new BufferAttribute(vertices, 3));
    geometry.computeVertexNormals();
    geometry.computeBoundingSphere();
    ghost.visible = choice("ghost") === "on" && mesh !== "theirs";
    ghostGeometry.setAttribute("position", new BufferAttribute(all.theirs, 3));
    ghostGeometry.computeBoundingSphere();

    const pair = compared(colour, mesh);
    const errors = pair && distances(all[pair[0]], all[pair[1]]);
    if (errors) setColours(errors, data.tops[colour]);
    if (colour === "picture") {
      const seen = pictureCoordinates(all[mesh], sample);
      geometry.setAttribute("uv", new BufferAttribute(seen, 2));
      setPicture(sample);
    }
    surface.material = errors ? tinted : colour === "picture" ? pictured : clay;
    const [around, from] = LIGHTS[errors ? "flat" : "clay"];
    ambient.intensity = around * Math.PI;
    lamp.intensity = from * Math.PI;

    for (const own of root.querySelectorAll("[data-scale]")) {
      own.hidden = own.dataset.scale !== colour;
    }
    for (const own of root.querySelectorAll("[data-facts]")) {
      own.hidden = own.dataset.facts !== choice("sample");
    }
    const spoken = controls.querySelector('[name="mesh"]:checked').parentElement.textContent.trim();
    canvas.setAttribute("aria-label", `Mesh of ${spoken}, sample ${sample.id}`);
    shown = { vertices, errors, sample };
    tip.hidden = true;
    redraw();
  }

  function look(direction) {
    const radius = Math.max(...data.samples.map((sample) => sample.radius_mm));
    const half = Math.tan((FIELD_OF_VIEW * Math.PI) / 360) * Math.min(1, camera.aspect);
    const away = (1.04 * radius) / Math.sin(Math.atan(half));
    orbit.target.set(0, 0, 0);
    camera.position.set(...direction).setLength(away);
    orbit.minDistance = away / 6;
    orbit.maxDistance = away * 2;
    orbit.update();
    redraw();
  }

  function resize() {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    redraw();
  }

  // The vertex under the pointer: of those within reach, the one nearest to the eye.
  function pointed(event) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const at = new Vector3();
    let best = -1;
    let depth = Infinity;
    for (let i = 0; i < shown.vertices.length / 3; i++) {
      at.fromArray(shown.vertices, 3 * i).project(camera);
      const x = ((at.x + 1) / 2) * width - event.offsetX;
      const y = ((1 - at.y) / 2) * height - event.offsetY;
      if (x * x + y * y < REACH * REACH && at.z < depth) {
        depth = at.z;
        best = i;
      }
    }
    return best;
  }

  function tell(event) {
    const vertex = event.buttons || !shown.errors ? -1 : pointed(event);
    tip.hidden = vertex < 0;
    if (vertex < 0) return;
    const where = fingers ? `${data.fingers.names[fingers[vertex]]}, ` : "";
    tip.textContent = `${where}${shown.errors[vertex].toFixed(2)} mm`;
    tip.style.left = `${event.offsetX}px`;
    tip.style.top = `${event.offsetY}px`;
  }

  const keys = {
    ArrowLeft: () => orbit.rotateLeft(TURN),
    ArrowRight: () => orbit.rotateLeft(-TURN),
    ArrowUp: () => orbit.rotateUp(TURN),
    ArrowDown: () => orbit.rotateUp(-TURN),
    "+": () => orbit.dollyIn(ZOOM),
    "=": () => orbit.dollyIn(ZOOM),
    "-": () => orbit.dollyOut(ZOOM),
    0: () => look(VIEWS.camera),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
    orbit.update();
  });
  canvas.addEventListener("focus", () => (orbit.enableZoom = true));
  canvas.addEventListener("blur", () => (orbit.enableZoom = false));
  canvas.addEventListener("pointerdown", () => canvas.focus({ preventScroll: true }));
  canvas.addEventListener("pointermove", tell);
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  canvas.addEventListener("webglcontextrestored", redraw);
  orbit.addEventListener("change", redraw);
  controls.addEventListener("input", show);
  for (const button of controls.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => look(VIEWS[button.dataset.view]));
  }
  root.hidden = false;
  new ResizeObserver(resize).observe(canvas);
  resize();
  look(VIEWS.camera);
  show();
}

const root = document.getElementById("viewer-3d");
try {
  start(root, JSON.parse(document.getElementById("viewer-data").textContent));
} catch (reason) {
  // No WebGL here: the pictures of the section below show the same.
  root.hidden = true;
  document.getElementById("viewer-none").hidden = false;
  console.info(`no meshes to turn: ${reason.message}`);
}
