#include "kernel_bench_shapes.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/strings.h"
#include "cli/options_kernel.h"
#include "evaluation/kernel_bench/kernel_times.h"
#include "evaluation/latency.h"
#include "kernel_bench_record.h"
#include "vendor_kernels.h"

namespace lserve::bench {

namespace {

struct Options {
  CommandLine line;
  std::string commit;
  std::string record;
  std::string command = "kernel_bench";
  bool vendor = true;
};

Result<Options> parse(const std::vector<std::string>& words) {
  std::string commit;
  std::string record;
  std::string command = "kernel_bench";
  bool vendor = true;
  std::vector<std::string> rest = {"bench", "kernel"};
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--commit" || words[i] == "--record") {
      if (i + 1 == words.size()) return usage_error(cat(words[i], ": the value is missing"));
      (words[i] == "--commit" ? commit : record) = words[i + 1];
      ++i;
      continue;
    }
    command += cat(" ", words[i]);
    if (words[i] == "--no-vendor") {
      vendor = false;
    } else {
      rest.push_back(words[i]);
    }
  }
  ASSIGN_OR_RETURN(CommandLine line,
                   CommandLine::parse(rest, [](const std::string&) { return nullptr; }));
  return Options{std::move(line), commit, record, command, vendor};
}

// As lserve's: "auto" takes the GPU where there is one.
Result<std::unique_ptr<Backend>> open(const CommandLine& line) {
  const std::string device = line.get_text("device");
  BackendOptions options;
  options.num_threads = static_cast<int>(line.get_int("threads"));
  options.isa = cpu_isa_by_name(line.get_text("cpu-isa")).value_or(CpuIsa::kAuto);
  options.graphs = !line.get_flag("no-cuda-graphs");
  options.gpu_memory_utilization = line.get_number("gpu-memory-utilization");
  if (device == "reference") options.kind = BackendKind::kReference;
  if (device == "cuda" || (device == "auto" && built_with_cuda())) {
    options.kind = BackendKind::kCuda;
    auto backend = make_backend(options);
    if (backend.ok() || device == "cuda") return backend;
    options.kind = BackendKind::kCpu;
  }
  return make_backend(options);
}

std::string metric_of(const KernelFigure& f) { return cat(f.op, " ", f.what); }

// In the unit of the ceiling that the case is nearer to: that is decided by its operations a byte,
// whatever its speed.
Json record_figure(const KernelFigure& f, const Ceilings& ceilings) {
  const bool products = f.of_products(ceilings) > f.of_memory(ceilings);
  const double work = products ? f.operations * 1e-12 : f.bytes * 1e-9;
  const auto rate = [&](double q) { return work / quantile(f.times.seconds, q); };
  Json entry = figure(metric_of(f), rate(0.5), products ? "TFLOP/s" : "GB/s", rate(0.9), rate(0.1));
  entry.set("microseconds", f.times.median() * 1e6);
  const double part = products ? f.of_products(ceilings) : f.of_memory(ceilings);
  if (part > 0) {
    entry.set("ceiling", products ? ceilings.product_tflop_s() : ceilings.memory_gb_s());
    entry.set("of_ceiling", part);
  }
  for (const KernelCount& count : f.counts) entry.set(count.name, count.value);
  if (f.vendor_seconds > 0) {
    entry.set("baseline", cat(f.vendor, ", same run"));
    entry.set("baseline_microseconds", f.vendor_seconds * 1e6);
    entry.set("ratio", f.vendor_ratio());
  }
  return entry;
}

// Every problem once: cases that differ in what no vendor's kernel knows have one in common.
class VendorTimes {
 public:
  explicit VendorTimes(int64_t repeats) : repeats_(repeats) {}
  const VendorTime& of(const VendorProblem& problem) {
    const auto found = std::find_if(known_.begin(), known_.end(),
                                    [&](const auto& known) { return known.first == problem; });
    if (found != known_.end()) return found->second;
    return known_.emplace_back(problem, time_vendor(problem, repeats_)).second;
  }

 private:
  int64_t repeats_;
  std::vector<std::pair<VendorProblem, VendorTime>> known_;
};

}  // namespace

Status bench_shapes(const std::vector<std::string>& words) {
  ASSIGN_OR_RETURN(const Options options, parse(words));
  const CommandLine& line = options.line;
  ASSIGN_OR_RETURN(const KernelWorkloads workloads, kernel_workloads(kernel_cases(line)));
  ASSIGN_OR_RETURN(auto backend, open(line));
  const bool on_gpu = !backend->is_host_memory();
  const bool vendor = options.vendor && on_gpu;
  const std::string device = backend->describe();
  ASSIGN_OR_RETURN(const Ceilings ceilings, backend->measure_ceilings(CeilingParts::kAll));
  std::printf("%s\nshape %s; ceilings: %s\n\n%s", device.c_str(), line.get_text("shape").c_str(),
              describe(ceilings).c_str(), table_head(vendor).c_str());
  const TimingOptions timing{line.get_int("repetitions"), !line.get_flag("no-cuda-graphs")};
  VendorTimes vendor_times(timing.repeats);
  Json figures = Json::array();
  Json does_not_fit = Json::object();
  for (const KernelWorkload& workload : workloads) {
    backend.reset();  // what it holds is the next one's, and the vendor's
    ASSIGN_OR_RETURN(backend, open(line));
    ASSIGN_OR_RETURN(KernelFigure measured, measure_workload(*backend, workload, timing));
    if (vendor && measured.does_not_fit.empty()) {
      const VendorTime& time = vendor_times.of(workload.vendor);
      measured.vendor = time.name;
      measured.vendor_seconds = time.seconds;
    }
    std::printf("%s", table_row(measured, ceilings, vendor).c_str());
    std::fflush(stdout);
    if (measured.does_not_fit.empty()) {
      figures.push_back(record_figure(measured, ceilings));
    } else {
      does_not_fit.set(metric_of(measured), measured.does_not_fit);
    }
  }
  if (options.record.empty()) return {};
  return write_record(options.record,
                      {.name = std::filesystem::path(options.record).stem().string(),
                       .device = device,
                       .driver = on_gpu ? gpu_driver() : system_release(),
                       .commit = options.commit,
                       .command = options.command,
                       .seed = line.get_int("seed"),
                       .does_not_fit = std::move(does_not_fit)},
                      ceilings, std::move(figures));
}

}  // namespace lserve::bench
