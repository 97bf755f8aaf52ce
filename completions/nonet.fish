# fish completion for nonet(1): its own options, then whatever PROGRAM completes.

# Print the words from PROGRAM on, the one at the cursor last. Fails before PROGRAM.
function __nonet_program
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    # An option whose value is still to come makes argparse fail, too.
    argparse --stop-nonopt allow= l/listen=+ c/connect=+ b/bind=+ o/open=+ k/keep=+ \
        x/close-others limit= freeze= freeze-arch= explain check json report report-file= fail-on-attempt export= q/quiet v/verbose h/help V/version \
        -- $before[2..] 2>/dev/null
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

# Print what a grant may go on with: the option's name.
function __nonet_grant
    set -l transports
    set -l options
    switch $argv[1]
        case listen
            set transports tcp: unix: unix-seqpacket:
            set options fd= mode= backlog= reuseport nonblock replace unsealed
        case connect
            set transports tcp: udp: unix: unix-seqpacket:
            set options fd= timeout= nonblock unsealed
        case bind
            set transports udp: unix:
            set options fd= mode= reuseport nonblock replace unsealed
        case open
            set options fd= mode= r w rw append create excl trunc nonblock
    end
    # An option in the same word is not part of the grant.
    set -l grant (commandline -ct | string replace -r -- '^(--\w+=|-[^-lcbok]*[lcbo])' '')
    if set -l before (string match -r -- '^.*,' $grant)
        printf '%s\n' $before$options
        return
    end
    set -l before (string match -r -- '^[A-Za-z_][A-Za-z0-9_.-]*=' $grant)
    set -l rest (string replace -- "$before" '' $grant)
    if set -q transports[1]
        set -l unix (string match -r -- '^(?:unix|unix-seqpacket):' $rest)
        if not set -q unix[1]; and not string match -q -- '/*' $rest
            printf '%s\n' "$before"$transports
            return
        end
        set before "$before$unix"
        set rest (string replace -- "$unix" '' $rest)
    end
    printf '%s\n' "$before"(__fish_complete_path $rest)
end

complete -c nonet -x -a '(__nonet_complete_program)'
complete -c nonet -n __nonet_before_program -l allow -x -d 'Say what may still be acquired' \
    -a 'none\t"nothing" path\t"AF_UNIX sockets with a pathname" unix\t"every AF_UNIX socket" loopback\t"AF_UNIX sockets, and TCP and UDP over loopback"'
complete -c nonet -n __nonet_before_program -s l -l listen -x \
    -d 'Open a listening socket first' -a '(__nonet_grant listen)'
complete -c nonet -n __nonet_before_program -s c -l connect -x \
    -d 'Open a connected socket first' -a '(__nonet_grant connect)'
complete -c nonet -n __nonet_before_program -s b -l bind -x \
    -d 'Open a bound datagram socket first' -a '(__nonet_grant bind)'
complete -c nonet -n __nonet_before_program -s o -l open -x \
    -d 'Open a file first' -a '(__nonet_grant open)'
complete -c nonet -n __nonet_before_program -s k -l keep -x \
    -d 'Hand this inherited descriptor over, whatever it is'
complete -c nonet -n __nonet_before_program -s x -l close-others \
    -d 'Close what is neither 0, 1, 2, granted nor kept'
complete -c nonet -n __nonet_before_program -l limit -x -d 'Say what enforces the level' \
    -a 'auto rlimit seccomp'
complete -c nonet -n __nonet_before_program -l freeze -x \
    -d 'Write this command line to FILE, as an executable without Python' -a '(__fish_complete_path)'
complete -c nonet -n __nonet_before_program -l freeze-arch -x \
    -d 'The machine that FILE is for' -a 'x86_64 aarch64'
complete -c nonet -n __nonet_before_program -l explain \
    -d 'Say what would be opened, handed over, refused; run nothing'
complete -c nonet -n __nonet_before_program -l check \
    -d 'Say which levels are exact here, by what, and what is missing'
complete -c nonet -n __nonet_before_program -l json -d 'With --explain or --check: say it as JSON'
complete -c nonet -n __nonet_before_program -l report \
    -d 'Stay, and say at the end what was refused'
complete -c nonet -n __nonet_before_program -l report-file -x \
    -d 'Write what is refused as it happens, as JSON lines' -a '(__fish_complete_path)'
complete -c nonet -n __nonet_before_program -l fail-on-attempt \
    -d 'Exit 123 if anything was refused and PROGRAM exited 0'
complete -c nonet -n __nonet_before_program -l export -x \
    -d 'Print the level as a seccomp profile or unit directives; run nothing' -a 'oci systemd'
complete -c nonet -n __nonet_before_program -s q -l quiet \
    -d 'Do not say that the level was tightened'
complete -c nonet -n __nonet_before_program -s v -l verbose -d 'Say what enforces the level'
complete -c nonet -n __nonet_before_program -s h -l help -d 'Show the options and exit'
complete -c nonet -n __nonet_before_program -s V -l version -d 'Show the version and exit'
