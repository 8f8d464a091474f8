# scoreboard: a PostgreSQL extension (src/, by PGXS) and the bridge to browsers (bridge/, by pkg-config).
# `make help` lists what there is. Two things shape this file:
#
# * `check`, `demo`, `soak` and `bench` have to work on a machine where PostgreSQL is not installed yet, and
#   PGXS brings a `check` of its own that does nothing and exits 0. So these goals are dispatched to
#   test/run before PGXS is looked for; test/run installs what is missing and calls make afresh.
# * PGXS knows one set of objects and flags, the server module's. The bridge has its own variables and
#   rules, and neither side ever sees the other's flags.

RUNS = check demo soak torture bench

ifneq ($(filter $(RUNS),$(MAKECMDGOALS)),)

.PHONY: $(MAKECMDGOALS)

check demo soak torture bench:
	@exec test/run $@

# Other goals of the same call (`make all check`) need the other half of this file.
$(filter-out $(RUNS),$(MAKECMDGOALS)):
	+@$(MAKE) --no-print-directory $@

else # ---------------------------------------------------------------------------------------------

# The default goal, whatever rule comes first below.
.DEFAULT_GOAL := all

EXTENSION = scoreboard
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" $(EXTENSION).control)

PKG_CONFIG ?= pkg-config

# ---- the server module ---------------------------------------------------------------------------

MODULE_big = scoreboard
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
DATA = $(sort $(wildcard sql/$(EXTENSION)--*.sql))

# What src/plain/jws.c verifies signatures with. No libpq here: nothing in the server module connects.
JOSE_PACKAGES = cjose jansson libcrypto

PG_CPPFLAGS := -Isrc -DSCOREBOARD_VERSION='"$(EXTVERSION)"' $(shell $(PKG_CONFIG) --cflags $(JOSE_PACKAGES))
# The three exceptions are for PostgreSQL's own headers, and for C11 declarations where they are used.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-declaration-after-statement
SHLIB_LINK := $(shell $(PKG_CONFIG) --libs $(JOSE_PACKAGES))

