# Completion of tidelock for bash: `. docs/completion/tidelock.bash`. It asks the program itself: `--help` is the one source.
_tidelock() {
  local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} path=() help one
  case $before in
    --config | --run-dir | --socket | --password-file | --file | --out | --dir | --key | --tokens | --store)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    --ack) mapfile -t COMPREPLY < <(compgen -W 'os disk origin' -- "$word"); return ;;
  esac
  help=$("$program" --help 2>/dev/null)
  for one in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do  # as deep as the words name subcommands
    if [[ $one =~ ^[a-z-]+$ ]] && grep -q "^  $one  " <<<"${help#*Subcommands:}"; then
      path+=("$one")
      help=$("$program" "${path[@]}" --help 2>/dev/null)
    fi
  done
  local words
  words=$(grep -o -- '--[a-z][a-z-]*' <<<"$help" | sort -u)
  [[ $help == *Subcommands:* ]] && words+=" $(sed -n '/^Subcommands:/,$s/^  \([a-z][a-z-]*\) .*/\1/p' <<<"$help")"
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  ((${#COMPREPLY[@]})) || mapfile -t COMPREPLY < <(compgen -f -- "$word")
}
complete -F _tidelock tidelock
