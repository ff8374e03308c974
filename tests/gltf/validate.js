// node validate.js FILE.glb: the Khronos validator's report as JSON; NODE_PATH names the folder that holds gltf-validator
const fs = require("fs");
const validator = require("gltf-validator");

validator
  .validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])))
  .then((report) => console.log(JSON.stringify(report)));
