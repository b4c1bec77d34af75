# Generated from the tables of src/usage.rs; do not edit.
_perdura() {
    local word=${COMP_WORDS[COMP_CWORD]}
    case ${COMP_WORDS[COMP_CWORD-1]} in
        -s) COMPREPLY=($(compgen -W 'stop quit reopen reload upgrade' -- "$word")); return ;;
        -p) COMPREPLY=($(compgen -d -- "$word")); return ;;
        -e) COMPREPLY=($(compgen -f -- "$word")); return ;;
        -c) COMPREPLY=($(compgen -f -- "$word")); return ;;
        -g) COMPREPLY=(); return ;;
        --explain) COMPREPLY=($(compgen -W "$(perdura --explain '*' 2>/dev/null)" -- "$word")); return ;;
        --close) COMPREPLY=(); return ;;
    esac
    local words='-? -h -v -V -t -T -q -s -p -e -c -g --explain'
    if [ "${COMP_WORDS[1]}" = tunnels ]; then words="$words --json --close"; fi
    if [ "$COMP_CWORD" = 1 ]; then words="$words demo tunnels"; fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _perdura perdura
