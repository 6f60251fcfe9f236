# The lines of the table for one measurement, from the tab-separated lines of the stopwatch.
#   kind=times     the first line is drover's; a ratio is drover's time to that of its own line
#   kind=memory    the first line is the peer's; a ratio is its own line's memory to the peer's
#   kind=switches  no ratios
# targets="LABEL<=0.60 x;LABEL<=3000 us;..." : what the ratio, or the value, of that line should be.
BEGIN {
  FS = "\t"
  for (i = split(targets, words, ";"); i > 0; --i)
    if (split(words[i], parts, "<=") == 2) most[parts[1]] = parts[2]
}

function duration(us) { return us < 1e6 ? sprintf("%.3f ms", us / 1e3) : sprintf("%.2f s", us / 1e6) }

function verdict(label, value, ratio) {
  if (!(label in most)) return ""
  met = (most[label] ~ / x$/ ? ratio : value) <= most[label] + 0
  shown = most[label] ~ / us$/ ? duration(most[label] + 0) : most[label]
  return sprintf("target <= %s: %s", shown, met ? "met" : "missed")
}

function join(a, b) { return a == "" || b == "" ? a b : a ", " b }

function line(label, a, b, c, ratio, note) {
  text = sprintf("  %-42s %5s %10s %10s %8s  %s", label, a, b, c,
                 ratio == "" ? "" : sprintf("%.2f x", ratio), note)
  sub(/ +$/, "", text)
  print text
}

kind == "times" && $2 == 0 { line($1, 0, "", "", "", "not measured: every round went wrong"); next }

kind == "times" {
  if (NR == 1) first = $3
  ratio = NR > 1 && first ? first / $3 : ""
  note = verdict($1, $3, ratio)
  if (binds) note = join(note, sprintf("bind() refused %d of %d", $6, $2))
  if ($5 > 0) note = join(note, $5 " invalid")
  line($1, $2, duration($3), duration($4), ratio, note)
}

kind != "times" && $5 { line($1, "", "", "", "", "not measured: it ended at once"); next }

kind == "memory" {
  if (NR == 1) first = $3
  ratio = NR > 1 && first ? $3 / first : ""
  line($1, "", $3 " kB", ($4 < 0 ? "?" : $4) " kB", ratio, verdict($1, $3, ratio))
}

kind == "switches" { line($1, $2, "", "", "", verdict($1, $2, "")) }
