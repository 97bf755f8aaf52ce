# fish completion for nonet(1): its own options, then whatever PROGRAM completes.

# Print the words from PROGRAM on, the one at the cursor last. Fails before PROGRAM.
function __nonet_program
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    # An option whose value is still to come makes argparse fail, too.
    argparse --stop-nonopt allow= k/keep=+ x/close-others q/quiet v/verbose \
        h/help V/version -- $before[2..] 2>/dev/null
    or return
    # argparse takes "--" away.
    if not set -q argv[1]; and test "$before[-1]" != --
        string match -q -- '-*' $current
        and return 1
    end
    string join0 -- $argv $current
end

function __nonet_before_program
    not __nonet_program >/dev/null
end

function __nonet_complete_program
    set -l words (__nonet_program | string split0)
    or return
    # "complete -C" would take a PROGRAM with a leading "-" for an option of its own.
    string match -q -- '-*' $words[1]
    or __fish_complete_subcommand --commandline $words
end

complete -c nonet -x -a '(__nonet_complete_program)'
complete -c nonet -n __nonet_before_program -l allow -x -d 'Say what may still be acquired' \
    -a 'none\t"nothing" path\t"AF_UNIX sockets with a pathname" unix\t"every AF_UNIX socket"'
complete -c nonet -n __nonet_before_program -s k -l keep -x \
    -d 'Hand this inherited descriptor over, whatever it is'
complete -c nonet -n __nonet_before_program -s x -l close-others \
    -d 'Close what is neither 0, 1, 2 nor kept'
complete -c nonet -n __nonet_before_program -s q -l quiet \
    -d 'Do not say that the level was tightened'
complete -c nonet -n __nonet_before_program -s v -l verbose -d 'Say what enforces the level'
complete -c nonet -n __nonet_before_program -s h -l help -d 'Show the options and exit'
complete -c nonet -n __nonet_before_program -s V -l version -d 'Show the version and exit'
