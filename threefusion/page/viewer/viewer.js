// Shows a GLB on a canvas: drag or arrow keys orbit, wheel or + and - zoom, 0 resets. build.sh bundles this file.
import {
  AmbientLight,
  Box3,
  Color,
  DirectionalLight,
  MeshBasicMaterial,
  MeshNormalMaterial,
  PMREMGenerator,
  PerspectiveCamera,
  Scene,
  Sphere,
  Spherical,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { RoomEnvironment } from "three/addons/environments/RoomEnvironment.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const KEYS = { ArrowLeft: [-1, 0, 1], ArrowRight: [1, 0, 1], ArrowUp: [0, -1, 1], ArrowDown: [0, 1, 1], "+": [0, 0, 0.9], "=": [0, 0, 0.9], "-": [0, 0, 1 / 0.9] };

// What each way of showing a mesh makes of a material of the file.
const MODES = {
  shaded: (material) => material,
  colour: (material) => new MeshBasicMaterial({ map: material.map, color: material.color, vertexColors: material.vertexColors, side: material.side }),
  normals: (material) => new MeshNormalMaterial({ side: material.side, normalMap: material.normalMap ?? null }),
  shape: (material) => Object.assign(material.clone(), { map: null, color: new Color(0xbfbfbf), vertexColors: false, metalness: 0, metalnessMap: null, roughness: 0.8, roughnessMap: null }),
};

export async function show(canvas, bytes) {
  const renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
  const scene = new Scene();
  const model = (await new GLTFLoader().parseAsync(bytes.buffer, "")).scene;
  scene.add(model);
  const meshes = [];
  model.traverse((part) => part.isMesh && meshes.push([part, part.material]));
  const ball = new Box3().setFromObject(model).getBoundingSphere(new Sphere());
  const camera = new PerspectiveCamera(35, 1, ball.radius / 50, ball.radius * 50);
  const lamp = new DirectionalLight(0xffffff, 2.2);
  lamp.position.set(0.5, 0.8, 1);
  camera.add(lamp);
  const around = new AmbientLight(0xffffff, 1.3);
  scene.add(camera, around);
  if (meshes.some(([, material]) => material.metalness > 0)) {
    // metals are black without surroundings, which are most of the light then
    lamp.intensity = 0.8;
    around.intensity = 0.1;
    scene.environmentIntensity = 0.6;
    const generator = new PMREMGenerator(renderer);
    scene.environment = generator.fromScene(new RoomEnvironment(), 0.04).texture;
    generator.dispose();
  }
  const controls = new OrbitControls(camera, canvas);
  controls.target.copy(ball.center);
  controls.minDistance = ball.radius * 1.1;
  controls.maxDistance = ball.radius * 20;
  controls.enablePan = false;
  // a wheel over a canvas without focus, and a finger that moves up or down, scroll the page
  controls.enableZoom = false;
  canvas.style.touchAction = "pan-y";
  canvas.addEventListener("focus", () => (controls.enableZoom = true));
  canvas.addEventListener("blur", () => (controls.enableZoom = false));

  const draw = () => renderer.render(scene, camera);
  let planned = false;
  const drawSoon = () => {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      draw();
    });
  };
  const move = (offset) => {
    camera.position.copy(ball.center).add(offset);
    controls.update();
    drawSoon();
  };
  const turn = (left, down, zoom) => {
    const at = new Spherical().setFromVector3(camera.position.clone().sub(ball.center));
    at.theta += left * 0.12;
    at.phi = Math.min(Math.max(at.phi + down * 0.12, 0.05), Math.PI - 0.05);
    at.radius = Math.min(Math.max(at.radius * zoom, controls.minDistance), controls.maxDistance);
    move(new Vector3().setFromSpherical(at));
  };
  const reset = () => move(new Vector3(0.45, 0.35, 1).setLength(ball.radius * 3.6));
  controls.addEventListener("change", drawSoon);
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "0") reset();
    else if (event.key in KEYS) turn(...KEYS[event.key]);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(() => {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    draw();
  }).observe(canvas);
  reset();
  return {
    turn,
    reset,
    setMode(mode, wireframe) {
      for (const [part, material] of meshes) part.material = Object.assign(MODES[mode](material), { wireframe });
      drawSoon();
    },
    // For tests: the pixels of a frame, which the canvas does not keep.
    picture() {
      draw();
      return canvas.toDataURL();
    },
  };
}
