# make demo    build, then show what espalier does
# make test    build, then run every test
# make bench   build, then run the benchmarks
# make install build, then install under PREFIX (/usr/local)
# make format  lay out the sources (clang-format)
# make setup   install the Debian packages of apt-packages.txt that are missing
BUILD ?= build
JOBS  ?= $(shell nproc)
PREFIX ?= /usr/local
# Real models and data for the tests labelled `real`; without the directory these tests are skipped by name.
export ESPALIER_SHARED_DIR ?= $(abspath ../shared)

.PHONY: all demo test bench install format setup clean
all: $(BUILD)/configured
	cmake --build $(BUILD) --parallel $(JOBS)

$(BUILD)/configured: CMakeLists.txt apt-packages.txt
	@tools/setup
	cmake -G Ninja -B $(BUILD) -DCMAKE_BUILD_TYPE=Release
	@touch $@

setup:
	@tools/setup

demo: all
	demo/demo.sh $(BUILD)/bin/espalier

test: all
	ctest --test-dir $(BUILD) --output-on-failure --parallel 2

bench: all
	for program in $(BUILD)/bin/*_bench; do test ! -x $$program || $$program || exit 1; done

install: all
	cmake --install $(BUILD) --prefix $(PREFIX)

format:
	git ls-files '*.h' '*.cpp' | xargs clang-format -i

clean:
	rm -rf $(BUILD)
