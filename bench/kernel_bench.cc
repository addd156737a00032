// kernel_bench: how near single operations come to what the machine can do.
//
//   kernel_bench OP [options of lserve bench kernel] [--no-vendor] [--commit ID] [--record FILE]
//
// The cases of `lserve bench kernel` (evaluation/kernel_bench/), on a GPU with the time of a
// vendor's kernel beside ours, in the same run: cuBLASLt for linear, cuDNN for attention.
//
//   kernel_bench [--isa NAME] [--threads N] [--filter linear|prefill|decode|
//                page_scores|tokens|ceilings] [--no-baseline] [--commit ID] [--json FILE]
//
// The cpu backend at the shapes of SmolLM2-135M, in the formats of its files: for each workload the
// median time of one call, its rate, the part of the ceiling measured in this process, and how much
// faster it is than the reference backend in this process; only the ceilings with --filter
// ceilings. --json and --record write the record that documents quote.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/strings.h"
#include "kernel_bench_record.h"
#include "kernel_bench_shapes.h"
#include "kernel_bench_workloads.h"

namespace lserve::bench {
namespace {

constexpr uint64_t kSeed = 1;

struct Options {
  CpuIsa isa = CpuIsa::kAuto;
  int threads = 0;
  std::string filter;
  bool baseline = true;
  std::string commit;
  std::string json;
  std::string command;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Timing {
  double low, median, high;
};

Timing measure(const std::function<void()>& run, int repeats) {
  run();
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const double start = now();
    run();
    seconds.push_back(now() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  const size_t n = seconds.size();
  return {seconds[n / 10], seconds[n / 2], seconds[n - 1 - n / 10]};
}

// Enough repeats for about half a second, at least 5.
Timing measure(const std::function<void()>& run) {
  const double start = now();
  run();
  const double once = std::max(now() - start, 1e-7);
  return measure(run, static_cast<int>(std::clamp(0.5 / once, 5.0, 2001.0)));
}

struct Unit {
  const char* name;
  double scale;
  double ceiling;  // in this unit; 0: none
};

Unit unit_of(Bound bound, const Ceilings& ceilings) {
  switch (bound) {
    case Bound::kInt8:
      return {"TOP/s", 1e-12, ceilings.int8_top_s};
    case Bound::kBf16:
      return {"TFLOP/s", 1e-12, std::max(ceilings.bf16_tflop_s, ceilings.fp32_tflop_s)};
    case Bound::kFp32:
      return {"TFLOP/s", 1e-12, ceilings.fp32_tflop_s};
    case Bound::kMemory:
      return {"GB/s", 1e-9, ceilings.read_gb_s};
    case Bound::kNone:
      return {"GB/s", 1e-9, 0};
  }
  return {"", 1, 0};
}

// The read ceiling is measured before and after: what other tenants leave of the memory's speed
// changes within seconds, and a figure counts only beside the ceiling of its own moment.
Json measure_workload(const Workload& workload, Ceilings ceilings, const Options& options,
                      Backend* backend) {
  const bool reads = workload.bound == Bound::kMemory;
  const auto read_gb_s = [&] {
    return backend->measure_ceilings(CeilingParts::kMemory).value().read_gb_s;
  };
  if (reads) ceilings.read_gb_s = read_gb_s();
  const Timing time = measure(workload.run);
  if (reads) ceilings.read_gb_s = std::max(ceilings.read_gb_s, read_gb_s());
  const Unit unit = unit_of(workload.bound, ceilings);
  const auto rate = [&](double seconds) { return workload.work * unit.scale / seconds; };
  const double of_ceiling = unit.ceiling > 0 ? rate(time.median) / unit.ceiling : 0;
  double speedup = 0;
  if (options.baseline) {
    speedup = measure(workload.baseline, 1).median / workload.baseline_share / time.median;
  }
  std::printf("%-44s %10.1f us %9.3f %-8s", workload.name.c_str(), time.median * 1e6,
              rate(time.median), unit.name);
  const std::string part = cat(fixed(of_ceiling * 100, 1), " % of ceiling");
  std::printf(" %18s", unit.ceiling > 0 ? part.c_str() : "");
  if (options.baseline) std::printf("  %7.1fx reference", speedup);
  std::printf("\n");
  std::fflush(stdout);
  Json entry = figure(workload.name, rate(time.median), unit.name, rate(time.high), rate(time.low));
  entry.set("microseconds", time.median * 1e6);
  if (unit.ceiling > 0) {
    entry.set("ceiling", unit.ceiling);
    entry.set("of_ceiling", of_ceiling);
    if (workload.bar > 0) {
      entry.set("limit", cat(">= ", workload.bar, " of the ceiling"));
      entry.set("holds", of_ceiling >= workload.bar);
    }
  }
  if (options.baseline) {
    entry.set("baseline", "reference backend, same run");
    entry.set("ratio", speedup);
  }
  return entry;
}

std::vector<Workload> make_workloads(const Bench& bench, const std::string& filter) {
  struct Group {
    const char* name;
    void (*add)(const Bench&, std::vector<Workload>*);
  };
  std::vector<Workload> list;
  for (const Group& group : {Group{"linear", add_linear}, Group{"prefill", add_prefill_attention},
                             Group{"decode", add_decode_attention},
                             Group{"page_scores", add_page_scores}, Group{"tokens", add_tokens}}) {
    if (filter.empty() || filter == group.name) group.add(bench, &list);
  }
  return list;
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

Status run(const Options& options) {
  auto made = make_backend({BackendKind::kCpu, options.threads, options.isa});
  if (!made.ok()) return made.status();
  auto reference = make_backend({BackendKind::kReference, options.threads, CpuIsa::kAuto});
  if (!reference.ok()) return reference.status();
  Backend* backend = made.value().get();
  ASSIGN_OR_RETURN(const Ceilings ceilings, backend->measure_ceilings(CeilingParts::kAll));
  std::printf("%s\nceilings: %s\n", backend->describe().c_str(), describe(ceilings).c_str());
  Json figures = Json::array();
  Random random(kSeed);
  const Bench bench{backend, reference.value().get(), &random};
  for (const Workload& workload : make_workloads(bench, options.filter)) {
    figures.push_back(measure_workload(workload, ceilings, options, backend));
  }
  if (options.json.empty()) return {};
  return write_record(options.json,
                      {.name = "cpu_kernels",
                       .device = cat(cpu_model(), "; ", backend->describe()),
                       .driver = system_release(),
                       .commit = options.commit,
                       .command = options.command,
                       .seed = static_cast<int64_t>(kSeed)},
                      ceilings, std::move(figures));
}

Result<Options> parse(int argc, char** argv) {
  Options options;
  options.command = "kernel_bench";
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    options.command += cat(" ", name);
    if (name == "--no-baseline") {
      options.baseline = false;
      continue;
    }
    if (i + 1 == argc) return usage_error(cat("unknown option or missing value: ", name));
    const std::string value = argv[++i];
    options.command += cat(" ", value);
    if (name == "--threads") {
      ASSIGN_OR_RETURN(const int64_t threads, parse_int(value, name));
      options.threads = static_cast<int>(threads);
    } else if (name == "--isa") {
      const auto isa = cpu_isa_by_name(value);
      if (!isa) return usage_error(cat("no such instruction set: ", value));
      options.isa = *isa;
    } else if (name == "--filter") {
      options.filter = value;
    } else if (name == "--commit") {
      options.commit = value;
    } else if (name == "--json") {
      options.json = value;
    } else {
      return usage_error(cat("unknown option: ", name));
    }
  }
  return options;
}

Status bench_cpu(int argc, char** argv) {
  ASSIGN_OR_RETURN(const Options options, parse(argc, argv));
  return run(options);
}

int main_program(int argc, char** argv) {
  const bool of_shapes = argc > 1 && argv[1][0] != '-';
  const Status status = of_shapes ? bench_shapes({argv + 1, argv + argc}) : bench_cpu(argc, argv);
  if (status.ok()) return 0;
  std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return status.kind() == ErrorKind::kUsage ? 2 : 1;
}

}  // namespace
}  // namespace lserve::bench

int main(int argc, char** argv) { return lserve::bench::main_program(argc, argv); }
