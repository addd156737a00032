# shellcheck shell=bash
# The steps of scripts/test. Each counts what passed, failed and was skipped.

: "${mode:=normal}" "${cases:=1000}" "${fuzz_seconds:=10}" # random cases; seconds for each target
LOGS=build/test
FUZZ_JOBS=2
passed=0 failed=0 skipped=0
program_results=() # of the test programs, GoogleTest's JSON

# summarise: the last line, and the exit status.
summarise() {
  printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  if [ "$failed" -gt 0 ]; then exit 1; fi
  exit 0
}

pass() {
  passed=$((passed + 1))
  echo "ok       $1"
}

fail() {
  failed=$((failed + 1))
  echo "FAILED   $1"
  if [ -f "$2" ]; then tail -n "${3:-40}" "$2" | sed 's/^/    /'; fi
}

skip() {
  skipped=$((skipped + 1))
  echo "skipped  $1"
}

# check NAME COMMAND...: one test; its output is shown only if it fails. Its status is the result's.
check() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$LOGS/$name.log" 2>&1; then
    pass "$name ($((SECONDS - start)) s)"
  else
    fail "$name" "$LOGS/$name.log"
    return 1
  fi
}

# build PRESET [TARGET]: configures and builds; 1 if that fails.
build() {
  local preset=$1 target=${2:-all}
  if cmake --preset "$preset" >"$LOGS/build_$preset.log" 2>&1 &&
    cmake --build --preset "$preset" --target "$target" >>"$LOGS/build_$preset.log" 2>&1; then
    return 0
  fi
  fail "build of $preset" "$LOGS/build_$preset.log" 80
  return 1
}

build_release() {
  local log=$LOGS/build.log
  if ! { cmake --preset cpu -DLSERVE_TESTS=ON -DLSERVE_BENCH=ON && cmake --build build/release; } >"$log" 2>&1; then
    fail "build (warnings are errors)" "$log" 80
    summarise
  fi
  pass "build (warnings are errors)"
}

# The cuda backend, where there is a compiler for it; its tests need a device (scripts/gpu).
build_cuda() {
  if ! command -v nvcc >/dev/null && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    skip "cuda: no nvcc"
    return
  fi
  # Real architectures alone: beside PTX, spills are warnings (cmake/cuda.cmake).
  local log=$LOGS/build_cuda.log tree=build/cuda_strict
  if cmake --preset cuda -B "$tree" "-DLSERVE_CUDA_ARCHITECTURES=80-real;90a-real" >"$log" 2>&1 &&
    cmake --build "$tree" --target lserve >>"$log" 2>&1; then
    pass "build of cuda for sm_80 and sm_90a (warnings and spills are errors)"
  else
    fail "build of cuda" "$log" 80
  fi
  skip "cuda tests: scripts/gpu runs them, on a machine with a device"
}

# record PART ARGUMENT...: puts the part's figures into the record of the deep run.
record() {
  check "record_$1" python3 tools/record_deep_tests.py --cases "$cases" --commit \
    "$(git rev-parse --short HEAD)" "$@" || true
}

# add_counts NAME SECONDS FILE: adds what tools/count_tests.py wrote to FILE.
add_counts() {
  local good bad left
  read -r good bad left <"$3"
  passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
  echo "ran      $1: $good passed, $bad failed, $left skipped ($2 s)"
  tail -n +2 "$3"
}

# run_program PROGRAM: every case of a GoogleTest program counts; dying counts as one failure.
run_program() {
  local name start=$SECONDS status=0
  name=$(basename "$1")
  local json=$LOGS/$name.json log=$LOGS/$name.log
  rm -f "$json"
  LSERVE_TEST_CASES=$cases "$1" --gtest_brief=1 --gtest_output="json:$json" >"$log" 2>&1 || status=$?
  if [ "$status" -gt 1 ] || [ ! -s "$json" ]; then
    fail "$name (ended with status $status)" "$log"
    return
  fi
  program_results+=("$json")
  python3 tools/count_tests.py gtest "$json" >"$LOGS/$name.count" || true
  add_counts "$name" $((SECONDS - start)) "$LOGS/$name.count"
  if [ "$status" -ne 0 ]; then tail -n 60 "$log" | sed 's/^/    /'; fi
}