# For packagers' `make installcheck`, against a running server with scoreboard preloaded and installed.
# `make check` doesn't come here: it calls the test programs by itself, on private instances.
REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=. --load-extension=pgcrypto --load-extension=scoreboard
ifneq ($(wildcard test/t/*.pl),)
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl
PROVE_FLAGS += -I test/t
endif

PG_CONFIG ?= pg_config
# pg_config alone may be libpq-dev's, which names the server's headers without having them.
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
SERVER_HEADER := $(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h)

ifneq ($(and $(wildcard $(PGXS)),$(SERVER_HEADER)),)
include $(PGXS)

# Debian's PGXS tracks no header dependencies: without this, an edited header rebuilds nothing.
$(OBJS): $(wildcard src/*.h src/*/*.h)
else
# No recipe runs unless somebody asks for the module; `make bridge`, `help`, `clean` work without it.
all install uninstall installcheck: no-server-headers
.PHONY: all install uninstall installcheck no-server-headers
no-server-headers:
	@echo "scoreboard: no PostgreSQL server headers for '$(PG_CONFIG)'." >&2
	@echo "Install the postgresql-server-dev package of your version, or say PG_CONFIG=/path/to/pg_config." >&2
	@exit 1
endif

# ---- the bridge ----------------------------------------------------------------------------------

# A daemon that talks through libpq belongs to no server version: it is installed outside PostgreSQL's
# directories. Distributions say PREFIX=/usr.
PREFIX ?= /usr/local
SHAREDIR = $(PREFIX)/share/scoreboard
WWWDIR = $(SHAREDIR)/www
MANDIR = $(PREFIX)/share/man/man1
UNITDIR = $(PREFIX)/lib/systemd/system

BRIDGE = bridge/scoreboard-bridge
BRIDGE_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard bridge/*.c)))
CONTRACTS = bridge/openapi.json bridge/asyncapi.json
BRIDGE_PACKAGES = libwebsockets libpq libuv jansson libssl libcrypto
BRIDGE_CFLAGS ?= -O2 -g
BRIDGE_ALL_CFLAGS := -std=gnu11 -Wall -Wextra -fstack-protector-strong -fPIE \
	-DSCOREBOARD_VERSION='"$(EXTVERSION)"' \
	$(shell $(PKG_CONFIG) --cflags $(BRIDGE_PACKAGES)) $(BRIDGE_CFLAGS)
BRIDGE_LIBS := $(shell $(PKG_CONFIG) --libs $(BRIDGE_PACKAGES)) -lm

.PHONY: bridge install-bridge uninstall-bridge clean-bridge
bridge: $(BRIDGE)
all: bridge

$(BRIDGE): $(BRIDGE_OBJS)
	$(CC) -pie $(BRIDGE_CFLAGS) $(BRIDGE_LDFLAGS) -o $@ $(BRIDGE_OBJS) $(BRIDGE_LIBS)

# A static pattern, so that PGXS's implicit rule with the server's flags can't catch these.
$(BRIDGE_OBJS): bridge/%.o: bridge/%.c $(wildcard bridge/*.h)
	$(CC) $(BRIDGE_ALL_CFLAGS) -c -o $@ $<

# The assembler takes them in.
bridge/contracts.o: $(CONTRACTS)

install: install-bridge
install-bridge: $(BRIDGE)
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(WWWDIR)' '$(DESTDIR)$(MANDIR)' '$(DESTDIR)$(UNITDIR)'
	install -m 755 $(BRIDGE) '$(DESTDIR)$(PREFIX)/bin'
	install -m 644 $(CONTRACTS) '$(DESTDIR)$(SHAREDIR)'
	install -m 644 $(wildcard bridge/www/*) '$(DESTDIR)$(WWWDIR)'
	install -m 644 bridge/ops/bridge.conf bridge/ops/alerts.yml bridge/ops/dashboard.json '$(DESTDIR)$(SHAREDIR)'
	install -m 644 bridge/scoreboard-bridge.1 '$(DESTDIR)$(MANDIR)'
	install -m 644 bridge/ops/scoreboard-bridge.socket '$(DESTDIR)$(UNITDIR)'
	sed 's,/usr/local/bin/,$(PREFIX)/bin/,' bridge/ops/scoreboard-bridge.service >'$(DESTDIR)$(UNITDIR)/scoreboard-bridge.service'
	chmod 644 '$(DESTDIR)$(UNITDIR)/scoreboard-bridge.service'

uninstall: uninstall-bridge
uninstall-bridge:
	rm -f '$(DESTDIR)$(PREFIX)/bin/scoreboard-bridge' '$(DESTDIR)$(MANDIR)/scoreboard-bridge.1'
	rm -f '$(DESTDIR)$(UNITDIR)/scoreboard-bridge.service' '$(DESTDIR)$(UNITDIR)/scoreboard-bridge.socket'
	rm -rf '$(DESTDIR)$(SHAREDIR)'

clean: clean-bridge
clean-bridge:
	rm -f $(BRIDGE) $(BRIDGE_OBJS)

# ---- the rest ------------------------------------------------------------------------------------

C_FILES = $(sort $(wildcard src/*.[ch] src/*/*.[ch] bridge/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch] test/lib/*.c))

.PHONY: help format fuzz dist clean
help:
	@sed 's/^	//' test/lib/make-help.txt

fuzz:
	@FUZZ='$(FUZZ)' FUZZ_SECONDS='$(FUZZ_SECONDS)' test/fuzz/libfuzzer.sh

format:
	clang-format -i $(C_FILES)

dist:
	git archive --format zip --prefix=$(EXTENSION)-$(EXTVERSION)/ \
		--output $(EXTENSION)-$(EXTVERSION).zip HEAD

endif
