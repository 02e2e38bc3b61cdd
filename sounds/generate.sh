#!/usr/bin/env bash
# Makes every sound of this folder anew: prompts spoken by espeak-ng, beeps, tones and music on hold synthesised by sox.
# All files are WAV, 8000 Hz, 16 bit, mono, and the same input gives the same bytes (no dither, a fixed random seed).
# Needs espeak-ng and sox. Usage: sounds/generate.sh [DIRECTORY], by default the folder it lies in.
set -euo pipefail
export LC_ALL=C.UTF-8

out=${1:-$(cd "$(dirname "$0")" && pwd)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# -R keeps sox's random generator at one seed, -D keeps it from adding dither.
tone() { sox -R -D -n -r 8000 -b 16 -c 1 "$@"; }

# say LANGUAGE NAME TEXT: silence at both ends is cut to 50 ms and the peak set to -4 dB, which leaves room for mixing.
say() {
  local voice=$1 name=$2 text=$3 file="$out/$1/$2.wav"
  case $voice in en) local espeak=en-us speed=150 ;; ru) local espeak=ru speed=145 ;; esac
  mkdir -p "$(dirname "$file")"
  espeak-ng -v "$espeak" -s "$speed" -w "$work/voice.wav" "$text"
  sox -R -D "$work/voice.wav" -r 8000 -b 16 -c 1 "$file" \
    gain -6 highpass 120 silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse pad 0.05 0.05 norm -4
}

for language in en ru; do
  mkdir -p "$out/$language/digits" "$out/$language/silence"
  tone "$out/$language/beep.wav" synth 0.25 sine 1000 fade q 0.01 0.25 0.01 gain -9
  tone "$out/$language/beeperr.wav" synth 0.4 sine 400 fade q 0.01 0.4 0.01 gain -9
  for seconds in 1 2 3; do
    tone "$out/$language/silence/$seconds.wav" trim 0 "$seconds"
  done
done

digit=0
for word in zero one two three four five six seven eight nine; do
  say en "digits/$digit" "$word"
  digit=$((digit + 1))
done
say en digits/star "star"
say en digits/pound "pound"
say en digits/minus "minus"
say en hello-world "Hello, world."
say en demo-congrats "Congratulations. You have reached your own telephone exchange, and it works. \
You may now hang up, or dial another number."
say en demo-echotest "This is an echo test. Everything you say will be sent back to you at once, \
so that you can hear the delay between you and the exchange. Hang up to end it."
say en demo-echodone "The echo test has ended."
say en demo-instruct "Dial the number of another telephone, or wait for help."
say en demo-thanks "Thank you for trying Strowger. Goodbye."
say en pbx-invalid "I am sorry, that is not a valid number. Please try again."
say en vm-goodbye "Goodbye."

digit=0
for word in ноль один два три четыре пять шесть семь восемь девять; do
  say ru "digits/$digit" "$word"
  digit=$((digit + 1))
done
say ru digits/star "звёздочка"
say ru digits/pound "решётка"
say ru digits/minus "минус"
say ru hello-world "Здравствуй, мир."
say ru demo-congrats "Поздравляем. Вы дозвонились до собственной телефонной станции, и она работает. \
Можно повесить трубку или набрать другой номер."
say ru demo-echotest "Это проверка эха. Всё, что вы скажете, сразу вернётся к вам, \
и вы услышите задержку между вами и станцией. Чтобы закончить, повесьте трубку."
say ru demo-echodone "Проверка эха закончена."
say ru demo-instruct "Наберите номер другого телефона или подождите помощи."
say ru demo-thanks "Спасибо, что попробовали Строуджер. До свидания."
say ru pbx-invalid "Извините, такого номера нет. Попробуйте ещё раз."
say ru vm-goodbye "До свидания."

# Music on hold: sixteen seconds of plucked broken chords (C, Am, F, G twice) over a soft bass, our own and as plain as
# it looks. It is a whole number of bars, and its last notes have died away by the end, so the loop has no click.
moh="$out/moh/default"
mkdir -p "$moh"
bars=("C3 C4 E4 G4 C5 G4 E4 G4" "A2 A3 C4 E4 A4 E4 C4 E4" "F2 F3 A3 C4 F4 C4 A3 C4" "G2 G3 B3 D4 G4 D4 B3 D4"
  "C3 E4 G4 C5 E5 C5 G4 C5" "A2 C4 E4 A4 C5 A4 E4 A4" "F2 A3 C4 F4 A4 F4 C4 F4" "G2 B3 D4 G4 B4 G4 D4 G4")
notes=() basses=()
for bar in "${!bars[@]}"; do
  read -r bass n1 n2 n3 n4 n5 n6 n7 <<<"${bars[$bar]}"
  tone "$work/bass$bar.wav" synth 2 sine "$bass" synth 2 sine amod 0.5 0 25 fade h 0.05 2 0.6 gain -14
  basses+=("$work/bass$bar.wav")
  beat=0
  for note in "$n1" "$n2" "$n3" "$n4" "$n5" "$n6" "$n7" "$n2"; do
    tone "$work/note$bar.$beat.wav" synth 0.25 pluck "$note" fade q 0.004 0.25 0.03 gain -8
    notes+=("$work/note$bar.$beat.wav")
    beat=$((beat + 1))
  done
done
sox -R -D "${notes[@]}" "$work/melody.wav"
sox -R -D "${basses[@]}" "$work/bass.wav"
sox -R -D -m -v 0.9 "$work/melody.wav" -v 0.8 "$work/bass.wav" "$work/moh.wav" reverb 30 50 40 channels 1
sox -R -D "$work/moh.wav" -r 8000 -b 16 -c 1 "$moh/strowger-loop.wav" trim 0 16 fade h 0.01 16 0.15 norm -9

echo "sounds made in $out: $(find "$out" -name '*.wav' | wc -l) files, $(du -ch $(find "$out" -name '*.wav') | tail -1 | cut -f1)"
