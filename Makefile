## make run          set up, then show what nonet does, with real programs
## make test         set up, then run every check and every test
## make lint         the checks alone
## make test-setup   the set-up on fresh Debians that have python3 and make, and no more
## make test-system  the services of a real systemd, booted on a Debian of its own
## make test-kernels the contract on every kind of kernel, in emulated machines
## make bench        what it costs, beside its peers
## make deb          build a Debian package in dist
## make filters      compile the shipped filters anew
## make clean        remove what the others made

VENV = .venv
# A Python that every user can execute: the tests run nonet as nobody, too.
PYTHON := $(shell command -v /usr/bin/python3 || echo python3)
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)
TESTS = tests/pure tests/e2e
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# What has to be on the machine: PROOF:PACKAGE, where PROOF is a command or a file,
# and PACKAGE brings it on Debian. Only what is missing is installed.
sysconfig = $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("$(1)"))')
SETUP_PACKAGES = \
    $(call sysconfig,stdlib)/ensurepip/__init__.py:python3-venv \
    $(call sysconfig,include)/Python.h:python3-dev \
    /usr/include/sys/capability.h:libcap-dev \
    /usr/lib*/*/libseccomp.so.2:libseccomp2 \
    gcc:gcc
TEST_PACKAGES = \
    aarch64-linux-gnu-objdump:binutils-aarch64-linux-gnu \
    chromium:chromium \
    cron:cron \
    crun:crun \
    curl:curl \
    dbus-run-session:dbus-daemon \
    dropbear:dropbear-bin \
    fish:fish \
    gcc:gcc \
    gdb:gdb \
    getent:libc-bin \
    git:git \
    gpg:gnupg \
    gpg-agent:gpg-agent \
    ip:iproute2 \
    make:make \
    mandoc:mandoc \
    nginx:nginx \
    node:nodejs \
    npm:npm \
    nsenter:util-linux \
    openssl:openssl \
    ping:iputils-ping \
    podman:podman \
    ps:procps \
    redis-cli:redis-tools \
    redis-server:redis-server \
    runc:runc \
    socat:socat \
    sqlite3:sqlite3 \
    ssh-agent:openssh-client \
    strace:strace \
    sudo:sudo \
    systemd-socket-activate:systemd \
    unbound:unbound \
    wget:wget \
    zsh:zsh \
    /usr/include/stdio.h:libc6-dev \
    $(if $(filter x86_64,$(shell uname -m)),/usr/lib/gcc/*/*/32/libgcc.a:gcc-multilib) \
    /usr/lib/postgresql/*/bin/initdb:postgresql \
    $(call sysconfig,stdlib)/test/test_socket.py:lib$(notdir $(call sysconfig,stdlib))-testsuite \
    /usr/lib/python3/dist-packages/systemd/daemon.py:python3-systemd \
    /usr/share/bash-completion/bash_completion:bash-completion
KERNEL_PACKAGES = \
    bc:bc \
    bison:bison \
    flex:flex \
    gcc:gcc \
    ip:iproute2 \
    make:make \
    nsenter:util-linux \
    patch:patch \
    perl:perl \
    qemu-system-aarch64:qemu-system-arm \
    qemu-system-x86_64:qemu-system-x86 \
    xz:xz-utils \
    /usr/include/libelf.h:libelf-dev \
    /usr/include/stdio.h:libc6-dev \
    /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
DEB_PACKAGES = \
    dh:debhelper \
    dh_python3:dh-python \
    dpkg-buildpackage:dpkg-dev
SYSTEM_PACKAGES = \
    debootstrap:debootstrap \
    git:git \
    ip:iproute2 \
    mount:mount \
    podman:podman \
    runc:runc \
    unshare:util-linux

# What nonet is built from. The folders count too: a file may have been removed.
SOURCES := pyproject.toml $(shell find nonet bin man completions ! -path '*/__pycache__*')

.PHONY: help run test lint test-setup test-system test-kernels bench deb filters clean

help:
	@sed -n 's/^## //p' Makefile

run: $(VENV)/nonet-installed
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" demo/run

# Tests make networks of their own and change users, which takes root. A shell ignores
# interrupts in what it starts in the background, and tests send them. Much of their time is
# waiting: several run at once, each worker in networks of its own.
test: lint $(VENV)/nonet-installed
	@$(call install,$(TEST_PACKAGES))
	@$(SUDO) env --default-signal PATH="$$PATH" PYTHONDONTWRITEBYTECODE=1 \
	    $(VENV)/bin/pytest -q -rs -p no:cacheprovider -n 3 --dist loadfile $(TESTS)

