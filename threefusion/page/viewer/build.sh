#!/usr/bin/env bash
# Bundles viewer.js, as the global `viewer`, with the parts of three.js that it uses into viewer.min.js, and copies the licence of three.js beside it.
#   build.sh [OUT]     OUT: another folder for both files. THREEFUSION_THREE: a folder with the packages below, installed already.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
out="${1:-$here}"
modules="${THREEFUSION_THREE:-}"
if [ -z "$modules" ]; then
  modules="$(mktemp -d)"
  trap 'rm -rf "$modules"' EXIT
  npm install --prefix "$modules" --no-audit --no-fund --loglevel=error three@0.187.0 esbuild@0.28.2
fi
NODE_PATH="$modules/node_modules" "$modules/node_modules/.bin/esbuild" "$here/viewer.js" \
  --bundle --minify --format=iife --global-name=viewer --target=es2022 --charset=ascii --legal-comments=inline --log-level=warning --outfile="$out/viewer.min.js"
cp "$modules/node_modules/three/LICENSE" "$out/three.LICENSE"
