#!/usr/bin/env bash
# Plants bugs, one at a time, in a copy of the core, and demands that the test named beside each fails. Some minutes.
#   tests/proof/planted.sh [NAME…]        those of tests/proof/planted/ whose names begin so
set -euo pipefail
cd "$(dirname "$0")/../.."
bugs=$PWD/tests/proof/planted
work=${TMPDIR:-/tmp}/vouchsafe-planted
mkdir -p "$work/tree"
# The packages and what they read, as new, so that nothing built of a planted bug is taken for the copy; its build directory is kept.
rm -rf "$work/tree/core" "$work/tree/fixtures" "$work/tree/fuzz" "$work/tree/src" "$work/tree/verify"
git ls-files --cached --others --exclude-standard core fixtures fuzz src verify benches Cargo.toml Cargo.lock rust-toolchain.toml |
    tar -cf - -T - | tar -xmf - -C "$work/tree"
cd "$work/tree"

run() { # TEST ARGUMENTS of cargo test, one filter last
    REFERENCE_CASES=6000 timeout 600 cargo test -q --locked --profile mutants -p vouchsafe-core "${@:1:$#-1}" -- "${@: -1}"
}

names=("${@:-}")
wanted=()
for bug in "$bugs"/*.bug; do
    for begin in "${names[@]}"; do
        if [[ $(basename "$bug") == "$begin"* ]]; then
            wanted+=("$bug")
        fi
    done
done
for tests in $(sed -n 's/^test: //p' "${wanted[@]}" | sort -u | tr ' ' ','); do
    IFS=, read -ra words <<<"$tests"
    run "${words[@]}" >"$work/clean.log" 2>&1 || { echo "without a planted bug \`${words[*]}\` fails already:"; tail -20 "$work/clean.log"; exit 1; }
done
caught=0 missed=0
for bug in "${wanted[@]}"; do
    name=$(basename "$bug" .bug)
    file=$(sed -n 's/^file: //p' "$bug")
    read -ra words < <(sed -n 's/^test: //p' "$bug")
    cp "$file" "$work/kept"
    # Exactly one place must fit, or the bug is planted nowhere and proves nothing.
    perl -0777 -e '
        my ($bug, $file) = @ARGV;
        open my $b, "<", $bug or die; my $text = <$b>;
        my ($old, $new) = $text =~ /--- instead of\n(.*)\n--- put\n(.*)\n\z/s or die "not a planted bug: $bug\n";
        open my $f, "<", $file or die; my $source = <$f>;
        my $places = () = $source =~ /\Q$old\E/g;
        die "$bug fits $places places of $file\n" unless $places == 1;
        $source =~ s/\Q$old\E/$new/;
        open my $out, ">", $file or die; print $out $source;
    ' "$bug" "$file"
    if run "${words[@]}" >"$work/$name.log" 2>&1; then
        echo "MISSED  $name by \`${words[*]}\`"
        missed=$((missed + 1))
    elif grep -qE '^error(\[|:) ' "$work/$name.log" && ! grep -q 'test result: FAILED' "$work/$name.log"; then
        echo "BROKEN  $name does not compile"
        missed=$((missed + 1))
    else
        echo "caught  $name by \`${words[*]}\`"
        caught=$((caught + 1))
    fi
    cp "$work/kept" "$file"
    touch "$file"
done
echo "$caught caught, $missed missed"
[ $missed = 0 ] && [ $caught -gt 0 ]
