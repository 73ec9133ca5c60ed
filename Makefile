# What a person types. `make demo` and `make test` get what they need by themselves; see scripts/need.
CARGO ?= cargo
# Quoted wherever it is used: a checkout may lie in a directory with a space in its name.
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

.PHONY: demo test build need-demo need-test need-test-all test-vm test-vm-all stacks archives fuzz bench-nfs bench-dhcp bench-http bench-tftp bench-boots bench-sync bench-tree bench-guest bench-boot clean

# Two diskless machines from one tree, on this machine alone, in a network namespace of their own.
demo: need-demo build
	@$(CARGO) run -q --release -p oneroot-vm-tests --bin demo -- $(DEMO)

build:
	@$(CARGO) build -q --release -p oneroot -p oneroot-vm-tests

need-demo:
	@scripts/need demo

need-test:
	@scripts/need test

need-test-all:
	@scripts/need test-all

# Formats, lints, every test, the virtual machines too. CI calls exactly this.
test: need-test
	@scripts/test

# The virtual machines alone.
test-vm: need-test build
	@scripts/test vm

# The virtual machines with nothing cut short: the idle case waits until lease and connection have really ended. PART= is one
# of the parts that scripts/test lists, each meant to take at most an hour: `make test-vm-all PART=firmware`.
test-vm-all: need-test-all build
	@scripts/test vm-all $(PART)

# What takes longer than a commit should: 100,000 random layer stacks against the kernel's overlayfs.
stacks:
	ONEROOT_STACKS=$(or $(STACKS),0..100000) $(CARGO) test --release -p oneroot-tree --test overlayfs -- --nocapture

# 100,000 random archives against GNU tar and Python's tarfile; as root.
archives:
	ONEROOT_ARCHIVES=$(or $(ARCHIVES),0..100000) $(CARGO) test --release -p oneroot-tree --test archives -- --nocapture

# Each fuzz target for TIME seconds, as many at once as there are cores; docs/security.md says what must hold. The tests
# replay what fuzzers have kept.
fuzz:
	@scripts/need fuzz
	@TIME=$(or $(TIME),60) scripts/fuzz run

# The NFS server beside nfs-ganesha, nfs3_server and two floors, in one run; see docs/benchmarks.md. As root, and on a
# machine that does nothing else meanwhile. BENCH="--only oneroot,canned --case getattr" and the like for a part of it.
bench-nfs:
	@scripts/need bench
	@[ "$$(id -u)" = 0 ] || { echo "oneroot: the benchmark needs root: ports below 1024, a network namespace" >&2; exit 1; }
	@$(CARGO) build -q --release -p oneroot
	@$(CARGO) build -q --release --manifest-path bench/Cargo.toml --target-dir "$(TARGET)/bench"
	@ONEROOT_BIN="$(TARGET)/release/oneroot" "$(TARGET)/bench/release/oneroot-bench" run --json "$(TARGET)/bench-nfs.json" $(BENCH)

# How long machines of the site wait for their addresses while strangers flood the server, and what an exchange costs beside
# Kea; see docs/benchmarks.md. As root, and on a machine that does nothing else meanwhile. BEFORE=BINARY measures another
# version in the same run. FLOODS= or RATES= leaves one half out; BENCH="--seconds 3" and RATES="--rounds 5" and the like are
# for the floods and for the rates.
FLOODS ?= yes
RATES ?= --rounds 3
bench-dhcp:
	@scripts/need bench
	@[ "$$(id -u)" = 0 ] || { echo "oneroot: the benchmark needs root: ports below 1024, a network namespace" >&2; exit 1; }
	@$(CARGO) build -q --release -p oneroot
	@$(CARGO) build -q --release --manifest-path bench/Cargo.toml --target-dir "$(TARGET)/bench"
	@$(if $(FLOODS),ONEROOT_BIN="$(TARGET)/release/oneroot" "$(TARGET)/bench/release/oneroot-bench" dhcp $(if $(BEFORE),before="$(BEFORE)") now="$(TARGET)/release/oneroot" --json "$(TARGET)/bench-dhcp.json" $(BENCH),:)
	@$(if $(RATES),ONEROOT_BIN="$(TARGET)/release/oneroot" "$(TARGET)/bench/release/oneroot-bench" dhcp-rates $(if $(BEFORE),before="$(BEFORE)") now="$(TARGET)/release/oneroot" --json "$(TARGET)/bench-dhcp-rates.json" $(RATES),:)

