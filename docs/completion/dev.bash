# Completion of ./dev for bash: `. docs/completion/dev.bash` from the repository.
_tidelock_dev() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words
  if ((COMP_CWORD == 1)); then
    words="$("${COMP_WORDS[0]}" | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p') help"
  else
    case ${COMP_WORDS[1]}:$before in
      bench:bench) words=$("${COMP_WORDS[0]}" bench | awk '{print $1}') ;;
      setup:--with) words='lint peers objects azurite onnxruntime' ;;
      build:--preset) words='dev release asan tsan asan-all tsan-all fuzz coverage' ;;
      demo:--break) words='stale wrong-model lost-write' ;;
      fresh:--only) words='setup demo test' ;;
      *) words=$("${COMP_WORDS[0]}" help "${COMP_WORDS[1]}" 2>/dev/null | grep -o -- '--[a-z]*' | sort -u) ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _tidelock_dev ./dev dev
