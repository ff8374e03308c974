// Loads a file with three.js and draws it as specimen.py does: orthographic, in white light from everywhere.
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { MTLLoader } from "three/addons/loaders/MTLLoader.js";
import { OBJLoader } from "three/addons/loaders/OBJLoader.js";
import { PLYLoader } from "three/addons/loaders/PLYLoader.js";
import { STLLoader } from "three/addons/loaders/STLLoader.js";
import { ThreeMFLoader } from "three/addons/loaders/3MFLoader.js";
import { USDLoader } from "three/addons/loaders/USDLoader.js";

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

// files: {name: base64}
async function load(name, files) {
  const data = bytes(files[name]);
  const ending = name.split(".").pop();
  const manager = new THREE.LoadingManager();
  const pictures = [];
  manager.setURLModifier((url) => {
    const key = url.split("/").pop();
    return key in files ? `data:image/png;base64,${files[key]}` : url;
  });
  const finished = new Promise((resolve) => {
    manager.onLoad = resolve;
  });
  const surface = (geometry) => {
    const colored = "color" in geometry.attributes;
    if (!geometry.attributes.normal) geometry.computeVertexNormals();
    return new THREE.Mesh(geometry, new THREE.MeshStandardMaterial({ color: colored ? 0xffffff : 0x808080, vertexColors: colored, roughness: 1, metalness: 0 }));
  };
  if (ending === "glb") return (await new GLTFLoader(manager).parseAsync(data.buffer, "")).scene;
  if (ending === "usdz") {
    const scene = new USDLoader(manager).parse(data.buffer);
    await new Promise((resolve) => setTimeout(resolve, 1500)); // it offers nothing to wait for
    return scene;
  }
  if (ending === "3mf") return new ThreeMFLoader(manager).parse(data.buffer);
  if (ending === "ply") return surface(new PLYLoader(manager).parse(data.buffer));
  if (ending === "stl") return surface(new STLLoader(manager).parse(data.buffer));
  const loader = new OBJLoader(manager);
  const library = name.replace(".obj", ".mtl");
  if (library in files) {
    const materials = new MTLLoader(manager).parse(new TextDecoder().decode(bytes(files[library])), "");
    materials.preload();
    loader.setMaterials(materials);
  }
  const object = loader.parse(new TextDecoder().decode(data));
  if (library in files) await finished;
  return object;
}

window.draw = async function (name, files, settings) {
  const scene = new THREE.Scene();
  scene.background = new THREE.Color(1, 1, 1);
  scene.add(new THREE.AmbientLight(0xffffff, Math.PI));
  const object = await load(name, files);
  // +z up becomes +y up, as three.js has it
  if (settings.zUp) object.rotation.x = -Math.PI / 2;
  scene.add(object);
  scene.updateMatrixWorld(true);
  const box = new THREE.Box3().setFromObject(object, true);
  const size = box.getSize(new THREE.Vector3());
  const middle = box.getCenter(new THREE.Vector3());
  const half = (settings.half * size.y) / settings.height;
  const camera = new THREE.OrthographicCamera(-half, half, half, -half, 0.01 * half, 100 * half);
  const [front, left, up] = settings.from;
  camera.position.copy(middle).add(new THREE.Vector3(left, up, front).normalize().multiplyScalar(20 * half));
  camera.lookAt(middle);
  const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
  renderer.setSize(settings.size, settings.size);
  renderer.render(scene, camera);
  const found = new Set();
  object.traverse((part) => {
    if (!part.isMesh) return;
    for (const attribute of Object.keys(part.geometry.attributes)) found.add(attribute);
    for (const material of [part.material].flat()) for (const key in material) if (key.endsWith("ap") && material[key]?.isTexture) found.add(key);
  });
  const picture = renderer.domElement.toDataURL("image/png").split(",")[1];
  renderer.dispose();
  return { picture, size: size.toArray(), found: [...found].sort(), floor: box.min.y, version: THREE.REVISION };
};