lint: $(VENV)/test-tools-installed
	@$(VENV)/bin/ruff check -q --output-format concise
	@$(VENV)/bin/ruff format -q --check
	@$(VENV)/bin/mypy --no-error-summary

test-setup:
	@$(call install,$(SYSTEM_PACKAGES))
	@for check in set-up sudo pipx debian-packages deb-build deb-install \
	    "deb-install trixie" "newer-python testing"; do \
	    $(SUDO) tests/system/fresh-debian $$check || exit 1; done

test-system: $(VENV)/test-tools-installed
	@$(call install,$(SYSTEM_PACKAGES))
	@$(SUDO) env PATH="$$PATH" PYTHONDONTWRITEBYTECODE=1 \
	    $(VENV)/bin/pytest -q -rs -p no:cacheprovider tests/system

# Cold, most of the time goes into building a kernel; it is kept in ~/.cache/nonet.
test-kernels: $(VENV)/test-tools-installed $(VENV)/nonet-installed
	@$(call install,$(KERNEL_PACKAGES))
	@PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/pytest -q -rs -s -p no:cacheprovider tests/kernels

bench: $(VENV)/nonet-installed
	@$(VENV)/bin/python bench/run.py

# dpkg-buildpackage leaves what it makes in the folder above. -d: nothing is compiled, so
# that it takes no compiler. The same files make the same package: no time of its own.
DEB_SOURCES = bin completions debian examples man nonet CHANGELOG.md README.md SECURITY.md
deb:
	@$(call install,$(DEB_PACKAGES))
	@rm -rf dist/build dist/nonet_* && mkdir -p dist/build/nonet
	@cp -r $(DEB_SOURCES) dist/build/nonet/
	@cd dist/build/nonet && umask 022 && dpkg-buildpackage -d -b -us -uc >../log 2>&1 || \
	    { cat ../log; exit 1; }
	@mv dist/build/nonet_*.deb dist/build/nonet_*.changes dist/build/nonet_*.buildinfo dist/
	@rm -rf dist/build
	@ls dist/nonet_*.deb

filters: $(VENV)/nonet-installed
	@$(VENV)/bin/python -m nonet.limiting.ship

clean:
	@$(SUDO) rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -prune -exec $(SUDO) rm -rf {} +

# hatchling builds nonet and setuptools python-prctl, here and not in an environment
# that pip fetches for every build: installing nonet again needs no network.
$(VENV)/made:
	@$(call install,$(SETUP_PACKAGES))
	@echo "Making a virtual environment in $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install -qq hatchling setuptools wheel
	@touch $@

# The kernel takes a space in a script's first line for the end of the interpreter's name.
# What pip writes there for other scripts: a shell finds the interpreter, Python a string.
trampoline = \#!/bin/sh\n'''exec' '$(CURDIR)/$(VENV)/bin/python3' \"\$$0\" \"\$$@\"\n' '''
$(VENV)/nonet-installed: $(VENV)/made $(SOURCES)
	@echo "Installing nonet and its dependencies in $(VENV)"
	@$(VENV)/bin/pip install -qq --no-build-isolation .
	@case '$(CURDIR)' in *' '*) sed -i "1s|.*|$(trampoline)|" $(VENV)/bin/nonet ;; esac
	@touch $@

$(VENV)/test-tools-installed: $(VENV)/made pyproject.toml
	@echo "Installing the test tools in $(VENV)"
	@$(VENV)/bin/pip install -qq --no-build-isolation '.[test]'
	@touch $@

# Servers that the tests use are installed, not started: policy-rc.d says no meanwhile.
install-quietly = \
    apt-get -q update || exit 1; \
    policy=/usr/sbin/policy-rc.d; \
    test -e $$policy || { trap "rm -f $$policy" EXIT; printf "\#!/bin/sh\nexit 101\n" >$$policy; \
        chmod 755 $$policy; }; \
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$$@"

# Install the packages of a list whose proof is not there.
define install
missing=; for need in $(1); do \
    proof=$${need%:*}; \
    case $$proof in \
        /*) ls $$proof ;; \
        *) command -v $$proof ;; \
    esac >/dev/null 2>&1 || missing="$$missing $${need##*:}"; \
done; \
test -z "$$missing" || { \
    echo "Installing$$missing"; \
    log=$$($(SUDO) sh -c '$(install-quietly)' sh $$missing 2>&1 </dev/null) || { \
        printf '%s\nnonet: cannot install%s: apt-get failed\n' "$$log" "$$missing" >&2; exit 1; }; \
}
endef
