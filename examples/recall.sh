#!/usr/bin/env bash
# The tables of docs/recall.md and docs/sound.md: fragments of real images and sounds, recalled, beside their controls.
#
#     examples/recall.sh DATA [kodak|pixels|regret|stored|unseen|sound|gaps|golden|speed ...]
#
# DATA holds kodak, set5, cifar10, mnist, esc10 and fsdd. All tables take about an hour and a half on two cores, `pixels`
# and `stored` most of it. Needs the package with its test extra: pip install '.[test]'.
set -euo pipefail
data=$(cd "${1:?usage: recall.sh DATA [table ...]}" && pwd)
shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mean() { awk -F'\t' -v name="$1" '$1 ~ "^" name { printf "%.2f", $2; exit }'; }

score() { # fragments, method, originals, file for PSNR by item -> mean PSNR
    lem-reconstruct -q --method "$2" "$1" | lem-compare --items --metric psnr --pair order "$3" - > "$4"
    mean psnr < "$4"
}

kodak() { # de-quantisation: v >> (8 - bits), recalled, rounded to 8 bits
    local items="$work/items" bits method
    mkdir -p "$work/six" "$work/others" "$items"
    ln -sf "$data"/kodak/*.png "$work/others/"
    for n in 01 03 07 15 19 23; do mv "$work/others/kodim$n.png" "$work/six/"; done
    for images in "$data/kodak" "$work/six" "$work/others"; do
        printf 'Kodak, %d images, PSNR in dB\t3 bits\t4 bits\t6 bits\n' "$(ls "$images"/*.png | wc -l)"
        for method in zero replicate decode smooth net auto; do
            printf '%s' "$method"
            for bits in 3 4 6; do
                lem-fragment -q --bits "$bits" "$images" > "$work/fragments"
                printf '\t%s' "$(score "$work/fragments" "$method" "$images" "$items/$method-$bits")"
            done
            printf '\n'
        done
        for method in decode smooth net; do
            printf 'auto less %s [95 %%]' "$method"
            for bits in 3 4 6; do
                printf '\t%s' "$(python "$here/gain.py" "$items/$method-$bits" "$items/auto-$bits" | cut -f3)"
            done
            printf '\n'
        done
    done
}

pixels() { python "$here/pixels.py" "$data"; }

regret() { # of the default, against the best method in hindsight
    python "$here/varied-images.py" "$data/kodak" "$work/made" 1
    find "$work/made" -name 'photo-*' -delete
    python "$here/regret.py" "$data/kodak" "$data/set5" "$work/made"
}

stored() { python "$here/stored.py" "$data"; }

unseen() { # PSNR on the missing pixels: what is observed is exact, so it is the image's less that of the share lost
    local broken="$work/fragments.safetensors" recalled="$work/recalled.safetensors"
    python "$here/data.py" cifar "$data" "$work"
    printf 'CIFAR-10, 200 test images, 10,000 stored, PSNR in dB on the missing pixels\t50 %%\t75 %%\t90 %%\n'
    for method in "decode" "inpaint" "recall" "gaussian"; do
        printf '%s' "$method"
        for lost in .5 .75 .9; do
            memory=()
            case $method in recall | gaussian) memory=(--memory "$work/cifar-10k.npy") ;; esac
            lem-fragment -q --mask "$lost" "$work/cifar-test200.npy" -o "$broken"
            lem-reconstruct -q --method "$method" "${memory[@]}" "$broken" -o "$recalled"
            python "$here/missing.py" "$work/cifar-test200.npy" "$broken" "$recalled"
        done
        printf '\n'
    done
}

sound() { # 6 bits of the clip's own peak, mid-riser
    python "$here/data.py" chords "$data" "$work"
    printf 'ESC-10 fold 5, 6 bits of the peak, mean SNR in dB [95 %% interval]\tmid-bin\trecalled\tgain\n'
    for class in "$data"/esc10/0*/ "$work/chords/"; do
        clips="${class}5-*.ogg"
        [ "$class" != "$work/chords/" ] || clips="$work/chords/*.wav"
        lem-fragment -q --bits 6 --scale peak "$clips" > "$work/fragments"
        lem-reconstruct -q --method decode "$work/fragments" | lem-compare --items --metric snr "$clips" - > "$work/plain"
        lem-reconstruct -q "$work/fragments" | lem-compare --items --metric snr "$clips" - > "$work/better"
        printf '%s\t%s\n' "$(basename "$class")" "$(python "$here/gain.py" "$work/plain" "$work/better")"
    done
}

gaps() { python "$here/gaps.py" "$data"; }

golden() { # the metrics on one pair of images that everybody has
    python "$here/data.py" astronaut "$data" "$work"
    lem-compare --metric all "$work/a.png" "$work/b.png"
}

speed() {
    python "$here/../tests/benchmarks/bench_startup.py"
    python "$here/../tests/benchmarks/bench_stream.py"
    python "$here/../tests/benchmarks/bench_metrics.py"
    python "$here/../tests/benchmarks/bench_recall.py" 20000 1000000
}

for table in "${@:-kodak pixels regret stored unseen sound gaps golden speed}"; do
    for name in $table; do
        printf '\n'
        "$name"
    done
done
