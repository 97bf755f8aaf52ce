# bash completion for nonet(1): its own options, then whatever PROGRAM completes.

_nonet() {
    local words=() at=() i=0 word option='' line=$COMP_LINE
    COMPREPLY=()
    # Put together again what COMP_WORDBREAKS took apart: with "=" and ":" in it,
    # "-l web=tcp:80" is six words. `at` says where each of them begins.
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if ((i == 0)) || [[ $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            words+=("$word")
            at+=("$i")
        else
            words[-1]+=$word
        fi
        line=${line#"$word"}
        ((i++))
    done
    # Find what the cursor is at: the value of an option, PROGRAM (or what follows
    # it), or an option.
    local last=$((${#words[@]} - 1))
    local cur=${words[last]}
    for ((i = 1; i < last; i++)); do
        case ${words[i]} in
            --allow | --listen | --connect | --bind | --open | --keep | --limit | --freeze | --freeze-arch | --export | --report-file) option=${words[i++]} ;;
            --)
                _nonet_program "${at[i + 1]}"
                return
                ;;
            --*) ;;
            -?*)
                # In -xk the value of k is the next word, in -xk3 it is in this one.
                option=${words[i]#"${words[i]%%[lcbok]*}"}
                [[ $option != ? ]] || { option=-$option && ((i++)); }
                ;;
            *)
                _nonet_program "${at[i]}"
                return
                ;;
        esac
    done
    if ((i > last)); then
        _nonet_value "$option" '' "$cur"
        return
    fi
    case $cur in
        --*=*) _nonet_value "${cur%%=*}" "${cur%%=*}=" "${cur#*=}" ;;
        -*)
            _nonet_offer "$cur" -W '
                --allow
                -l --listen
                -c --connect
                -b --bind
                -o --open
                -k --keep
                -x --close-others
                --limit
                --freeze
                --freeze-arch
                --explain
                --check
                --json
                --report
                --report-file
                --fail-on-attempt
                --export
                -q --quiet
                -v --verbose
                -h --help
                -V --version'
            ;;
        *) _nonet_program "${at[i]}" ;;
    esac
}

# Offer what compgen finds: CURRENT, then compgen's options.
_nonet_offer() {
    local cur=$1
    shift
    mapfile -t COMPREPLY < <(compgen "$@" -- "$cur")
}

# Complete the value of an option: OPTION, what is before the value in its word, CURRENT.
_nonet_value() {
    local done=$2$3
    case $1 in
        --allow) _nonet_offer "$3" -P "$2" -W 'none path unix loopback' ;;
        --limit) _nonet_offer "$3" -P "$2" -W 'auto rlimit seccomp' ;;
        --freeze-arch) _nonet_offer "$3" -P "$2" -W 'x86_64 aarch64' ;;
        --export) _nonet_offer "$3" -P "$2" -W 'oci systemd' ;;
        --freeze | --report-file) _nonet_offer "$3" -P "$2" -f ;;
        -l | --listen)
            _nonet_grant "$2" "$3" 'tcp: unix: unix-seqpacket:' \
                'fd= mode= backlog= reuseport nonblock replace unsealed'
            ;;
        -c | --connect)
            _nonet_grant "$2" "$3" 'tcp: udp: unix: unix-seqpacket:' \
                'fd= timeout= nonblock unsealed'
            ;;
        -b | --bind)
            _nonet_grant "$2" "$3" 'udp: unix:' \
                'fd= mode= reuseport nonblock replace unsealed'
            ;;
        -o | --open)
            _nonet_grant "$2" "$3" '' \
                'fd= mode= r w rw append create excl trunc nonblock'
            ;;
        *)
            # What this shell holds is inherited, except 255, which bash keeps for itself.
            local fds=(/proc/$$/fd/*)
            _nonet_offer "$3" -P "$2" -X 255 -W "${fds[*]##*/}"
            ;;
    esac
    # bash replaces only what follows the last of the characters that it breaks words at.
    local breaks=${COMP_WORDBREAKS//[^:=@]/}
    [[ ! $breaks ]] || COMPREPLY=("${COMPREPLY[@]#"${done%"${done##*[$breaks]}"}"}")
}

# Complete a grant: what is before it in its word, CURRENT, transports, options.
_nonet_grant() {
    local before=$1 cur=$2
    if [[ $cur == *,* ]]; then
        compopt -o nospace 2>/dev/null
        _nonet_offer "${cur##*,}" -P "$before${cur%,*}," -W "$4"
        return
    fi
    if [[ $cur =~ ^[A-Za-z_][A-Za-z0-9_.-]*= ]]; then
        before+=${BASH_REMATCH[0]}
        cur=${cur#*=}
    fi
    if [[ $3 && $cur =~ ^unix(-seqpacket)?: ]]; then
        before+=${BASH_REMATCH[0]}
        cur=${cur#*:}
    elif [[ $3 && $cur != /* ]]; then
        compopt -o nospace 2>/dev/null
        _nonet_offer "$cur" -P "$before" -W "$3"
        return
    fi
    compopt -o filenames 2>/dev/null
    _nonet_offer "$cur" -P "$before" -f
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
