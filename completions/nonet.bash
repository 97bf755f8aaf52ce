# bash completion for nonet(1): its own options, then whatever PROGRAM completes.

_nonet() {
    local i=1 option='' cur=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    # Find what the cursor is at: the value of an option, PROGRAM (or what follows
    # it), or an option. While COMP_WORDBREAKS holds "=", "--allow=none" is three words.
    while ((i < COMP_CWORD)); do
        case ${COMP_WORDS[i]} in
            --allow | --keep | -k | -[!-]*k)
                option=${COMP_WORDS[i++]}
                [[ ${COMP_WORDS[i]} == = ]] && ((i < COMP_CWORD)) && ((i++))
                ((i < COMP_CWORD)) || break
                option=
                ((i++))
                ;;
            --)
                _nonet_program $((i + 1))
                return
                ;;
            -?*) ((i++)) ;;
            *)
                _nonet_program "$i"
                return
                ;;
        esac
    done
    if [[ $option ]]; then
        _nonet_value "$option" "${cur#=}"
        return
    fi
    case $cur in
        --*=*)
            _nonet_value "${cur%%=*}" "${cur#*=}"
            COMPREPLY=("${COMPREPLY[@]/#/"${cur%%=*}="}")
            ;;
        -*)
            _nonet_offer "$cur" -W '
                --allow
                -k --keep
                -x --close-others
                -q --quiet
                -v --verbose
                -h --help
                -V --version'
            ;;
        *) _nonet_program "$i" ;;
    esac
}

# Offer what compgen finds: CURRENT, then compgen's options.
_nonet_offer() {
    local cur=$1
    shift
    mapfile -t COMPREPLY < <(compgen "$@" -- "$cur")
}

# Complete the value of an option: OPTION CURRENT.
_nonet_value() {
    case $1 in
        --allow) _nonet_offer "$2" -W 'none path unix' ;;
        *)
            # What this shell holds is inherited, except 255, which bash keeps for itself.
            local fds=(/proc/$$/fd/*)
            _nonet_offer "$2" -X 255 -W "${fds[*]##*/}"
            ;;
    esac
}

# Complete PROGRAM, which is word INDEX, or what follows it: INDEX.
_nonet_program() {
    if declare -F _command_offset >/dev/null; then
        _command_offset "$1"
        return
    fi
    # Without the bash-completion package: the function the command has, or file names.
    local cur=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[$1]} i spec line=$COMP_LINE
    spec=$(complete -p -- "$program" 2>/dev/null)
    if ((COMP_CWORD > $1)) && [[ $spec == *' -F '* ]]; then
        spec=${spec#* -F }
        for ((i = 0; i < $1; i++)); do
            line=${line#*"${COMP_WORDS[i]}"}
        done
        line=${line#"${line%%[![:space:]]*}"}
        ((COMP_POINT -= ${#COMP_LINE} - ${#line}, COMP_CWORD -= $1))
        COMP_LINE=$line
        COMP_WORDS=("${COMP_WORDS[@]:$1}")
        "${spec%% *}" "$program" "$cur" "${COMP_WORDS[COMP_CWORD - 1]}"
        return
    fi
    compopt -o filenames 2>/dev/null
    if ((COMP_CWORD > $1)); then
        _nonet_offer "$cur" -f
    else
        _nonet_offer "$cur" -c
    fi
}

complete -F _nonet nonet
