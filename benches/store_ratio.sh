#!/bin/sh
# Our acknowledged attestations per second (SQLite, FULL, 64 submitters) beside a bare rusqlite loop of three
# statements on the same disk in the same minutes: three interleaved rounds, the medians and their ratio.
# FLOOR names the source of the loop.
set -eu
cd "$(dirname "$0")/.."
floor=${FLOOR:-../shared/bench/rust/store-rusqlite}
[ -f "$floor/Cargo.toml" ] || { echo "set FLOOR to the source of store-rusqlite" >&2; exit 69; }
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

# A copy, so that the build leaves no lock file beside the source.
rm -rf "$target/floor-source"
cp -r "$floor" "$target/floor-source"
(cd "$target/floor-source" && CARGO_TARGET_DIR="$target/floor" cargo build --release --quiet)
cargo bench --quiet --bench store_writes --no-run
ours=$(ls -t "$target"/release/deps/store_writes-* | grep -v '\.d$' | head -n 1)

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
median() { sort -n "$1" | sed -n 2p; }
for round in 1 2 3; do
    "$ours" | awk '{print $2}' >>"$dir/ours"
    "$target/floor/release/store-rusqlite" "$dir" commits |
        sed -n 's|^rusqlite group commit FULL  *64 submitters: *\([0-9]*\)/s.*|\1|p' >>"$dir/floor"
    echo "round $round: ours $(tail -n 1 "$dir/ours")/s, floor $(tail -n 1 "$dir/floor")/s"
done
awk -v ours="$(median "$dir/ours")" -v floor="$(median "$dir/floor")" \
    'BEGIN { printf "ours %d/s, floor %d/s, ratio %.2f\n", ours, floor, ours / floor; exit ours / floor < 0.3 }'