# Kernels and initrds by HTTP, beside nginx, to 1, 64 and 500 clients; see docs/benchmarks.md. As root, and on a machine that
# does nothing else meanwhile. BEFORE=BINARY measures another version in turn with this one.
bench-http:
	@scripts/need bench
	@[ "$$(id -u)" = 0 ] || { echo "oneroot: the benchmark needs root: a network namespace, HTTP's port" >&2; exit 1; }
	@$(CARGO) build -q --release -p oneroot
	@$(CARGO) build -q --release --manifest-path bench/Cargo.toml --target-dir "$(TARGET)/bench"
	@ONEROOT_BIN="$(TARGET)/release/oneroot" "$(TARGET)/bench/release/oneroot-bench" http $(if $(BEFORE),before="$(BEFORE)") now="$(TARGET)/release/oneroot" --json "$(TARGET)/bench-http.json" $(BENCH)

# TFTP beside atftpd, tftpd-hpa and dnsmasq, in one run; see docs/benchmarks.md. As root, and on a machine that does nothing
# else meanwhile. BEFORE=BINARY measures another version in turn with this one. BENCH="--case lock,window --rounds 5" and the
# like for a part of it.
bench-tftp:
	@scripts/need bench
	@[ "$$(id -u)" = 0 ] || { echo "oneroot: the benchmark needs root: TFTP's port, network namespaces, a control group" >&2; exit 1; }
	@scripts/unpacked tftpd-hpa "$(TARGET)/peers"
	@$(CARGO) build -q --release -p oneroot
	@$(CARGO) build -q --release --manifest-path bench/Cargo.toml --target-dir "$(TARGET)/bench"
	@ONEROOT_BIN="$(TARGET)/release/oneroot" "$(TARGET)/bench/release/oneroot-bench" tftp $(if $(BEFORE),before="$(BEFORE)") oneroot="$(TARGET)/release/oneroot" --hpa "$(TARGET)/peers/tftpd-hpa/usr/sbin/in.tftpd" --json "$(TARGET)/bench-tftp.json" $(BENCH)

# How long 500 machines that are switched on at once wait for their boot scripts; see docs/benchmarks.md. As root, and on a
# machine that does nothing else meanwhile. BEFORE=BINARY measures another version in turn with this one.
bench-boots:
	@scripts/need bench
	@[ "$$(id -u)" = 0 ] || { echo "oneroot: the benchmark needs root: a network namespace, TFTP's port" >&2; exit 1; }
	@$(CARGO) build -q --release -p oneroot
	@$(CARGO) build -q --release --manifest-path bench/Cargo.toml --target-dir "$(TARGET)/bench"
	@ONEROOT_BIN="$(TARGET)/release/oneroot" "$(TARGET)/bench/release/oneroot-bench" boots $(if $(BEFORE),before="$(BEFORE)") now="$(TARGET)/release/oneroot" $(BENCH)

# oneroot sync beside rsync, ostree and one curl of the same bytes; see docs/benchmarks.md. As root, and on a machine that does
# nothing else meanwhile. BENCH="NODES ROUNDS" for another tree.
bench-sync:
	@scripts/need bench
	@[ "$$(id -u)" = 0 ] || { echo "oneroot: the benchmark needs root: network namespaces, and a tree of many owners" >&2; exit 1; }
	@$(CARGO) build -q --release -p oneroot
	@scripts/bench-sync "$(TARGET)/release/oneroot" $(BENCH)

# Staging beside cp -a and rsync -a, and ten thousand machines over one tree; see docs/benchmarks.md. As root, on a
# machine that does nothing else meanwhile.
bench-tree:
	@scripts/need bench
	@scripts/bench-tree

# What a guest's kernel asks of the NFS server for `find -ls` and `ls -lR`, beside nfs-ganesha and a squashfs in the same
# guest; see docs/benchmarks.md. As root: ganesha opens files by their handles, and the tree has many owners.
# ROUNDS=3 walks three times, for fewer seconds that are others'.
bench-guest:
	@scripts/need bench-guest
	@[ "$$(id -u)" = 0 ] || { echo "oneroot: the benchmark needs root: ganesha, and a tree of many owners" >&2; exit 1; }
	@$(CARGO) build -q --release -p oneroot -p oneroot-vm-tests
	@"$(TARGET)/release/bench-guest" $(ROUNDS)

# A Debian that comes up by its own initrd, initramfs-tools' or dracut's, beside the same tree by oneroot's; see
# docs/benchmarks.md. On a machine that does nothing else meanwhile. BENCH="dracut 3" for one tree and three rounds.
bench-boot:
	@scripts/need bench-boot
	@[ "$$(id -u)" = 0 ] || { echo "oneroot: the benchmark needs root: a network namespace, and a tree of many owners" >&2; exit 1; }
	@$(CARGO) build -q --release -p oneroot -p oneroot-vm-tests
	@"$(TARGET)/release/bench-boot" $(BENCH)

clean:
	$(CARGO) clean