# run_programs [NAME-TO-LEAVE-OUT]
run_programs() {
  local program
  for program in build/release/tests/*_test; do
    if [ "$(basename "$program")" != "${1:-}" ]; then run_program "$program"; fi
  done
}

run_python_tests() {
  local name=python_${1//\//_} start=$SECONDS
  python3 tools/count_tests.py unittest "$1" >"$LOGS/$name.count" 2>"$LOGS/$name.log" || true
  if [ ! -s "$LOGS/$name.count" ]; then
    fail "$name" "$LOGS/$name.log"
    return
  fi
  add_counts "$name" $((SECONDS - start)) "$LOGS/$name.count"
  if grep -q '^FAILED' "$LOGS/$name.log"; then tail -n 60 "$LOGS/$name.log" | sed 's/^/    /'; fi
}

sources() { git ls-files --cached --others --exclude-standard -- "$@"; }

check_format() {
  local files=()
  mapfile -t files < <(sources '*.cc' '*.h' '*.cu' '*.cuh')
  clang-format --dry-run -Werror "${files[@]}"
}

check_shell() {
  local files=()
  mapfile -t files < <(sources 'scripts/*' '.ci/*' | xargs grep -lE '^#!.*sh$|^# shellcheck shell=')
  shellcheck -x "${files[@]}"
}

run_gates() {
  local gate
  for gate in layers style docs mutants; do
    check "$gate" python3 "tools/check_$gate.py" || true
  done
  check format check_format || true
  check shell check_shell || true
}

# The whole host code under one sanitizer, with a tenth of the random cases, at most 1,000.
run_sanitizer() {
  local preset=$1 program bad=0 good=0
  build "$preset" || return 0
  for program in "build/$preset"/tests/*_test; do
    # e2e repeats whole answers: minutes without a sanitizer.
    if [ "$(basename "$program")" = e2e_test ]; then continue; fi
    if LSERVE_TEST_CASES=$((cases / 10)) UBSAN_OPTIONS=print_stacktrace=1 \
      check "${preset}_$(basename "$program")" "$program" --gtest_brief=1; then
      good=$((good + 1))
    else
      bad=$((bad + 1))
    fi
  done
  if [ "$mode" = --deep ]; then record "$preset" "$good" "$bad"; fi
}

# fuzz_target NAME: its log and exit status lie in $LOGS.
fuzz_target() {
  local name=$1 status=0
  local corpus=build/fuzz/corpus/$name seeds=fuzz/corpus/${name#fuzz_}
  mkdir -p "$corpus"
  if [ ! -d "$seeds" ]; then seeds=$corpus; fi
  "build/fuzz/fuzz/$name" -max_total_time="$fuzz_seconds" -max_len=65536 -timeout=5 \
    -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$LOGS/$name-" "$corpus" "$seeds" \
    >"$LOGS/$name.log" 2>&1 || status=$?
  echo "$status" >"$LOGS/$name.status"
}

# Every target; FUZZ_JOBS at a time.
run_fuzzers() {
  build fuzz fuzzers || return 0
  local source name names=() logs=()
  for source in fuzz/fuzz_*.cc; do names+=("$(basename "$source" .cc)"); done
  for name in "${names[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$FUZZ_JOBS" ]; do wait -n || true; done
    fuzz_target "$name" &
  done
  wait
  for name in "${names[@]}"; do
    logs+=("$LOGS/$name.log")
    if [ "$(cat "$LOGS/$name.status")" = 0 ]; then
      pass "$name ($fuzz_seconds s)"
    else
      fail "$name" "$LOGS/$name.log"
    fi
  done
  if [ "$mode" = --deep ]; then record fuzz "${logs[@]}"; fi
}

run_tidy() {
  local files=() status=0
  mapfile -t files < <(sources 'src/*.cc')
  check tidy run-clang-tidy -quiet -p build/release "${files[@]}" || status=1
  record tidy "${#files[@]}" "$status"
}

run_mutants() {
  build mutants || return 0
  local json=$LOGS/mutants.json
  rm -f "$json"
  check mutants_killed python3 tools/run_mutants.py --programs build/mutants/tests --json "$json" || true
  if [ -f "$json" ]; then record mutants "$json"; fi
}

deep_part() {
  case $1 in
    properties)
      build_release
      run_programs e2e_test
      record properties "${program_results[@]}"
      ;;
    mutants) run_mutants ;;
    asan | tsan) run_sanitizer "$1" ;;
    tidy)
      need_packages "${TIDY_PACKAGES[@]}"
      build_release
      run_tidy
      ;;
    fuzz)
      need_packages "${FUZZ_PACKAGES[@]}"
      run_fuzzers
      ;;
  esac
}
