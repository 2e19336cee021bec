// A face that is moved by sliders: morph targets, added up and lit here. The page holds all that is needed.
"use strict";

const VERTEX = `
attribute vec3 position, normal;
uniform mat3 turn;
uniform vec3 centre;
uniform float size, aspect;
varying vec3 at, across;
void main() {
  at = turn * (position - centre);
  across = turn * normal;
  float away = 3.2 - at.z / size;
  gl_Position = vec4(at.x / size / aspect * 5.3, at.y / size * 5.3, (away - 3.0) * away * 0.3, away);
}`;

const FRAGMENT = `
precision mediump float;
varying vec3 at, across;
uniform vec3 skin;
void main() {
  vec3 n = normalize(across), eye = vec3(0.0, 0.0, 1.0);
  bool inside = !gl_FrontFacing;
  if (inside) n = -n;
  vec3 key = normalize(vec3(-0.45, 0.55, 0.75)), fill = normalize(vec3(0.8, 0.1, 0.5));
  float lit = max(dot(n, key), 0.0), soft = max(dot(n, fill), 0.0);
  // Light that skin lets through is warmer where the surface turns away.
  vec3 color = skin * (mix(vec3(0.24, 0.2, 0.22), vec3(0.36, 0.34, 0.36), n.y * 0.5 + 0.5)
    + lit * vec3(0.72, 0.68, 0.62) + soft * vec3(0.13, 0.15, 0.2) + 0.12 * lit * (1.0 - lit) * vec3(1.0, 0.35, 0.2));
  float gloss = pow(max(dot(n, normalize(key + eye)), 0.0), 26.0);
  color += 0.13 * gloss + 0.1 * pow(1.0 - max(n.z, 0.0), 3.0);
  gl_FragColor = vec4(inside ? color * 0.3 : color, 1.0);
}`;

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function program(gl) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  gl.useProgram(made);
  return made;
}

// Area-weighted normals of vertices, of any length: the shader scales them.
function setNormals(normals, v, triangles) {
  normals.fill(0);
  for (let t = 0; t < triangles.length; t += 3) {
    const a = 3 * triangles[t], b = 3 * triangles[t + 1], c = 3 * triangles[t + 2];
    const ux = v[b] - v[a], uy = v[b + 1] - v[a + 1], uz = v[b + 2] - v[a + 2];
    const wx = v[c] - v[a], wy = v[c + 1] - v[a + 1], wz = v[c + 2] - v[a + 2];
    const x = uy * wz - uz * wy, y = uz * wx - ux * wz, z = ux * wy - uy * wx;
    for (const corner of [a, b, c]) {
      normals[corner] += x;
      normals[corner + 1] += y;
      normals[corner + 2] += z;
    }
  }
}

async function live(figure) {
  const canvas = figure.querySelector("canvas");
  const sliders = [...figure.querySelectorAll("input")];
  const told = JSON.parse(figure.querySelector("script").textContent);
  const gl = canvas.getContext("webgl", { alpha: true, antialias: true });
  if (!gl || !gl.getExtension("OES_element_index_uint")) throw new Error("no WebGL");
  const data = await unpacked(told.data);
  const length = 3 * told.vertices, corners = 3 * told.triangles;
  const base = new Float32Array(data, 0, length);
  const triangles = new Uint32Array(data, 4 * length, corners);
  const targets = told.scales.map((_, i) => new Int16Array(data, 4 * (length + corners) + 2 * length * i, length));
  const vertices = new Float32Array(length), normals = new Float32Array(length);

  const made = program(gl), buffers = {};
  for (const name of ["position", "normal"]) {
    const place = gl.getAttribLocation(made, name);
    buffers[name] = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
  }
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
  gl.enable(gl.DEPTH_TEST);
  const uniform = (name) => gl.getUniformLocation(made, name);
  gl.uniform3fv(uniform("centre"), told.centre);
  gl.uniform1f(uniform("size"), told.size);
  gl.uniform3f(uniform("skin"), 0.93, 0.76, 0.66);

  let yaw = -0.35, pitch = 0.06, isShaped = false, isAsked = false;

  function draw() {
    isAsked = false;
    if (!isShaped) {
      vertices.set(base);
      sliders.forEach((slider, i) => {
        const weight = slider.valueAsNumber * told.scales[i], target = targets[i];
        if (weight) for (let k = 0; k < length; k++) vertices[k] += weight * target[k];
      });
      setNormals(normals, vertices, triangles);
      for (const [name, array] of [["position", vertices], ["normal", normals]]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
        gl.bufferData(gl.ARRAY_BUFFER, array, gl.DYNAMIC_DRAW);
      }
      isShaped = true;
    }
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const c = Math.cos(yaw), s = Math.sin(yaw), d = Math.cos(pitch), e = Math.sin(pitch);
    gl.uniformMatrix3fv(uniform("turn"), false, [c, s * e, -s * d, 0, d, e, s, -c * e, c * d]);
    gl.uniform1f(uniform("aspect"), width / height);
    gl.drawElements(gl.TRIANGLES, corners, gl.UNSIGNED_INT, 0);
    figure.dataset.drawn = String(Number(figure.dataset.drawn || 0) + 1);
  }

  function ask() {
    if (!isAsked) requestAnimationFrame(draw);
    isAsked = true;
  }

  function reshape() {
    isShaped = false;
    ask();
  }

  function set(value) {
    for (const slider of sliders) slider.value = value(slider);
    reshape();
  }

  for (const slider of sliders) slider.addEventListener("input", reshape);
  figure.querySelector(".reset").addEventListener("click", () => {
    [yaw, pitch] = [-0.35, 0.06];
    set(() => 0);
  });
  figure.querySelector(".random").addEventListener("click", () => {
    const chosen = sliders.filter((slider) => slider.min === "0");
    const shown = chosen[Math.floor(Math.random() * chosen.length)];
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    set((slider) => (slider.min !== "0" ? normal() : slider === shown ? 0.4 + 0.6 * Math.random() : 0));
  });
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    yaw += event.movementX * 0.01;
    pitch = Math.max(-1.3, Math.min(1.3, pitch + event.movementY * 0.01));
    ask();
  });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
    if (!(event.key in turns)) return;
    event.preventDefault();
    yaw += turns[event.key][0];
    pitch = Math.max(-1.3, Math.min(1.3, pitch + turns[event.key][1]));
    ask();
  });
  new ResizeObserver(ask).observe(canvas);
  ask();
}

for (const figure of document.querySelectorAll("figure.live")) {
  live(figure).catch(() => figure.classList.add("still"));
}
